//! Sinks: from topics into a database, each record's effect once.
//!
//! A topology never writes to a database itself: an aborted transaction of Kafka's would leave the
//! write behind, and a retry would repeat it. Results go to a topic, inside the transaction, and a
//! **sink** moves them from there.
//!
//! # What is promised
//!
//! For each record of the topics that a `read_committed` reader sees, its effect is in the target
//! exactly once, in the order of its partition, wherever this process, another owner of the
//! partition, the database or the broker dies. Records of aborted transactions never have one.
//!
//! It rests on one rule: **the next offset is kept by the target, in the same transaction as the
//! data, and moved by compare-and-set** (from the offset that the batch starts at to the one behind
//! it), before anything is written. Whoever comes second, a zombie or a repeated batch, changes
//! nothing and learns it. The consumer group only distributes the partitions; its committed offsets
//! are a hint for tools that show the lag.
//!
//! # What it costs
//!
//! One row of `sink_offset` for each partition, one update of it for each transaction, and one
//! transaction for all that arrived while the last one was under way.
//!
//! # What is not promised
//!
//! * Order between partitions. Records of one transaction of Kafka's are not applied together.
//! * Anything of a target that is not transactional: see [`idempotent`].
//! * That a record which the target refuses is skipped: the sink stops there unless it was told to
//!   put it aside ([`OnPoison`]).
//!
//! A doubt stops the sink with an explanation: the topic was deleted and made again, records were
//! deleted before they were applied, the stored offset lies beyond the log's end.
//!
//! | fault | outcome |
//! |---|---|
//! | killed before, in or after the commit | each effect once (SK1) |
//! | a zombie writes after a rebalance | its compare-and-set changes nothing, it rolls back (SK2) |
//! | database down, deadlock, commit without an answer | the batch again, or found applied (SK3) |
//! | aborted transactions in between | never applied, offsets go on behind them (SK4) |
//! | a record that can't be applied | halt, or a dead letter in the same transaction (SK5) |
//! | late, repeated or equal revisions | the guard of [`postgres::Upsert`] holds (SK6) |
//! | topic made again, retention overtook, partition added | stop, stop, starts at 0 (SK7) |
//! | database restored from a backup | goes on from the backup's offsets (SK8) |

mod apply;
mod assignment;
mod config;
mod error;
mod gather;
mod handle;
pub mod idempotent;
#[cfg(feature = "postgres")]
pub mod postgres;
mod record;
mod run;
mod runner;
mod target;
mod topics;

pub use config::{OnPoison, SinkOptions, StartAt};
pub use error::SinkError;
pub use handle::{NotApplied, SinkHandle, SinkMetrics};
#[cfg(feature = "postgres")]
pub use postgres::PostgresSink;
pub use record::{RecordError, SinkRecord};
pub use runner::Sink;
pub use target::{
    Applied, PartitionBatch, TargetError, TopicFacts, TransactionalTarget, records_of,
};
