//! Stored bytes as values, for whoever reads them: the task that owns a store, or all of them.

use super::{StoreError, StoreSpec};
use crate::record::Timestamp;
use crate::serdes::{SerdeError, SharedSerde};

/// Reads a stored value: what it is and when it was written (-1 where that is not kept).
pub(super) fn decode_stored<V: 'static>(
    spec: &StoreSpec,
    topic: &str,
    value_serde: &SharedSerde<V>,
    stored: &[u8],
) -> Result<(V, Timestamp), StoreError> {
    let fail = |cause| serde_error(spec, "deserialize a value", cause);
    let (timestamp, value) = if spec.kind.is_timestamped() {
        let (timestamp, value) = stored.split_first_chunk().ok_or_else(|| {
            let (what, found) = ("a timestamped value", stored.len());
            fail(SerdeError::Length { what, expected: 8, found })
        })?;
        (Timestamp(i64::from_be_bytes(*timestamp)), value)
    } else {
        (Timestamp(-1), stored)
    };
    let value = value_serde.deserialize(topic, Some(value)).map_err(fail)?;
    Ok((value, timestamp))
}

pub(super) fn serde_error(
    spec: &StoreSpec,
    operation: &'static str,
    cause: SerdeError,
) -> StoreError {
    StoreError::Serde { store: spec.name.clone(), operation, cause }
}
