//! Revisions from a real PostgreSQL: counters in rows, sequences, guarded writes, and the service.

#![cfg(all(feature = "testing", feature = "revision-service", feature = "failpoints"))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod clients;
mod counters;
mod diverge;
mod doubt;
mod kills;
mod names;
mod requests;
mod service;
mod support;
