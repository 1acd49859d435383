//! The engine: requests in, answers out, no clock, no socket, no disk.
//!
//! Requests and answers are Kafka's own messages ([`RequestKind`], [`ResponseKind`]), so that both
//! doors speak the same language and the TCP door adds nothing but bytes.

mod config;
mod configs;
mod context;
mod coordinators;
mod dispatch;
mod fetch;
mod metadata;
mod moves;
mod offsets;
mod produce;
#[cfg(test)]
mod tests;
mod topics;
mod versions;
mod waiting;

use kafka_protocol::messages::{RequestKind, ResponseKind};
use serde::{Deserialize, Serialize};

pub use config::EngineConfig;
pub(crate) use context::{Answers, Context};
pub(crate) use moves::Moves;
pub use versions::{api_versions, is_offered};
use waiting::Fetches;

use crate::group::Groups;
use crate::journal;
use crate::log::Topics;
use crate::transaction::Transactions;

/// Milliseconds since the Unix epoch, of a clock that never goes back.
pub type Millis = i64;

/// One request with what the door knows of its sender.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which connection: a door numbers them.
    pub connection: u64,
    /// `client.id` of the request's header.
    pub client_id: String,
    /// Where the client is, e.g. `/127.0.0.1`.
    pub client_host: String,
    /// Version of the request's schema; the answer is for the same one.
    pub version: i16,
    /// The request.
    pub request: RequestKind,
}

/// An answer that is not there yet: a fetch that waits for records, a join that waits for members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What became of a request.
#[derive(Debug, Clone)]
pub enum Handled {
    /// The answer. The journal is to be written before it is sent.
    Answer(Box<ResponseKind>),
    /// The answer will be among [`Engine::take_answers`].
    Waiting(Ticket),
    /// There is none (a produce request with `acks=0`).
    Silent,
    /// The request is one that this broker does not know; the connection is to be closed, as Apache
    /// Kafka does. The text is for the log.
    Refused(String),
}

impl Handled {
    /// An answer that is there at once.
    pub(crate) fn answer(answer: impl Into<ResponseKind>) -> Self {
        Self::Answer(Box::new(answer.into()))
    }

    /// The answer itself if what was to be waited for has happened by now.
    pub(crate) fn settle(self, answers: &mut Answers) -> Self {
        match self {
            Self::Waiting(ticket) => answers.settle(ticket),
            other => other,
        }
    }

    /// A request, or a version of it, that is not offered.
    pub(crate) fn unsupported(call: &Call) -> Self {
        let (name, version) = (&call.request, call.version);
        Self::Refused(format!("version {version} of this request is not offered: {name:.60?}"))
    }
}

/// Whose transaction markers are held back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum MarkerTarget {
    /// Those for a partition of a topic.
    Partition {
        /// Name of the topic.
        topic: String,
        /// Index of the partition.
        partition: i32,
    },
    /// Those for the offsets of a group.
    Group(String),
}

/// Whose coordinator has moved away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoordinatorKey {
    /// That of a group.
    Group(String),
    /// That of a transactional id.
    Transaction(String),
}

/// Why an engine can't be made of a journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// The entries contradict each other: the journal is not one that an engine wrote.
    #[error("entry {entry} of the journal does not fit what came before it: {reason}")]
    Inconsistent {
        /// Number of the entry, from 0.
        entry: usize,
        /// What was expected and what was found.
        reason: String,
    },
}

/// The broker without its doors.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    topics: Topics,
    groups: Groups,
    transactions: Transactions,
    answers: Answers,
    fetches: Fetches,
    journal: Vec<journal::Entry>,
    /// How much of the journal the waiting fetches have seen.
    seen: usize,
    retention_at: Option<Millis>,
    compaction_at: Option<Millis>,
}

impl Engine {
    /// Returns a broker without a topic.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            topics: Topics::default(),
            groups: Groups::default(),
            transactions: Transactions::default(),
            answers: Answers::default(),
            fetches: Fetches::default(),
            journal: Vec::new(),
            seen: 0,
            retention_at: None,
            compaction_at: None,
        }
    }

    /// Returns the broker that wrote `entries`, as it was after the last of them. Waiting requests
    /// are not part of it; members of groups keep their places if they are heard of in time.
    ///
    /// # Errors
    /// [`RecoveryError`] when the entries are not what an engine wrote, in that order.
    pub fn recover(
        config: EngineConfig,
        entries: impl IntoIterator<Item = journal::Entry>,
        now: Millis,
    ) -> Result<Self, RecoveryError> {
        let mut engine = Self::new(config);
        for (number, entry) in entries.into_iter().enumerate() {
            let done = match entry {
                journal::Entry::Log(entry) => engine.topics.recover(entry, now),
                journal::Entry::Group(entry) => engine.groups.recover(entry, now),
                journal::Entry::Transaction(entry) => engine.transactions.recover(entry, now),
            };
            done.map_err(|reason| RecoveryError::Inconsistent { entry: number, reason })?;
        }
        engine.groups.recovered(now);
        engine.transactions.recovered(&mut engine.journal);
        Ok(engine)
    }

    /// Takes the answers of tickets that are due now.
    pub fn take_answers(&mut self) -> Vec<(Ticket, ResponseKind)> {
        self.wake();
        self.answers.take()
    }

    /// Forgets the request that holds `ticket`: its connection is gone.
    pub fn abandon(&mut self, ticket: Ticket) {
        self.fetches.remove(ticket);
        self.answers.forget(ticket);
    }

    /// Takes what is to be written to the journal before any answer is sent.
    pub fn take_journal(&mut self) -> Vec<journal::Entry> {
        self.wake();
        self.seen = 0;
        std::mem::take(&mut self.journal)
    }

    /// Returns entries that recover to this state: what a journal is rewritten as.
    #[must_use]
    pub fn snapshot(&self) -> Vec<journal::Entry> {
        let mut entries = self.topics.snapshot();
        entries.extend(self.groups.snapshot());
        entries.extend(self.transactions.snapshot());
        entries
    }

    /// Bytes of records that a rewritten journal would have: about its size.
    #[must_use]
    pub fn live_size(&self) -> u64 {
        let logs = self.topics.iter().flat_map(|(_, topic)| topic.partitions());
        logs.map(|log| log.size() as u64).sum()
    }

    /// Lets writing to a partition fail with `KAFKA_STORAGE_ERROR` until a time. False if there is
    /// no such partition.
    pub fn fail_writes(&mut self, topic: &str, partition: i32, until: Millis) -> bool {
        let log = self.topics.partition_mut(topic, partition);
        log.map(|log| log.fail_until(until)).is_some()
    }

    /// What the broker was told when it was made.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Tells clients another host and port from now on: those that a door really got.
    pub fn advertise(&mut self, host: &str, port: u16) {
        host.clone_into(&mut self.config.host);
        self.config.port = port;
    }

    /// The topics, for oracles.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.topics
    }
}
