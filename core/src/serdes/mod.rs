//! Between values and bytes.
//!
//! A [`Serde`] is for one type and says what null means for it. Most types have no null: reading a
//! null is then an error that goes to the deserialization handler, not a surprise in user code.
//! [`optional`] makes a serde of `Option<T>` whose `None` is null, a tombstone.
//!
//! The number formats are those of Kafka's Java serializers, so topics can be shared.

#[cfg(feature = "bincode")]
mod bincode;
mod bytes;
mod json;
mod number;
mod optional;
mod string;
#[cfg(test)]
mod tests;

use std::sync::Arc;

#[cfg(feature = "bincode")]
pub use self::bincode::{Bincode, bincode};
pub use bytes::{BytesSerde, bytes};
pub use json::{Json, json};
pub use number::{F32, F64, I16, I32, I64, f32, f64, i16, i32, i64};
pub use optional::{Optional, optional};
pub use string::{StringSerde, Unit, string, unit};

/// What a value turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoded {
    /// Bytes were appended, perhaps none: empty is not null.
    Bytes,
    /// The value is null; nothing was appended.
    Null,
}

/// Writes and reads values of one type.
///
/// `topic` is the real topic for sources and sinks and the changelog topic for stores, as in Kafka
/// Streams, so that a serde may look up a schema by it.
pub trait Serde<T>: Send + Sync + 'static {
    /// Appends the bytes of `value` to `out`.
    ///
    /// # Errors
    /// If this value has no encoding; `out` may then hold a part of it.
    fn serialize(&self, topic: &str, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError>;

    /// Reads a value; `None` is null.
    ///
    /// # Errors
    /// If the bytes are not a value of this type, or null and the type has no null.
    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<T, SerdeError>;

    /// Returns true if the value stands for null.
    fn is_null(&self, _value: &T) -> bool {
        false
    }

    /// Returns how many bytes at the end say in which window a key is. A stream is written to a
    /// topic by those before them, so that all windows of a key go to one partition, as in Kafka
    /// Streams (`WindowedStreamPartitioner`). Default: none.
    fn window_bytes(&self) -> usize {
        0
    }
}

/// A serde whose type was forgotten, shared between the tasks.
pub type SharedSerde<T> = Arc<dyn Serde<T>>;

impl<T: 'static> Serde<T> for SharedSerde<T> {
    fn serialize(&self, topic: &str, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        (**self).serialize(topic, value, out)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        (**self).deserialize(topic, bytes)
    }

    fn is_null(&self, value: &T) -> bool {
        (**self).is_null(value)
    }

    fn window_bytes(&self) -> usize {
        (**self).window_bytes()
    }
}

/// Bytes that are not a value, or a value that has no bytes.
#[derive(Debug, thiserror::Error)]
pub enum SerdeError {
    /// Null, and the type has no null.
    #[error("null where {0} is expected (wrap the serde in optional() if nulls are legal)")]
    Null(&'static str),
    /// The number of bytes is wrong.
    #[error("{what} takes {expected} bytes, found {found}")]
    Length {
        /// The type.
        what: &'static str,
        /// Bytes it takes.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Anything else: what the format's own library says.
    #[error("{0}")]
    Format(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SerdeError {
    /// Wraps the error of a format's library, or a text.
    pub fn format(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Format(cause.into())
    }
}
