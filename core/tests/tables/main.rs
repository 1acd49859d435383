//! Tables: what they forward and hold, rule by rule and against models that know everything.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod cogroup;
#[path = "../support/mod.rs"]
mod fixture;
mod foreign_key;
mod models;
mod rules;
mod support;
mod suppress;
