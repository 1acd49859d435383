//! Old events in today's shape: upcasters from one schema version to the next, at read time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tidemill::BoxError;

use super::decider::Data;
use super::{EventEnvelope, EventError, EventType, Recorded};

type Upcaster = Arc<dyn Fn(Value) -> Result<Value, BoxError> + Send + Sync>;

/// What makes old data new, one step at a time: `type@1` to `type@2`, `type@2` to `type@3`.
///
/// What is stored stays as it is for ever; only what is read changes. An upcaster must be as pure
/// as a decider.
#[derive(Clone, Default)]
pub struct Upcasters {
    steps: BTreeMap<(String, u32), Upcaster>,
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.keys().map(|(name, from)| format!("{name}@{from}"));
        f.debug_list().entries(steps).finish()
    }
}

impl Upcasters {
    /// None: all events have today's shape.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the step from a schema version of this type of event to the next version. The data is
    /// the JSON of the whole event: of an enum's variant usually `{"<variant>": {..}}`.
    #[must_use]
    pub fn step(
        mut self,
        event_type: impl Into<String>,
        from: u32,
        upcast: impl Fn(Value) -> Result<Value, BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.steps.insert((event_type.into(), from), Arc::new(upcast));
        self
    }

    /// Reads a stored event.
    ///
    /// # Errors
    /// If its schema is newer than this program's, no upcaster takes it there, or the data does not
    /// fit in the end.
    pub fn read<E: Data + EventType>(
        &self,
        envelope: EventEnvelope,
    ) -> Result<Recorded<E>, EventError> {
        let EventEnvelope { version, event_id, event_type, schema: stored, mut data, .. } =
            envelope;
        let mut schema = stored;
        while let Some(step) = self.steps.get(&(event_type.clone(), schema)) {
            data = step(data).map_err(|cause| EventError::Upcaster {
                event_type: event_type.clone(),
                version,
                from: schema,
                cause,
            })?;
            schema = schema.saturating_add(1);
        }
        let event: E = match serde_json::from_value(data) {
            Ok(event) => event,
            Err(cause) => {
                let cause = cause.into();
                return Err(EventError::Data { event_type, version, schema, cause });
            }
        };
        if event.event_type() != event_type {
            let cause = format!("it is read as {}", event.event_type()).into();
            return Err(EventError::Data { event_type, version, schema, cause });
        }
        let known = event.schema_version();
        match schema.cmp(&known) {
            std::cmp::Ordering::Equal => Ok(Recorded { version, event_id, event }),
            std::cmp::Ordering::Greater => {
                Err(EventError::NewerSchema { event_type, version, stored, known })
            }
            std::cmp::Ordering::Less => {
                Err(EventError::NoUpcaster { event_type, version, stored: schema, known })
            }
        }
    }
}
