//! The keys of window and session stores as bytes.

use std::sync::Arc;

use super::segments::{PREFIX_BYTES, Segments, prefix};
use super::spec::WindowSpec;
use crate::record::Timestamp;
use crate::serdes::{Encoded, Serde, SerdeError, SharedSerde};
use crate::window::{Window, Windowed};

/// `segment | key | start | sequence`, with sequence 0.
pub(crate) struct WindowKeySerde<K> {
    inner: SharedSerde<K>,
    spec: WindowSpec,
}

impl<K> WindowKeySerde<K> {
    pub(crate) fn new(inner: SharedSerde<K>, spec: WindowSpec) -> Self {
        Self { inner, spec }
    }
}

impl<K: 'static> Serde<Windowed<K>> for WindowKeySerde<K> {
    fn serialize(
        &self,
        topic: &str,
        value: &Windowed<K>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        let start = value.window.start.0;
        let suffix = [&start.to_be_bytes()[..], &[0; 4]];
        let prefix = prefix(self.spec.segments.segment(start));
        let write = |out: &mut Vec<u8>| self.inner.serialize(topic, &value.key, out);
        framed(prefix, write, suffix, out)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Windowed<K>, SerdeError> {
        let (key, [start, _]) = split(bytes, "a key of a window store", [8, 4])?;
        let key = self.inner.deserialize(topic, Some(key))?;
        Ok(Windowed::new(key, Window::of_size(Timestamp(start), self.spec.size_ms)))
    }

    fn is_null(&self, value: &Windowed<K>) -> bool {
        self.inner.is_null(&value.key)
    }
}

/// `segment | key | end | start`.
pub(crate) struct SessionKeySerde<K> {
    inner: SharedSerde<K>,
    segments: Segments,
}

impl<K> SessionKeySerde<K> {
    pub(crate) fn new(inner: SharedSerde<K>, segments: Segments) -> Self {
        Self { inner, segments }
    }
}

impl<K: 'static> Serde<Windowed<K>> for SessionKeySerde<K> {
    fn serialize(
        &self,
        topic: &str,
        value: &Windowed<K>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        let Window { start, end } = value.window;
        let suffix = [&end.0.to_be_bytes()[..], &start.0.to_be_bytes()];
        let prefix = prefix(self.segments.segment(end.0));
        let write = |out: &mut Vec<u8>| self.inner.serialize(topic, &value.key, out);
        framed(prefix, write, suffix, out)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Windowed<K>, SerdeError> {
        let (key, [end, start]) = split(bytes, "a key of a session store", [8, 8])?;
        let key = self.inner.deserialize(topic, Some(key))?;
        Ok(Windowed::new(key, Window::new(Timestamp(start), Timestamp(end))))
    }

    fn is_null(&self, value: &Windowed<K>) -> bool {
        self.inner.is_null(&value.key)
    }
}

/// Appends segment, key and suffix; nothing if the key is null.
fn framed(
    prefix: [u8; PREFIX_BYTES],
    write_key: impl FnOnce(&mut Vec<u8>) -> Result<Encoded, SerdeError>,
    suffix: [&[u8]; 2],
    out: &mut Vec<u8>,
) -> Result<Encoded, SerdeError> {
    let length = out.len();
    out.extend_from_slice(&prefix);
    let encoded = write_key(out)?;
    match encoded {
        Encoded::Bytes => suffix.iter().for_each(|part| out.extend_from_slice(part)),
        Encoded::Null => out.truncate(length),
    }
    Ok(encoded)
}

/// Splits a stored key into the user's key and the two numbers behind it, of these lengths.
fn split<'a>(
    bytes: Option<&'a [u8]>,
    what: &'static str,
    lengths: [usize; 2],
) -> Result<(&'a [u8], [i64; 2]), SerdeError> {
    let bytes = bytes.ok_or(SerdeError::Null(what))?;
    let shortest = PREFIX_BYTES + lengths[0] + lengths[1];
    let Some(key_bytes) = bytes.len().checked_sub(shortest) else {
        return Err(SerdeError::Length { what, expected: shortest, found: bytes.len() });
    };
    let (key, suffix) = bytes[PREFIX_BYTES..].split_at(key_bytes);
    let (first, second) = suffix.split_at(lengths[0]);
    let number = |bytes: &[u8]| bytes.iter().fold(0_i64, |n, byte| (n << 8) | i64::from(*byte));
    Ok((key, [number(first), number(second)]))
}

/// The serde of a window store's stored keys.
pub(crate) fn window_key_serde<K: 'static>(
    inner: SharedSerde<K>,
    spec: WindowSpec,
) -> SharedSerde<Windowed<K>> {
    Arc::new(WindowKeySerde::new(inner, spec))
}

/// The serde of a session store's stored keys.
pub(crate) fn session_key_serde<K: 'static>(
    inner: SharedSerde<K>,
    segments: Segments,
) -> SharedSerde<Windowed<K>> {
    Arc::new(SessionKeySerde::new(inner, segments))
}
