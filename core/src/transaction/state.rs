//! The states of the commit protocol.

/// Where a worker's transaction stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// No transaction. The next piece of work opens one.
    #[default]
    Idle,
    /// As idle, but the producer must be replaced first: a request of the last transaction may
    /// still be under way and would end the next one (INV-6).
    Suspect,
    /// Work goes on.
    Open,
    /// Tasks forward and log what they hold back.
    Flushing,
    /// The offsets are on their way into the transaction.
    SendingOffsets,
    /// The commit is on its way.
    Committing,
    /// The commit was sent and not answered. Nothing else happens until it is known (INV-6).
    InDoubt,
    /// The abort is on its way.
    Aborting,
    /// The producer is dead or superseded. Everything is to be built anew from committed data.
    Fenced,
}
