//! Tests of the log: single facts, and random histories beside a naive model.

mod compaction;
mod facts;
mod history;
mod model;
pub(crate) mod support;
