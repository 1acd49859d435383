//! JSON, by serde.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Encoded, Serde, SerdeError};

/// A value as JSON text. See [`json`].
#[derive(Debug)]
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Json<T> {}

/// Returns the serde that writes `T` as compact JSON.
///
/// The JSON text `null` is refused in both directions: it is neither a tombstone nor a value, and
/// `json::<Option<T>>()` where `optional(json::<T>())` was meant would otherwise fill a topic with
/// it.
#[must_use]
pub fn json<T: Serialize + DeserializeOwned + 'static>() -> Json<T> {
    Json(PhantomData)
}

const NULL_TEXT: &str = "the JSON text null is no value (use optional(json()) for tombstones)";

impl<T: Serialize + DeserializeOwned + 'static> Serde<T> for Json<T> {
    fn serialize(&self, _: &str, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        let start = out.len();
        serde_json::to_writer(&mut *out, value).map_err(SerdeError::format)?;
        if &out[start..] == b"null" {
            return Err(SerdeError::format(NULL_TEXT));
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        let bytes = bytes.ok_or(SerdeError::Null("JSON"))?;
        if bytes == b"null" {
            return Err(SerdeError::format(NULL_TEXT));
        }
        serde_json::from_slice(bytes).map_err(SerdeError::format)
    }
}
