//! The outbox and its relay against a real PostgreSQL and a real broker, faults OB1 to OB18 of the
//! outbox by name.

#![cfg(all(feature = "testing", feature = "postgres", feature = "failpoints"))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod capture;
mod crash;
mod identity;
mod kafka;
mod numbers;
mod order;
mod poison;
mod runner;
mod shop;
mod staging;
