//! A record on its way into a target.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tidemill::record::{Headers, Offset, Partition, RawRecord, Timestamp};
use uuid::Uuid;

/// The header under which events carry their id, as Debezium's outbox router writes it.
pub(crate) const ID_HEADER: &str = "id";

/// A record that a read_committed reader sees.
#[derive(Clone, PartialEq, Eq)]
pub struct SinkRecord {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: Partition,
    /// Its own offset.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch; negative if the log has none.
    pub timestamp: Timestamp,
    /// Key bytes; `None` is null.
    pub key: Option<Bytes>,
    /// Value bytes; `None` is null, a tombstone.
    pub value: Option<Bytes>,
    /// The headers.
    pub headers: Headers,
}

impl SinkRecord {
    pub(super) fn copy(topic: &Arc<str>, partition: Partition, record: &impl RawRecord) -> Self {
        Self {
            topic: Arc::clone(topic),
            partition,
            offset: record.offset(),
            timestamp: record.timestamp(),
            key: record.key().map(Bytes::copy_from_slice),
            value: record.value().map(Bytes::copy_from_slice),
            headers: record.headers(),
        }
    }

    /// Reads the value as JSON.
    ///
    /// # Errors
    /// If it is null, or no such JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, RecordError> {
        let value = self.value.as_deref().ok_or(RecordError::NoValue)?;
        serde_json::from_slice(value).map_err(RecordError::Json)
    }

    /// Returns the key as text.
    ///
    /// # Errors
    /// If it is null, or no UTF-8.
    pub fn key_text(&self) -> Result<&str, RecordError> {
        let key = self.key.as_deref().ok_or(RecordError::NoKey)?;
        std::str::from_utf8(key).map_err(|_| RecordError::KeyNotText)
    }

    /// Returns the text of the last header of that name, if there is one and it is UTF-8.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.headers.last(name)?.value.as_deref()?).ok()
    }

    /// Returns the id of the event: the header `id`, a UUID.
    ///
    /// # Errors
    /// If there is no such header, or it is no UUID.
    pub fn event_id(&self) -> Result<Uuid, RecordError> {
        let text = self.header_text(ID_HEADER).ok_or(RecordError::NoId)?;
        Uuid::try_parse(text).map_err(|_| RecordError::NoId)
    }

    /// Returns what names the record in messages: `orders-3 at offset 17`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}-{} at offset {}", self.topic, self.partition, self.offset)
    }

    /// Bytes of memory that keeping this record costs.
    pub(super) fn size_bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize =
            headers.map(|one| one.key.len() + one.value.as_ref().map_or(0, Vec::len) + 48).sum();
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
            + size_of::<Self>()
    }
}

impl fmt::Debug for SinkRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // not the bytes: they are the user's
        f.debug_struct("SinkRecord").field("place", &self.place()).finish_non_exhaustive()
    }
}

/// A record is not what its reader expects.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A null value where an event is expected.
    #[error("the value is null")]
    NoValue,
    /// The value is no such JSON.
    #[error("the value is not the expected JSON")]
    Json(#[source] serde_json::Error),
    /// A null key where one is needed.
    #[error("the key is null")]
    NoKey,
    /// The key is no UTF-8.
    #[error("the key is not UTF-8")]
    KeyNotText,
    /// No usable id.
    #[error("the header `id` is missing or no UUID")]
    NoId,
}
