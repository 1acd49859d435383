//! An embedded single-node Kafka broker: one engine, two doors.
//!
//! ```text
//!      any Kafka client                       simulation, in one thread
//!            |                                        |
//!        server (TCP)                          in-process door (crate tidemill)
//!            |              fault (a plan of what goes wrong)      |
//!            +---------------------> engine <---------------------+
//!                                   /   |   \
//!                                log  group  transaction
//!                                   \   |   /
//!                                    journal (what a restart needs)
//! ```
//!
//! The engine is pure: time is passed in, nothing is read from a clock, a socket or a disk, and the
//! same calls at the same times give the same answers and the same journal, byte for byte.
//!
//! For development and tests: one node, no replication, no security. Production is Apache Kafka.

#![forbid(unsafe_code)]

pub mod engine;
pub mod fault;
pub mod group;
pub mod journal;
pub mod log;
#[cfg(feature = "mutations")]
pub mod mutation;
pub mod server;
pub mod transaction;
