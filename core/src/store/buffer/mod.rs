//! Changes of a table that wait for their time, in the order of it: the buffer of a suppression.
//!
//! The contents are a store as any other: an overlay over committed bytes, staged at a commit and
//! written when it is acknowledged (INV-2), dropped by an abort. What lies in memory besides is the
//! order, which is made again from the contents when a task is built.
//!
//! A key waits since its first change: later ones take its place, with its time.

mod erased;
#[cfg(test)]
mod tests;
mod value;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::rc::Rc;

use super::{Order, StoreCore, StoreError};
use crate::record::{Headers, Offset, Partition, Timestamp};
use crate::serdes::{Encoded, SharedSerde};

pub(crate) use erased::{BufferParts, SharedBuffer};
use value::{Buffered, BufferedSerde, Shared};

/// Entries that are read at a time when a task is built.
const PAGE_ENTRIES: usize = 256;

/// Bytes that a key takes in the order, beside its own.
const INDEX_ENTRY_BYTES: usize = 48;

/// A change that may go on.
#[derive(Debug)]
pub(crate) struct Evicted<K, V> {
    pub(crate) key: K,
    pub(crate) new: Option<V>,
    /// What those below know the key to have, if it was asked for.
    pub(crate) prior: Option<V>,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: Headers,
    pub(crate) source: Source,
}

/// The source record that something came of.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) topic: Rc<str>,
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
}

/// A change that is to wait.
#[derive(Debug)]
pub(crate) struct Waiting<'a, K, V> {
    pub(crate) key: &'a K,
    pub(crate) new: Option<&'a V>,
    pub(crate) old: Option<&'a V>,
    /// When the key's place is, if it does not wait yet.
    pub(crate) time: Timestamp,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: Headers,
    pub(crate) source: Source,
}

/// The changes that wait.
pub(crate) struct ChangeBuffer<K, V> {
    core: StoreCore<Vec<u8>, Buffered>,
    name: String,
    changelog: String,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    /// Time and key's bytes of everything in the core.
    order: BTreeSet<(Timestamp, Box<[u8]>)>,
    order_bytes: usize,
    size: u64,
}

impl<K, V> std::fmt::Debug for ChangeBuffer<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeBuffer").field("core", &self.core).finish_non_exhaustive()
    }
}

impl<K: 'static, V: 'static> ChangeBuffer<K, V> {
    /// Makes the order out of what is committed. To be called once, before anything else.
    pub(crate) fn load(&mut self) -> Result<(), StoreError> {
        let mut from: Bound<Box<[u8]>> = Bound::Unbounded;
        loop {
            let start: Bound<&[u8]> = match &from {
                Bound::Excluded(last) => Bound::Excluded(last),
                _ => Bound::Unbounded,
            };
            let page = self.core.page(start, Bound::Unbounded, Order::Ascending, PAGE_ENTRIES)?;
            for (key, buffered, _) in page.entries {
                self.size += buffered.size(&key);
                self.enter(buffered.time, key);
            }
            match page.resume_after {
                Some(last) => from = Bound::Excluded(last),
                None => return Ok(()),
            }
        }
    }

    fn enter(&mut self, time: Timestamp, key: Box<[u8]>) {
        self.order_bytes += key.len() + INDEX_ENTRY_BYTES;
        self.order.insert((time, key));
    }

    /// Returns how many keys wait.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Returns the bytes of what waits, as Kafka Streams estimates them.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Returns the time of the key that waits the longest.
    pub(crate) fn min_time(&self) -> Option<Timestamp> {
        self.order.first().map(|(time, _)| *time)
    }

