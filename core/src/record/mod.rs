//! What flows: records, their headers, timestamps and offsets.
//!
//! A [`Record`] is typed and moves by value along the nodes of a topology. A [`RecordView`] is the
//! same record as bytes, borrowed from whoever holds them (a Kafka client's fetch buffer, a test
//! driver's queue). *Null* is `None` and always kept apart from empty bytes: a null value is a
//! tombstone, an empty value is a value.

mod headers;
mod id;
mod offset;
mod origin;
mod time;

#[cfg(test)]
mod tests;

pub use headers::{Header, Headers};
pub use id::TaskId;
pub use offset::{Offset, Partition, SubTopologyId, TopicPartition};
pub(crate) use origin::Origin;
pub use time::{StreamTime, Timestamp};

/// A typed record: what a processor receives and forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<K, V> {
    /// The key. Use `Option<K>` as key type where null keys are legal.
    pub key: K,
    /// The value. Use `Option<V>` as value type where tombstones are legal.
    pub value: V,
    /// Milliseconds since the Unix epoch.
    pub timestamp: Timestamp,
    /// Headers travel with the record unless a processor changes them.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// Makes a record without headers.
    pub fn new(key: K, value: V, timestamp: Timestamp) -> Self {
        Self { key, value, timestamp, headers: Headers::new() }
    }

    /// Replaces the key, keeping value, timestamp and headers.
    pub fn with_key<K2>(self, key: K2) -> Record<K2, V> {
        Record { key, value: self.value, timestamp: self.timestamp, headers: self.headers }
    }

    /// Replaces the value, keeping key, timestamp and headers.
    pub fn with_value<V2>(self, value: V2) -> Record<K, V2> {
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers }
    }

    /// Replaces the timestamp (milliseconds since the Unix epoch).
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// Replaces the headers.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }
}

/// Where a record came from: topic, partition, offset. Absent while a punctuation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata<'a> {
    /// The source topic.
    pub topic: &'a str,
    /// The partition of that topic.
    pub partition: Partition,
    /// The record's own offset.
    pub offset: Offset,
}

/// A record as bytes, borrowed from the holder of the bytes.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// The source topic.
    pub topic: &'a str,
    /// The partition of that topic.
    pub partition: Partition,
    /// The record's own offset.
    pub offset: Offset,
    /// Timestamp as the log has it; negative if the log has none.
    pub timestamp: Timestamp,
    /// Key bytes; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value bytes; `None` is null, a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Whoever holds a record's bytes: a message of the Kafka client, or an [`OwnedRecord`].
///
/// Headers are asked for separately because parsing them costs more than all the rest.
pub trait RawRecord {
    /// The record's own offset.
    fn offset(&self) -> Offset;
    /// Timestamp as the log has it; negative if the log has none.
    fn timestamp(&self) -> Timestamp;
    /// Key bytes; `None` is null.
    fn key(&self) -> Option<&[u8]>;
    /// Value bytes; `None` is null.
    fn value(&self) -> Option<&[u8]>;
    /// Parses the headers.
    fn headers(&self) -> Headers;
    /// Bytes of memory that keeping this record costs, for bounds (INV-11).
    fn size_bytes(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.value().map_or(0, <[u8]>::len) + 96
    }
}

/// A record that owns its bytes: what the test driver feeds to a task and reads from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// The record's own offset.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch; negative if the log has none.
    pub timestamp: Timestamp,
    /// Key bytes; `None` is null.
    pub key: Option<Vec<u8>>,
    /// Value bytes; `None` is null.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Headers,
}

impl RawRecord for OwnedRecord {
    fn offset(&self) -> Offset {
        self.offset
    }
    fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }
    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
    fn headers(&self) -> Headers {
        self.headers.clone()
    }
}
