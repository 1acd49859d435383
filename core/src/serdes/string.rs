//! Text in UTF-8, and nothing at all.

use super::{Encoded, Serde, SerdeError};

/// UTF-8 text. See [`string`].
#[derive(Debug, Clone, Copy, Default)]
pub struct StringSerde;

/// Returns the serde of `String`: UTF-8 (Kafka's `StringSerializer`).
#[must_use]
pub fn string() -> StringSerde {
    StringSerde
}

impl Serde<String> for StringSerde {
    fn serialize(&self, _: &str, value: &String, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(value.as_bytes());
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<String, SerdeError> {
        let bytes = bytes.ok_or(SerdeError::Null("a string"))?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(SerdeError::format)
    }
}

/// No data. See [`unit()`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Unit;

/// Returns the serde of `()`: written as null, read from anything. As a key serde it says that the
/// key is of no interest (Kafka's `VoidSerializer`, but other data is ignored, not refused).
#[must_use]
pub fn unit() -> Unit {
    Unit
}

impl Serde<()> for Unit {
    fn serialize(&self, _: &str, _: &(), _: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        Ok(Encoded::Null)
    }

    fn deserialize(&self, _: &str, _: Option<&[u8]>) -> Result<(), SerdeError> {
        Ok(())
    }

    fn is_null(&self, (): &()) -> bool {
        true
    }
}
