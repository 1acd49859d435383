//! The client seam against a real Apache Kafka.

mod admin;
mod broken;
mod groups;
mod records;
mod support;
mod transactions;
