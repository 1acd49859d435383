//! Exactly-once stream processing on Kafka.

pub mod client;
pub mod config;
pub mod storage;