    /// Has a change wait. One of the same key that waits already is replaced, and keeps its place.
    pub(crate) fn put(&mut self, waiting: Waiting<'_, K, V>) -> Result<(), StoreError> {
        let Waiting { key, new, old, time, timestamp, headers, source } = waiting;
        let key = self.key_bytes(key)?;
        let (new, old) = (self.value_bytes(new)?, self.value_bytes(old)?);
        let (time, prior, before) = match self.core.get_bytes(&key)? {
            Some(before) => (before.time, before.prior.clone(), Some(before.size(&key))),
            None => (time, old.clone(), None),
        };
        let old = if old == prior { prior.clone() } else { old };
        let Source { topic, partition, offset } = source;
        let buffered =
            Buffered { time, timestamp, headers, topic, partition, offset, prior, old, new };
        let after = buffered.size(&key);
        self.size = self.size - before.unwrap_or(0) + after;
        self.core.put_bytes(&key, Some(buffered), usize::try_from(after).unwrap_or(usize::MAX))?;
        if before.is_none() {
            self.enter(time, key.into());
        }
        Ok(())
    }

    /// Returns the change that is first in the order, perhaps with what was known before. It stays
    /// until [`ChangeBuffer::remove_first`] is called.
    pub(crate) fn first(&mut self, with_prior: bool) -> Result<Option<Evicted<K, V>>, StoreError> {
        let Some((time, key)) = self.order.first() else { return Ok(None) };
        let found = self.core.get_bytes(key)?.cloned();
        let found = found.filter(|found| found.time == *time);
        let Buffered { timestamp, headers, topic, partition, offset, prior, new, .. } =
            found.unwrap_or_else(|| panic!("the order of {:?} is not its contents", self.core));
        let read = |bytes: Shared| {
            let Some(bytes) = bytes else { return Ok(None) };
            let read = self.value_serde.deserialize(&self.changelog, Some(&bytes));
            read.map(Some).map_err(|cause| self.core.serde_error("deserialize a value", cause))
        };
        let key = self.key_serde.deserialize(&self.changelog, Some(key));
        Ok(Some(Evicted {
            key: key.map_err(|cause| self.core.serde_error("deserialize a key", cause))?,
            new: read(new)?,
            prior: read(prior.filter(|_| with_prior))?,
            timestamp,
            headers,
            source: Source { topic, partition, offset },
        }))
    }

    /// Takes the change that is first in the order out.
    pub(crate) fn remove_first(&mut self) -> Result<(), StoreError> {
        let Some((_, key)) = self.order.pop_first() else { return Ok(()) };
        self.order_bytes -= key.len() + INDEX_ENTRY_BYTES;
        let size = self.core.get_bytes(&key)?.map_or(0, |removed| removed.size(&key));
        self.size -= size;
        self.core.put_bytes(&key, None, 0)
    }

    /// Returns what those below know a key to have, if the key waits.
    #[expect(clippy::option_option, reason = "a key that waits may have had no value")]
    pub(crate) fn prior(&mut self, key: &K) -> Result<Option<Option<V>>, StoreError> {
        let key = self.key_bytes(key)?;
        let Some(found) = self.core.get_bytes(&key)? else { return Ok(None) };
        let Some(prior) = found.prior.clone() else { return Ok(Some(None)) };
        let read = self.value_serde.deserialize(&self.changelog, Some(&prior));
        let read = read.map_err(|cause| self.core.serde_error("deserialize a value", cause));
        read.map(|value| Some(Some(value)))
    }

    fn key_bytes(&self, key: &K) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        match self.key_serde.serialize(&self.changelog, key, &mut bytes) {
            Ok(Encoded::Bytes) => Ok(bytes),
            Ok(Encoded::Null) => Err(StoreError::NullKey { store: self.name.clone() }),
            Err(cause) => Err(self.core.serde_error("serialize a key", cause)),
        }
    }

    fn value_bytes(&self, value: Option<&V>) -> Result<Shared, StoreError> {
        let Some(value) = value else { return Ok(None) };
        let mut bytes = Vec::new();
        match self.value_serde.serialize(&self.changelog, value, &mut bytes) {
            Ok(Encoded::Bytes) => Ok(Some(bytes.into())),
            Ok(Encoded::Null) => Ok(None),
            Err(cause) => Err(self.core.serde_error("serialize a value", cause)),
        }
    }
}
