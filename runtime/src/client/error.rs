//! The one error type of the client seam, and what it asks of the caller.

pub use tidemill_core::transaction::Severity;

/// A client call failed.
///
/// Never carries a configuration value, so it may be logged as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("could not {operation}: {message} ({name})")]
pub struct ClientError {
    /// What was tried, in words that complete "could not ..".
    pub operation: &'static str,
    /// The code: positive ones are Kafka's, negative ones librdkafka's own.
    pub code: i32,
    /// The code's symbolic name, e.g. `UNKNOWN_TOPIC_OR_PART` or `_TIMED_OUT`.
    pub name: String,
    /// What librdkafka or the broker said.
    pub message: String,
    /// What to do about it.
    pub severity: Severity,
    /// True if time ran out, so that the call may still take effect later.
    pub timed_out: bool,
}

impl ClientError {
    /// Returns true if the requested offset is not in the partition's log: it was deleted, or the
    /// log is shorter than it was.
    #[must_use]
    pub fn is_offset_out_of_range(&self) -> bool {
        matches!(self.code, 1 | -140)
    }

    /// Returns true if the topic or the partition does not exist.
    #[must_use]
    pub fn is_unknown_topic_or_partition(&self) -> bool {
        matches!(self.code, 3 | -188 | -190)
    }
}
