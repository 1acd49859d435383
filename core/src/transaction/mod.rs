//! The commit protocol as a pure state machine: (state, input) -> (state, command).
//!
//! ```text
//!                Work            CommitDue          Done              Done             Done
//!   Idle ----------> Open ----------> Flushing ----------> Sending ----------> Committing --> Idle
//!     ^  (Begin)      |    (Flush)       |  (SendOffsets)  Offsets  (Commit)     |   |   (Publish)
//!     |               +-------+----------+-------------------+-------------------+   | Retry
//!     |                       | Failed(Abort), Lost                                   v
//!     |  Done (RollBack)      v                                                    InDoubt
//!     +------------------ Aborting                                                    | (Commit
//!     |                       | Deadline, Failed(Fenced | Fatal)  from anywhere       |  again)
//!     |  Rebuilt              v                                       Deadline        |
//!     +------------------- Fenced <---------------------------------------------------+
//!                         (Rebuild)
//!   Suspect: as Idle, but the producer must be replaced before anything begins (INV-6)
//! ```
//!
//! The worker executes each command and feeds its outcome back. It never decides what comes next;
//! an input that has no transition here is a bug of the worker, and a panic that names both.

mod severity;
mod state;
#[cfg(test)]
mod tests;

use crate::store::Acknowledged;

pub use severity::Severity;
pub use state::State;

/// What happened: the outcome of the last command, or an outside cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A task is about to send or process something.
    Work,
    /// It is time to commit.
    CommitDue,
    /// The command succeeded.
    Done,
    /// The command succeeded, but slowly or with errors on the wire: a request of it may still be
    /// under way (KAFKA-17754).
    DoneSuspect,
    /// The command, or a task's own work, failed.
    Failed(Severity),
    /// The command was retried until its deadline passed.
    Deadline,
    /// The partitions were taken away without a chance to commit.
    Lost,
    /// Producer and tasks were built anew from committed data.
    Rebuilt,
}

/// What the worker has to do next.
#[derive(Debug)]
pub enum Command {
    /// Nothing.
    Nothing,
    /// Begin a transaction, then work.
    Begin,
    /// Flush every touched task and wait for nothing.
    Flush,
    /// Send the offsets of every touched task with the group's metadata (INV-7).
    SendOffsets,
    /// End the transaction by a commit; the same call again after a retriable error.
    Commit,
    /// Write the staged data of every touched task: here is the proof that it is committed.
    Publish(Acknowledgements),
    /// End the transaction by an abort.
    Abort,
    /// Drop what every touched task did and rewind it to what is committed (INV-5).
    RollBack,
    /// Replace the producer and build every task anew from committed data.
    Rebuild,
}

/// Proof of an acknowledged commit, to be handed to each task that took part.
#[derive(Debug)]
pub struct Acknowledgements(());

impl Acknowledgements {
    /// Makes the proof for one task.
    #[must_use]
    pub fn for_task(&self) -> Acknowledged {
        Acknowledged::by_broker()
    }
}

/// The commit protocol of one worker.
#[derive(Debug, Default)]
pub struct Transaction {
    state: State,
}

impl Transaction {
    /// Starts idle.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns whether tasks may take records now (INV-6: never while a commit is in doubt).
    #[must_use]
    pub fn may_work(&self) -> bool {
        matches!(self.state, State::Idle | State::Open)
    }

    /// Takes an input and returns what to do.
    ///
    /// # Panics
    /// If the input has no transition in this state: a bug of the worker.
    pub fn step(&mut self, input: Input) -> Command {
        let before = self.state;
        let Some((after, command)) = transition(before, input) else {
            panic!("no transition of the commit protocol from {before:?} on {input:?}");
        };
        assert!(
            !matches!(command, Command::RollBack) || before == State::Aborting,
            "INV-5: rolled back from {before:?}, without an abort",
        );
        assert!(
            before != State::InDoubt || !matches!(command, Command::Begin | Command::Flush),
            "INV-6: {command:?} while a commit is in doubt",
        );
        self.state = after;
        command
    }
}

/// The table. `None`: illegal.
fn transition(state: State, input: Input) -> Option<(State, Command)> {
    use State::{
        Aborting, Committing, Fenced, Flushing, Idle, InDoubt, Open, SendingOffsets, Suspect,
    };
    let next = match (state, input) {
        // a fence ends every state, and so does an error that nobody can mend
        (_, Input::Failed(Severity::Fenced | Severity::Fatal)) => (Fenced, Command::Rebuild),
        (Suspect | Fenced, Input::Rebuilt) => (Idle, Command::Nothing),
        (Idle, Input::Rebuilt | Input::Lost) => (Idle, Command::Nothing),

        (Idle, Input::Work) => (Open, Command::Begin),
        (Open, Input::Work) => (Open, Command::Nothing),
        (Open, Input::CommitDue) => (Flushing, Command::Flush),
        (Flushing, Input::Done) => (SendingOffsets, Command::SendOffsets),
        (SendingOffsets, Input::Done | Input::DoneSuspect) => (Committing, Command::Commit),
        (Committing, Input::Done) => (Idle, Command::Publish(Acknowledgements(()))),
        (Committing | InDoubt, Input::DoneSuspect) | (InDoubt, Input::Done) => {
            (Suspect, Command::Publish(Acknowledgements(())))
        }

        (SendingOffsets, Input::Failed(Severity::Retry)) => (SendingOffsets, Command::SendOffsets),
        // from here on nobody knows whether the transaction is committed
        (Committing | InDoubt, Input::Failed(Severity::Retry)) => (InDoubt, Command::Commit),
        (InDoubt | Aborting | SendingOffsets, Input::Deadline) => (Fenced, Command::Rebuild),
        (Committing, Input::Deadline) => (Fenced, Command::Rebuild),

        // the client says that the transaction can't commit any more
        (
            Open | Flushing | SendingOffsets | Committing | InDoubt,
            Input::Failed(Severity::Abort),
        )
        | (Open | Flushing, Input::Failed(Severity::Retry))
        | (Open | Flushing | SendingOffsets, Input::Lost) => (Aborting, Command::Abort),
        (Aborting, Input::Failed(Severity::Retry)) => (Aborting, Command::Abort),
        (Aborting, Input::Failed(Severity::Abort)) => (Fenced, Command::Rebuild),
        (Aborting, Input::Done) => (Idle, Command::RollBack),
        (Aborting, Input::DoneSuspect) => (Suspect, Command::RollBack),
        _ => return None,
    };
    Some(next)
}
