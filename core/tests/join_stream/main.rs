//! Joins of two streams: rule by rule, and against models that know everything.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod models;
mod rules;
mod support;
