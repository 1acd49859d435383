//! Events with what is known about them, and their form in topics and tables.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{EventType, Version};

/// An event that happened, as code sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded<E> {
    /// Its place in its stream, from 1.
    pub version: Version,
    /// Its id: follows from the command's id, so it is the same whenever that is decided again.
    pub event_id: Uuid,
    /// The event.
    pub event: E,
}

/// An event as it is stored: its data may be of an older schema. The value of the records of an
/// events topic, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventEnvelope {
    /// Its place in its stream, from 1.
    pub version: Version,
    /// Its id.
    pub event_id: Uuid,
    /// The command that it follows from.
    pub command_id: Uuid,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Version of the data's shape.
    pub schema: u32,
    /// The event itself.
    pub data: Value,
}

/// Header of an events topic: the event's id, as the outbox has it.
pub(crate) const HEADER_ID: &str = "id";
/// Header of an events topic: the event's name, as the outbox has it.
pub(crate) const HEADER_TYPE: &str = "type";
/// Header of an events topic: the version in its stream, as decimal digits.
pub(crate) const HEADER_REVISION: &str = "revision";

impl EventEnvelope {
    /// Wraps an event.
    ///
    /// # Errors
    /// If it has no JSON form.
    pub fn of<E: EventType + Serialize>(
        recorded: &Recorded<E>,
        command_id: Uuid,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            version: recorded.version,
            event_id: recorded.event_id,
            command_id,
            event_type: recorded.event.event_type().to_owned(),
            schema: recorded.event.schema_version(),
            data: serde_json::to_value(&recorded.event)?,
        })
    }
}

/// The id of the `index`-th event that a command gave rise to in a stream.
pub(crate) fn event_id(command_id: Uuid, stream: &str, index: usize) -> Uuid {
    Uuid::new_v5(&command_id, format!("{index}/{stream}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_command_stream_and_index_alone() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(event_id(one, "a", 0), event_id(one, "a", 0));
        let ids = [(one, "a", 0), (one, "a", 1), (one, "b", 0), (other, "a", 0), (one, "1/a", 0)];
        let ids: std::collections::BTreeSet<Uuid> =
            ids.into_iter().map(|(id, stream, index)| event_id(id, stream, index)).collect();
        assert_eq!(ids.len(), 5);
    }
}
