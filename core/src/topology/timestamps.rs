//! Where a source record's timestamp comes from (Kafka Streams' `TimestampExtractor`).
//!
//! A timestamp that is negative has the record skipped and counted as dropped; an error goes to the
//! deserialization handler.

use crate::BoxError;
use crate::record::Timestamp;

/// What a timestamp can be chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordTimes {
    /// The timestamp that the record carries; negative if it has none.
    pub record: Timestamp,
    /// The largest timestamp of the partition so far; `None` before its first record.
    pub partition: Option<Timestamp>,
    /// Wall-clock time, in milliseconds since the Unix epoch, as of this turn of the worker.
    pub wall_clock: Timestamp,
}

/// Chooses the timestamp of a source's records. Closures do, too.
pub trait TimestampExtractor<K, V>: Send + Sync {
    /// Returns the timestamp; a negative one skips the record.
    ///
    /// # Errors
    /// If there is none to be had: the deserialization handler decides on the record.
    fn extract(&self, key: &K, value: &V, times: &RecordTimes) -> Result<Timestamp, BoxError>;
}

impl<K, V, F> TimestampExtractor<K, V> for F
where
    F: Fn(&K, &V, &RecordTimes) -> Result<Timestamp, BoxError> + Send + Sync,
{
    fn extract(&self, key: &K, value: &V, times: &RecordTimes) -> Result<Timestamp, BoxError> {
        self(key, value, times)
    }
}

/// Takes the record's own timestamp; it is an error if there is none. The default.
#[derive(Debug, Clone, Copy)]
pub struct FailOnInvalidTimestamp;

impl<K, V> TimestampExtractor<K, V> for FailOnInvalidTimestamp {
    fn extract(&self, _: &K, _: &V, times: &RecordTimes) -> Result<Timestamp, BoxError> {
        own_timestamp(times)
    }
}

/// Returns the record's own timestamp.
pub(super) fn own_timestamp(times: &RecordTimes) -> Result<Timestamp, BoxError> {
    if times.record.0 >= 0 {
        return Ok(times.record);
    }
    Err(format!(
        "the record has no timestamp ({}); set message.timestamp.type of the topic or have the \
         producer set one, or choose another timestamp extractor",
        times.record
    )
    .into())
}

/// Takes the record's own timestamp; a record that has none is skipped.
#[derive(Debug, Clone, Copy)]
pub struct LogAndSkipOnInvalidTimestamp;

impl<K, V> TimestampExtractor<K, V> for LogAndSkipOnInvalidTimestamp {
    fn extract(&self, _: &K, _: &V, times: &RecordTimes) -> Result<Timestamp, BoxError> {
        Ok(times.record)
    }
}

/// Takes the record's own timestamp, and that of its partition for one that has none. It is an
/// error if no record of the partition had one before.
#[derive(Debug, Clone, Copy)]
pub struct UsePartitionTimeOnInvalidTimestamp;

impl<K, V> TimestampExtractor<K, V> for UsePartitionTimeOnInvalidTimestamp {
    fn extract(&self, _: &K, _: &V, times: &RecordTimes) -> Result<Timestamp, BoxError> {
        match (times.record, times.partition) {
            (own, _) if own.0 >= 0 => Ok(own),
            (_, Some(partition)) => Ok(partition),
            (_, None) => Err("the record has no timestamp, and none before it in its partition \
                              has one"
                .into()),
        }
    }
}

/// Takes the wall-clock time of processing, so that results depend on when they are computed.
#[derive(Debug, Clone, Copy)]
pub struct WallclockTimestampExtractor;

impl<K, V> TimestampExtractor<K, V> for WallclockTimestampExtractor {
    fn extract(&self, _: &K, _: &V, times: &RecordTimes) -> Result<Timestamp, BoxError> {
        Ok(times.wall_clock)
    }
}
