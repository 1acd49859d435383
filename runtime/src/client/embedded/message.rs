//! A fetched record.

use std::fmt;

use bytes::Bytes;
use tidemill_core::record::{Headers, Offset, RawRecord, Timestamp};

/// One record as it was fetched: nothing is copied, it shares its fetch answer's bytes.
pub(crate) struct Message {
    offset: i64,
    timestamp: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Option<Bytes>)>,
}

impl Message {
    pub(super) fn new(
        offset: i64,
        timestamp: i64,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Vec<(String, Option<Bytes>)>,
    ) -> Self {
        Self { offset, timestamp, key, value, headers }
    }

    /// The key, if it is long enough to be a control record's.
    pub(super) fn key_bytes(&self) -> Option<&[u8]> {
        self.key.as_deref().filter(|key| key.len() >= 4)
    }

    /// Bytes of the value: what librdkafka's limit of a partition's queue counts.
    pub(super) fn value_len(&self) -> usize {
        self.value.as_ref().map_or(0, Bytes::len)
    }
}

impl RawRecord for Message {
    fn offset(&self) -> Offset {
        Offset(self.offset)
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp(self.timestamp)
    }

    fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.add(name.clone(), value.as_ref().map(|value| value.to_vec()));
        }
        headers
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the bytes: they are the user's.
        f.debug_struct("Message").field("offset", &self.offset).finish_non_exhaustive()
    }
}
