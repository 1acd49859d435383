//! bincode 2 with its standard configuration, behind the feature `bincode`.
//!
//! bincode is no longer maintained (RUSTSEC-2025-0141). The feature exists for data that is already
//! written in it; for new topics prefer JSON or a format with a schema.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Encoded, Serde, SerdeError};

/// A value in bincode's standard configuration. See [`bincode()`].
#[derive(Debug)]
pub struct Bincode<T>(PhantomData<fn() -> T>);

impl<T> Clone for Bincode<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Bincode<T> {}

/// Returns the serde that writes `T` with bincode 2's standard configuration.
#[must_use]
pub fn bincode<T: Serialize + DeserializeOwned + 'static>() -> Bincode<T> {
    Bincode(PhantomData)
}

impl<T: Serialize + DeserializeOwned + 'static> Serde<T> for Bincode<T> {
    fn serialize(&self, _: &str, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        ::bincode::serde::encode_into_std_write(value, out, ::bincode::config::standard())
            .map_err(SerdeError::format)?;
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        let bytes = bytes.ok_or(SerdeError::Null("bincode"))?;
        let (value, read) =
            ::bincode::serde::decode_from_slice(bytes, ::bincode::config::standard())
                .map_err(SerdeError::format)?;
        if read != bytes.len() {
            return Err(SerdeError::format(format!(
                "{} bytes are left over behind the value",
                bytes.len() - read
            )));
        }
        Ok(value)
    }
}
