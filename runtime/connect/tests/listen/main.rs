//! Listen to yourself on real servers: clients that ask again, consumers that are killed. Faults
//! LY1 to LY6.

#![cfg(all(feature = "testing", feature = "postgres", feature = "failpoints"))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod chaos;
mod emitting;
mod inbox;
mod requests;
mod services;
mod shop;
