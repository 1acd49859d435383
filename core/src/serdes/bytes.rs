//! Bytes as they are.

use super::{Encoded, Serde, SerdeError};

/// Passes bytes through. See [`bytes`].
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesSerde;

/// Returns the serde of `Vec<u8>`: bytes as they are (Kafka's `ByteArraySerializer`).
#[must_use]
pub fn bytes() -> BytesSerde {
    BytesSerde
}

impl Serde<Vec<u8>> for BytesSerde {
    fn serialize(
        &self,
        _: &str,
        value: &Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(value);
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<Vec<u8>, SerdeError> {
        bytes.map(<[u8]>::to_vec).ok_or(SerdeError::Null("bytes"))
    }
}
