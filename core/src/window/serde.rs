//! Windowed keys in topics: the key's bytes, then the bounds of the window.

use std::sync::Arc;

use super::{Window, Windowed};
use crate::record::Timestamp;
use crate::serdes::{Encoded, Serde, SerdeError, SharedSerde};

/// The serde of a windowed key whose windows all have one size: the key's bytes, then the window's
/// start (8 bytes, big-endian). The end is computed from the size
/// (`WindowedSerdes.TimeWindowedSerde`).
pub struct TimeWindowedSerde<K> {
    inner: SharedSerde<K>,
    size_ms: i64,
}

impl<K> TimeWindowedSerde<K> {
    /// Makes the serde for windows of `size_ms` milliseconds, with the serde of the key without
    /// window.
    pub fn new(inner: impl Serde<K>, size_ms: i64) -> Self {
        Self { inner: Arc::new(inner), size_ms }
    }
}

impl<K> std::fmt::Debug for TimeWindowedSerde<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimeWindowedSerde").field("size_ms", &self.size_ms).finish_non_exhaustive()
    }
}

impl<K: 'static> Serde<Windowed<K>> for TimeWindowedSerde<K> {
    fn serialize(
        &self,
        topic: &str,
        value: &Windowed<K>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        let encoded = self.inner.serialize(topic, &value.key, out)?;
        if encoded == Encoded::Bytes {
            out.extend_from_slice(&value.window.start.0.to_be_bytes());
        }
        Ok(encoded)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Windowed<K>, SerdeError> {
        let what = "a time-windowed key";
        let bytes = bytes.ok_or(SerdeError::Null(what))?;
        let (key, [start]) = split_times(bytes, what)?;
        let key = self.inner.deserialize(topic, Some(key))?;
        Ok(Windowed::new(key, Window::of_size(start, self.size_ms)))
    }

    fn is_null(&self, value: &Windowed<K>) -> bool {
        self.inner.is_null(&value.key)
    }

    fn window_bytes(&self) -> usize {
        8
    }
}

/// The serde of a key in a session: the key's bytes, then the session's end and its start (8 bytes
/// each, big-endian; `WindowedSerdes.SessionWindowedSerde`).
pub struct SessionWindowedSerde<K> {
    inner: SharedSerde<K>,
}

impl<K> SessionWindowedSerde<K> {
    /// Makes the serde, with that of the key without session.
    pub fn new(inner: impl Serde<K>) -> Self {
        Self { inner: Arc::new(inner) }
    }
}

impl<K> std::fmt::Debug for SessionWindowedSerde<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionWindowedSerde").finish_non_exhaustive()
    }
}

impl<K: 'static> Serde<Windowed<K>> for SessionWindowedSerde<K> {
    fn serialize(
        &self,
        topic: &str,
        value: &Windowed<K>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        let encoded = self.inner.serialize(topic, &value.key, out)?;
        if encoded == Encoded::Bytes {
            out.extend_from_slice(&value.window.end.0.to_be_bytes());
            out.extend_from_slice(&value.window.start.0.to_be_bytes());
        }
        Ok(encoded)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Windowed<K>, SerdeError> {
        let what = "a session-windowed key";
        let bytes = bytes.ok_or(SerdeError::Null(what))?;
        let (key, [end, start]) = split_times(bytes, what)?;
        let key = self.inner.deserialize(topic, Some(key))?;
        Ok(Windowed::new(key, Window::new(start, end)))
    }

    fn is_null(&self, value: &Windowed<K>) -> bool {
        self.inner.is_null(&value.key)
    }

    fn window_bytes(&self) -> usize {
        16
    }
}

/// Splits off the `N` instants at the end.
fn split_times<'a, const N: usize>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(&'a [u8], [Timestamp; N]), SerdeError> {
    let (mut key, mut times) = (bytes, [Timestamp(0); N]);
    for time in times.iter_mut().rev() {
        let Some((rest, last)) = key.split_last_chunk() else {
            return Err(SerdeError::Length { what, expected: 8 * N, found: bytes.len() });
        };
        (key, *time) = (rest, Timestamp(i64::from_be_bytes(*last)));
    }
    Ok((key, times))
}
