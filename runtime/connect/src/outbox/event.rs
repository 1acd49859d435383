//! An event on its way into an outbox.

use std::fmt::Display;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::OutboxError;

/// Headers that the relay writes itself.
const RESERVED: [&str; 3] = ["id", "revision", "type"];

/// An event that tells of a change, to be staged in the change's own transaction.
///
/// # Examples
/// ```
/// use serde_json::json;
/// use tidemill_connect::outbox::OutboxEvent;
///
/// # fn main() -> Result<(), tidemill_connect::outbox::OutboxError> {
/// let event = OutboxEvent::json("order", 17, "OrderPlaced", &json!({"total": 30}))?
///     .revision(1)
///     .header("tenant", "north");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEvent {
    pub(super) event_id: Uuid,
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) event_type: String,
    pub(super) revision: Option<i64>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: Map<String, Value>,
}

impl OutboxEvent {
    /// Makes an event with a JSON payload. The aggregate's type chooses the topic, its id is the
    /// record's key: events of one aggregate keep their order.
    ///
    /// # Errors
    /// If the payload has no JSON.
    pub fn json<T: Serialize + ?Sized>(
        aggregate_type: &str,
        aggregate_id: impl Display,
        event_type: &str,
        payload: &T,
    ) -> Result<Self, OutboxError> {
        let payload = serde_json::to_vec(payload)
            .map_err(|cause| OutboxError::Payload { event: event_type.to_owned(), cause })?;
        Ok(Self::bytes(aggregate_type, aggregate_id, event_type, payload))
    }

    /// Makes an event whose payload is written already.
    #[must_use]
    pub fn bytes(
        aggregate_type: &str,
        aggregate_id: impl Display,
        event_type: &str,
        payload: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            payload: Some(payload.into()),
            ..Self::tombstone(aggregate_type, aggregate_id, event_type)
        }
    }

    /// Makes an event without a value, which deletes the aggregate's key in a compacted topic.
    #[must_use]
    pub fn tombstone(aggregate_type: &str, aggregate_id: impl Display, event_type: &str) -> Self {
        Self {
            event_id: Uuid::now_v7(),
            aggregate_type: aggregate_type.to_owned(),
            aggregate_id: aggregate_id.to_string(),
            event_type: event_type.to_owned(),
            revision: None,
            payload: None,
            headers: Map::new(),
        }
    }

    /// Sets the aggregate's revision, which consumers compare.
    #[must_use]
    pub fn revision(mut self, revision: i64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Sets the id by which consumers know the event again; a new one of version 7 if not set.
    #[must_use]
    pub fn event_id(mut self, id: Uuid) -> Self {
        self.event_id = id;
        self
    }

    /// Adds a header; a later one of the same name replaces it.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), Value::from(value));
        self
    }

    /// Returns the id by which consumers know the event again.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.event_id
    }

    /// Bytes that it takes while it is staged, roughly.
    pub(super) fn size(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
            .sum();
        let names = self.aggregate_type.len() + self.aggregate_id.len() + self.event_type.len();
        self.payload.as_ref().map_or(0, Vec::len) + headers + names
    }

    /// Says what is wrong with it, apart from its topic.
    pub(super) fn check(&self, payload_max: usize) -> Result<(), String> {
        if self.aggregate_id.is_empty() {
            return Err("the aggregate's id is empty: it is the key that keeps the order".into());
        }
        let headers = || self.headers.iter().map(|(name, value)| (&**name, value.as_str()));
        let texts = [&*self.aggregate_type, &*self.aggregate_id, &*self.event_type];
        let values = headers().flat_map(|(name, value)| [Some(name), value]).flatten();
        if texts.into_iter().chain(values).any(|text| text.contains('\0')) {
            return Err("a text has a NUL, which PostgreSQL does not store".into());
        }
        if let Some((name, _)) = headers().find(|(name, _)| RESERVED.contains(name)) {
            return Err(format!("the relay writes the header {name} itself"));
        }
        let bytes = self.size();
        if bytes > payload_max {
            return Err(format!("it has {bytes} bytes, the limit is {payload_max}"));
        }
        Ok(())
    }

    pub(super) fn refused(&self, why: impl Into<String>) -> OutboxError {
        OutboxError::Refused {
            event: self.event_type.clone(),
            aggregate: format!("{} {}", self.aggregate_type, self.aggregate_id),
            why: why.into(),
        }
    }
}
