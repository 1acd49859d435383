//! Exactly-once stream processing on Kafka.
