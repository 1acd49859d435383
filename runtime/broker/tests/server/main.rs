//! The TCP door, through sockets.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod client;
mod door;
mod faults;
mod killed;
