//! Where null is legal.

use super::{Encoded, Serde, SerdeError};

/// Adds null to a serde. See [`optional`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Optional<S>(S);

/// Returns the serde of `Option<T>`: `None` is null, which for a value is a tombstone.
#[must_use]
pub fn optional<S>(inner: S) -> Optional<S> {
    Optional(inner)
}

impl<T, S: Serde<T>> Serde<Option<T>> for Optional<S> {
    fn serialize(
        &self,
        topic: &str,
        value: &Option<T>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        match value {
            Some(value) => self.0.serialize(topic, value, out),
            None => Ok(Encoded::Null),
        }
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Option<T>, SerdeError> {
        bytes.map(|bytes| self.0.deserialize(topic, Some(bytes))).transpose()
    }

    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }
}
