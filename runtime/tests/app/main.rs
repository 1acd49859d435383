//! Whole applications on a real Apache Kafka: they are killed, stopped, fed with poison and
//! deprived of their state, and every result is computed again from the input.
//!
//! Needs the feature `failpoints`. A test is named after what it proves; `inv_n` names the
//! invariant of `docs/INVARIANTS.md` that it exercises.

#![cfg(feature = "failpoints")]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod behaviour;
mod broker;
mod crash;
mod globals;
mod kafka_streams;
mod poison;
mod restart;
mod revisions;
mod sources_and_sinks;
mod start;
mod state;
mod support;
mod takeover;
