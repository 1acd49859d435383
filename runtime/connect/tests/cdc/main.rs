//! Change data capture on a real PostgreSQL. The numbers in the names are those of its fault table.

#![cfg(all(feature = "testing", feature = "postgres-cdc"))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod bounds;
mod changes;
mod harness;
mod relay;
mod slots;
mod snapshots;
