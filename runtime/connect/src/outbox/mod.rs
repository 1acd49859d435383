//! The transactional outbox: events staged in the transaction that they tell of.
//!
//! A service that changes its tables stages the events that tell of it in the same transaction, as
//! rows of one more table; a **Message Relay** publishes them. Nothing is sent from the business
//! code, so there is no second write that can fail.
//!
//! # What is promised
//! * If a transaction commits, each event that it staged is exactly once among the records that a
//!   `read_committed` consumer sees. If it rolls back, none is.
//! * Events of one aggregate, staged by transactions that exclude each other (each holds the row's
//!   lock when it commits), have the order of these transactions: same key, same partition.
//! * A transaction that staged after another one committed is never published before it.
//! * Rows are removed only behind the position that is committed in Kafka.
//!
//! # What it costs
//! A row in each transaction and, behind it, its deletion; a look at the table every 5 ms under
//! load and every 250 ms when idle (less than a millisecond of the database's time). Events are
//! seen a few milliseconds after their commit, in batches. No privilege beyond the tables, no
//! replication slot that could fill the disk.
//!
//! # What is not promised
//! * Order between aggregates, other than above. Order for writers that do not exclude each other.
//! * Publishing while Kafka is down: rows pile up in the table, and [`OutboxLag`] tells.
//! * Anything to consumers that read uncommitted records.
//!
//! # Why snapshots
//! Ids are drawn before the commit and transaction ids at the first write, so neither has the order
//! of commits: a relay that remembers the last id skips rows, one that waits until all older
//! transactions have ended stalls behind any of them, and orders an aggregate's events wrongly.
//! [`PollingOutbox`] remembers a *snapshot* instead: what transactions were visible. A batch is
//! what is visible in a new snapshot and was not in the last. Every commit is in exactly one such
//! batch. Inside a batch rows are sorted by id, which is right for an aggregate because the id is
//! drawn at the end of the transaction, under the row's lock: [`OutboxTransaction`] buffers until
//! the commit, and the relay refuses a sequence that hands out ids in blocks.
//!
//! # Identity
//! The position names the cluster, its timeline, the database and the outbox, and the session that
//! wrote it, whose token the database keeps too. On any doubt the relay stops and says what it
//! found and what an operator can do: another database, a promoted standby, a restored backup
//! (found even if it has long caught up in transaction numbers), a position that is gone.

mod cleanup;
mod cleanup_ranges;
mod dead;
mod error;
mod event;
mod gauges;
mod listener;
mod partitions;
mod polling;
mod position;
mod queries;
mod relay;
mod route;
mod row;
mod schema;
mod session;
mod settings;
mod stage;
#[cfg(feature = "postgres-cdc")]
pub mod tailing;
#[cfg(feature = "postgres-cdc")]
mod tailing_cleanup;

pub use error::OutboxError;
pub use event::OutboxEvent;
pub use gauges::OutboxLag;
pub use polling::PollingOutbox;
pub use position::OutboxPosition;
pub use relay::{MessageRelay, MessageRelayBuilder, MessageRelayHandle, OutboxSource};
pub use schema::{DDL, EVENT_BYTES_MAX, SCHEMA_VERSION};
pub use settings::{Cleanup, MissingPosition, Poison, RelaySettings};
pub use stage::{INSERT_SQL, Outbox, OutboxTransaction};
#[cfg(feature = "postgres-cdc")]
pub use tailing::LogTailingOutbox;
