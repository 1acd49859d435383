//! A row of the outbox, and the record that it becomes.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde_json::{Map, Value};
use tidemill::record::{Header, Headers, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Json;
use uuid::Uuid;

use super::route::Topics;
use crate::source::SourceRecord;

/// The columns of [`OutboxRow`], in its order.
pub(crate) const COLUMNS: &str =
    "id, event_id, aggregatetype, aggregateid, type, revision, payload, headers, created_at";

/// A row as it was staged. Texts are borrowed from the client's buffer.
#[derive(Debug)]
pub(crate) struct OutboxRow<'a> {
    pub(crate) id: i64,
    pub(crate) event_id: Uuid,
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: &'a str,
    pub(crate) event_type: &'a str,
    pub(crate) revision: Option<i64>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: Option<Map<String, Value>>,
    pub(crate) created_at: SystemTime,
}

impl<'a> OutboxRow<'a> {
    /// Reads a row that begins with [`COLUMNS`].
    pub(crate) fn read(row: &'a Row) -> Result<Self, tokio_postgres::Error> {
        let headers: Option<Json<Map<String, Value>>> = row.try_get(7)?;
        Ok(Self {
            id: row.try_get(0)?,
            event_id: row.try_get(1)?,
            aggregate_type: row.try_get(2)?,
            aggregate_id: row.try_get(3)?,
            event_type: row.try_get(4)?,
            revision: row.try_get(5)?,
            payload: row.try_get(6)?,
            headers: headers.map(|Json(map)| map),
            created_at: row.try_get(8)?,
        })
    }

    /// Makes the record: key is the aggregate's id, headers are `id`, `type`, `revision` if there
    /// is one, and the event's own.
    pub(crate) fn record(&self, topics: &mut Topics) -> SourceRecord {
        let mut id = vec![0; uuid::fmt::Hyphenated::LENGTH];
        self.event_id.as_hyphenated().encode_lower(&mut id);
        let header = |key: &str, value| Header { key: key.to_owned(), value };
        let own = self.headers.iter().flatten().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            header(name, (!value.is_null()).then(|| text.into_bytes()))
        });
        let revision = self.revision.map(|revision| revision.to_string().into_bytes());
        let headers: Headers = [
            Some(header("id", Some(id))),
            Some(header("type", Some(self.event_type.as_bytes().to_vec()))),
            revision.map(|revision| header("revision", Some(revision))),
        ]
        .into_iter()
        .flatten()
        .chain(own)
        .collect();
        SourceRecord {
            topic: topics.topic(self.aggregate_type),
            partition: None,
            key: Some(Bytes::copy_from_slice(self.aggregate_id.as_bytes())),
            value: self.payload.map(Bytes::copy_from_slice),
            timestamp: timestamp(self.created_at),
            headers,
        }
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
