//! What the relay of an outbox is told to do beside publishing.

use std::time::Duration;

/// What becomes of rows that were published. Nothing is ever removed beyond the position that is
/// committed in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// They are deleted, so many at a time.
    DeleteAfterPublish {
        /// Rows a statement.
        batch: u32,
    },
    /// They stay so long, to be looked at or published again, then they are deleted.
    Retain(Duration),
    /// The table has partitions, see [`Outbox::partitioned`](super::Outbox::partitioned). Those
    /// that are older than `retain` and hold nothing that is not published are dropped, and new
    /// ones are made ahead of time. The relay must own the table.
    DropPartitions {
        /// How long rows stay at least.
        retain: Duration,
    },
    /// They stay.
    None,
}

impl Default for Cleanup {
    /// Deletes 5000 at a time.
    fn default() -> Self {
        Self::DeleteAfterPublish { batch: 5000 }
    }
}

/// What becomes of an event that can never be sent: its topic does not exist, or takes none of its
/// size. Staging refuses most of them before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Poison {
    /// The relay stops and says so. Nothing is published until somebody mends it.
    #[default]
    Halt,
    /// The event is put aside into the table of dead events, and later events of its aggregate
    /// behind it, so that its order is not broken; all other aggregates go on. See
    /// [`Outbox::publish_dead`](super::Outbox::publish_dead).
    DeadLetter,
}

/// What happens if there is no position although this relay published before: its topic was
/// deleted, lost, or is another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MissingPosition {
    /// The relay stops and says so.
    #[default]
    Fail,
    /// It publishes all rows that are in the table, those that were published before included.
    PublishAll,
    /// It publishes what is committed from now on, and never what is in the table.
    SkipAll,
}

/// One of several relays that share an outbox, each with aggregates of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) index: u32,
    pub(crate) of: u32,
}

impl Shard {
    pub(crate) const ALL: Self = Self { index: 0, of: 1 };

    /// The condition that selects its rows; numbers only.
    pub(crate) fn condition(self) -> String {
        if self.of == 1 {
            return "true".to_owned();
        }
        format!("(hashtext(aggregateid) & 2147483647) % {} = {}", self.of, self.index)
    }
}

/// What [`MessageRelay`](super::MessageRelay) tells its source.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    pub(crate) relay: String,
    pub(crate) cleanup: Cleanup,
    pub(crate) poison: Poison,
    pub(crate) missing_position: MissingPosition,
    pub(crate) shard: Shard,
}
