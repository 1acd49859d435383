//! Event sourcing, on Kafka and on PostgreSQL: the faults ES1 to ES9.

#![cfg(all(
    feature = "testing",
    feature = "postgres",
    feature = "simulation",
    feature = "failpoints"
))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod driver;
mod kafka;
mod pg;
mod pg_kills;
mod projections;
mod published;
mod rules;
mod schemas;
mod simulated;
mod stock;
