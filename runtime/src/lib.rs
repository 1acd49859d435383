//! Exactly-once stream processing on Kafka: Kafka Streams for Rust.
//!
//! A topology is written with [`StreamsBuilder`](dsl::StreamsBuilder) or node by node with
//! [`Topology`](topology::Topology). [`Tidemill`] runs it as members of a consumer group, keeps
//! keyed state in RocksDB, and commits outputs, changelogs and input offsets in one Kafka
//! transaction.
//!
//! In the order of a record's path:
//!
//! * [`client`]: the only code that knows Kafka's client library;
//! * `worker`: one thread, its tasks, the commit protocol executed;
//! * [`tidemill_core`]: tasks, processors, stores: everything that needs no I/O;
//! * [`storage`]: the only code that knows RocksDB;
//! * `restore`: from changelogs to stores;
//! * `global`: from topics to stores that every task reads;
//! * [`app`]: starting, watching and stopping all of it.
//!
//! Beside it, [`revision`] makes revisions for events, wherever they are produced.

/// The example of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub mod app;
pub mod client;
mod clock;
pub mod config;
mod error;
#[doc(hidden)]
pub mod failpoint;
mod global;
mod mutation;
mod restore;
pub mod revision;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod storage;
mod topics;
mod worker;
mod world;

pub use app::{CloseOptions, Metrics, State, StreamThreadExceptionResponse, Tidemill};
pub use config::Config;
pub use error::Error;
pub use restore::StateRestoreListener;
pub use tidemill_core::{
    BoxError, driver, dsl, errors, processor, record, serdes, store, task, topology, transaction,
};
