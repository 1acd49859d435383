//! Exactly-once stream processing on Kafka.

pub mod config;
