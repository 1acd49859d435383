//! The client seam over librdkafka. Nothing outside this folder knows librdkafka.
//!
//! Thin and exact: one call of ours is one call of librdkafka, with an explicit timeout, through
//! the raw bindings. The reasons not to use rust-rdkafka's own clients: its transaction calls add
//! 100 ms to a commit, its consumer costs three times as much a record as batch consume, and its
//! errors lose flags and topics. Each C object has one owner type that frees it; whatever belongs
//! to a client holds an `Arc` of it, so that the client is destroyed last.

mod admin;
mod call;
pub(in crate::client) mod code;
pub(in crate::client) mod conf;
mod consumer;
pub(in crate::client) mod delivery;
pub(in crate::client) mod error;
mod ffi;
mod group;
mod handle;
mod leave;
mod list;
mod message;
mod producer;
mod reader;
mod seam;
mod topics;
mod transaction;

#[cfg(test)]
mod tests;

pub use admin::Admin;
pub use consumer::Consumer;
pub use group::GroupMetadata;
pub use leave::{LeaveError, leave_group};
pub use message::Message;
pub use producer::Producer;
pub use reader::PartitionReader;
pub(crate) use seam::KafkaConnector;
