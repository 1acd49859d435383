//! Event sourcing on Kafka: an operator that decides, and one that folds.
//!
//! ```text
//!                   +--------------- one task, one transaction ---------------+
//!  commands --------|-> known id? -> expected version? -> decide -> evolve    |
//!  (key: stream)    |      |                                |         |       |
//!                   |   answers (store)          events (topic)   streams (store)
//!                   |      |                                                  |
//!                   |      +-> replies (stream)                               |
//!                   +---------------------------------------------------------+
//! ```
//!
//! Kafka has no conditional append. What takes its place: all commands of a stream are in one
//! partition, one task owns it, and a task that lost it is fenced before it can commit. So within
//! the task "read the version, decide, append" is one step that nobody else can come between.

mod answers;
mod folding;
mod log;
mod log_error;
mod options;
mod processor;
mod reader;
mod stored;

use std::sync::Arc;

use tidemill::dsl::{KStream, StreamsBuilder};
use tidemill::serdes::{json, string};
use tidemill::topology::{Consumed, Produced, key_value_store};

pub use folding::Folded;
pub use log::{EventLog, LogAudit};
pub use log_error::EventLogError;
pub use options::EventSourced;
pub use stored::StoredStream;

use super::{Command, Decider, EventEnvelope, Reply, Stream};
use processor::Output;

/// Event sourcing as operators of a topology.
pub trait EventSourcing {
    /// Reads commands (JSON of [`Command`], keyed by the stream's id), lets the decider decide, and
    /// writes what happens to the events topic (JSON of [`EventEnvelope`], the same key). Returns
    /// the answers, each in the transaction of what it tells.
    ///
    /// Events have the headers of their command, and `id`, `type` and `revision` as events of an
    /// outbox do; their timestamp is the command's.
    ///
    /// The events topic must exist with `cleanup.policy=delete` and `retention.ms=-1`. Nobody else
    /// may write to it.
    fn event_sourced<D: Decider>(
        &self,
        commands: &str,
        events: &str,
        options: EventSourced,
    ) -> KStream<String, Reply<D::Event, D::Rejection>>;

    /// Reads an events topic and keeps the fold of each stream in a store: a read model, in this or
    /// another application. Returns each stream after each of its events.
    ///
    /// A gap in the versions, or a version that was written twice, is an error of the record
    /// ([`VersionError`](super::VersionError)) and goes to the processing handler, which fails by
    /// default.
    fn folded_events<D: Decider>(
        &self,
        events: &str,
        options: EventSourced,
    ) -> KStream<String, Stream<D::State>>;
}

impl EventSourcing for StreamsBuilder {
    fn event_sourced<D: Decider>(
        &self,
        commands: &str,
        events: &str,
        options: EventSourced,
    ) -> KStream<String, Reply<D::Event, D::Rejection>> {
        let rules = Arc::new(options);
        let streams = key_value_store(&*rules.store, string(), json::<StoredStream<D::State>>());
        let answers = key_value_store(rules.answers(), string(), json::<answers::Entry>());
        self.add_state_store(streams.with_logging_enabled(rules.changelog_config.clone()));
        self.add_state_store(answers.with_logging_enabled(rules.changelog_config.clone()));
        let (store, beside) = (rules.store.clone(), rules.answers());
        let decided: KStream<String, Output<D::Event, D::Rejection>> = self
            .stream(commands, Consumed::with(string(), json::<Command<D::Command>>()))
            .process_values(
                move || processor::Deciding::<D>::new(Arc::clone(&rules)),
                &[&store, &beside],
            );
        decided
            .flat_map_values(Output::into_event)
            .to(events, Produced::with(string(), json::<EventEnvelope>()));
        decided.flat_map_values(Output::into_reply)
    }

    fn folded_events<D: Decider>(
        &self,
        events: &str,
        options: EventSourced,
    ) -> KStream<String, Stream<D::State>> {
        let rules = Arc::new(options);
        let folded = key_value_store(&*rules.store, string(), json::<Folded<D::State>>());
        self.add_state_store(folded.with_logging_enabled(rules.changelog_config.clone()));
        let store = rules.store.clone();
        self.stream(events, Consumed::with(string(), json::<EventEnvelope>()))
            .process_values(move || folding::Folding::<D>::new(Arc::clone(&rules)), &[&store])
    }
}
