//! Sinks on real servers: killed, suspended, cut off, refused, restored. Faults SK1 to SK9.

#![cfg(all(feature = "testing", feature = "postgres", feature = "failpoints"))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod aborted;
mod backup;
mod chaos;
mod custom;
mod killed;
mod outages;
mod poison;
mod proxy;
mod support;
mod topics;
mod upsert;
mod upstream;
mod zombie;
