//! The deterministic heart of Tidemill: no Kafka, no RocksDB, no clock, no thread, no I/O.
#![forbid(unsafe_code)]

pub mod record;
