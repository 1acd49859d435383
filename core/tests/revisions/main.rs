//! Deduplication by revision and by id, run by the test driver and against simple models.
//!
//! The names `rv1_..` to `rv9_..` are those of the faults that an idempotent consumer must survive.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod by_id;
mod common;
mod crashes;
mod expiry;
#[path = "../support/mod.rs"]
mod fixture;
mod latest;
mod models;
mod names;
mod ordered;
mod restore;
