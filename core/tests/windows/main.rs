//! Aggregations of windows beside naive models, with commits, restarts and aborts in between.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod bench;
mod models;
mod rules;
#[path = "../support/mod.rs"]
mod support;
