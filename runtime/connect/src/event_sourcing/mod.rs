//! Event sourcing: events as the truth, state as their fold.
//!
//! A [`Decider`] is three pure functions: `decide` turns a command and the present state into
//! events or a rejection, `evolve` folds an event into the state, `initial` is where the fold
//! begins. Two stores run the same decider:
//!
//! * **Kafka** ([`EventSourcing::event_sourced`]): an operator of a topology. Commands come from a
//!   topic, keyed by the stream's id; events, the state, the answer and the command's offset are
//!   committed in one transaction. Who owns a partition is the only writer of its streams.
//! * **PostgreSQL** (`PgEventStore`, feature `postgres`): a table with one row for each event. Two
//!   writers of a stream collide in its primary key. The table is an outbox, too: a relay
//!   publishes it, and its rows stay for ever.
//!
//! # What is promised
//! * State is the fold of the stream's events in the order of their versions 1, 2, 3, ..
//! * An append is atomic, and conditional on the [`ExpectedVersion`]: of two writers that expect
//!   the same version one succeeds and the other is told of the conflict.
//! * Folding from zero gives what any snapshot plus the events after it gives; [`Fingerprint`]s
//!   say so, and the audits of both stores compare all of them.
//! * A command that comes again under its id is answered as before, and appends nothing, within
//!   the window that is remembered (Kafka), or as long as its events exist (PostgreSQL).
//!
//! # What it costs
//! Each command reads and writes the state of one stream. Events are kept for ever: give their
//! topic `cleanup.policy=delete` with `retention.ms=-1`, and never compact it.
//!
//! # What is not promised
//! No order between streams, and no transaction over several of them: that takes a saga. Readers
//! of the events topic must read committed records only. Whoever else writes to the events topic
//! breaks the rules; readers find that out ([`VersionCheck`]), they can't mend it.

mod check;
mod command;
mod decider;
mod error;
mod event;
mod fingerprint;
mod given;
mod kafka;
#[cfg(feature = "postgres")]
mod postgres;
mod until;
mod upcast;
mod version;

pub use check::VersionCheck;
pub use command::{Command, Outcome, Reply};
pub use decider::{Data, Decider, EventType, Stream};
pub use error::{EventError, VersionError};
pub use event::{EventEnvelope, Recorded};
pub use fingerprint::Fingerprint;
pub use given::{Given, Then};
pub use kafka::{
    EventLog, EventLogError, EventSourced, EventSourcing, Folded, LogAudit, StoredStream,
};
#[cfg(feature = "postgres")]
pub use postgres::{
    EventStoreError, EventTablePosition, EventTableSource, PgEventStore, Projected, Projection,
    Projector, StoreAudit,
};
pub use until::Until;
pub use upcast::Upcasters;
pub use version::{ExpectedVersion, Version};
