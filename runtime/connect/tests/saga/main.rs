//! Sagas under every fault of the table SG.

#![cfg(all(feature = "postgres", feature = "simulation", feature = "testing"))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod accounts;
mod hand;
mod order;
mod simulated;
mod turns;
