//! Reading a global store: what one writer of the process has stored, from every task.
//!
//! A task keeps what it read, typed, until the writer stores something new: a table that hardly
//! ever changes costs one hash look-up for each record.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::overlay::Overlay;
use super::stored::{decode_stored, serde_error};
use super::{KeyRange, Order, StoreError, StoreIndex, StoreSpec, StoredEntry};
use crate::record::Timestamp;
use crate::serdes::{Encoded, SharedSerde};

/// The stored contents of all global stores of a process, read while another thread writes them.
///
/// A [`StoreIndex`] is a position among the stores of
/// [`Topology::global_topology`](crate::topology::Topology::global_topology).
pub trait GlobalStorage: fmt::Debug {
    /// As [`TaskStorage::get`](super::TaskStorage::get).
    ///
    /// # Errors
    /// If the storage can't be read.
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError>;

    /// As [`TaskStorage::scan`](super::TaskStorage::scan).
    ///
    /// # Errors
    /// As [`GlobalStorage::get`].
    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError>;

    /// Returns roughly how many entries the store has.
    fn approximate_len(&self, store: StoreIndex) -> u64;

    /// Returns a number that is another one after each write. It changes when the write is done:
    /// what is read after asking is at least as new as the number.
    fn version(&self) -> u64;
}

/// What instantiating the reader of a global store takes.
pub(crate) struct ReaderEnv {
    pub(crate) index: StoreIndex,
    pub(crate) application_id: String,
    pub(crate) storage: Rc<dyn GlobalStorage>,
    pub(crate) cache_bytes_max: usize,
}

/// A task's way to a global store, whatever its types.
pub(crate) trait ErasedReader {
    fn name(&self) -> &str;
    /// The typed reader, to be downcast once per processor.
    fn handle(&self) -> Rc<dyn Any>;
    fn type_name(&self) -> &'static str;
}

/// The erased side of a reader.
pub(crate) struct SharedReader<K, V> {
    name: String,
    core: Rc<RefCell<GlobalCore<K, V>>>,
}

impl<K, V> SharedReader<K, V> {
    pub(crate) fn new(core: GlobalCore<K, V>) -> Self {
        Self { name: core.spec.name.clone(), core: Rc::new(RefCell::new(core)) }
    }
}

impl<K: 'static, V: 'static> ErasedReader for SharedReader<K, V> {
    fn name(&self) -> &str {
        &self.name
    }

    fn handle(&self) -> Rc<dyn Any> {
        Rc::clone(&self.core) as Rc<dyn Any>
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<(K, V)>()
    }
}

/// An entry with the bytes of its key.
pub(super) type Found<K, V> = (Box<[u8]>, K, V);

/// A global store as one task reads it.
pub(crate) struct GlobalCore<K, V> {
    spec: StoreSpec,
    index: StoreIndex,
    /// What serdes are told: the topic that fills the store.
    topic: String,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    storage: Rc<dyn GlobalStorage>,
    /// What was read since `version`; every entry is clean.
    read: Overlay<V>,
    version: u64,
    cache_bytes_max: usize,
    scratch: Vec<u8>,
}

impl<K, V> fmt::Debug for GlobalCore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalCore").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl<K: 'static, V: Clone + 'static> GlobalCore<K, V> {
    pub(crate) fn new(
        spec: StoreSpec,
        (key_serde, value_serde): (SharedSerde<K>, SharedSerde<V>),
        env: ReaderEnv,
    ) -> Self {
        let ReaderEnv { index, application_id, storage, cache_bytes_max } = env;
        Self {
            topic: spec.changelog_topic(&application_id),
            version: storage.version(),
            spec,
            index,
            key_serde,
            value_serde,
            storage,
            read: Overlay::new(),
            cache_bytes_max,
            scratch: Vec::new(),
        }
    }

    /// Reads a key: its value and the timestamp of its last update.
    pub(crate) fn get(&mut self, key: &K) -> Result<Option<(&V, Timestamp)>, StoreError> {
        let version = self.storage.version();
        if version != self.version || self.read.bytes() > self.cache_bytes_max {
            self.read = Overlay::new();
            self.version = version;
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let slot = self.write_key(key, &mut bytes).and_then(|()| match self.read.find(&bytes) {
            Some(slot) => Ok(slot),
            None => {
                let (found, length) = self.look_up(&bytes)?;
                let (value, timestamp) = match found {
                    Some((value, timestamp)) => (Some(value), timestamp),
                    None => (None, Timestamp(-1)),
                };
                Ok(self.read.insert_clean(&bytes, value, timestamp, length))
            }
        });
        self.scratch = bytes;
        let entry = self.read.entry(slot?);
        Ok(entry.value.as_ref().map(|value| (value, entry.timestamp)))
    }

    fn look_up(&self, key: &[u8]) -> Result<(Option<(V, Timestamp)>, usize), StoreError> {
        let mut decoded = None;
        let mut length = 0;
        self.storage.get(self.index, key, &mut |stored| {
            length = stored.len();
            decoded = Some(self.decode(stored));
        })?;
        Ok((decoded.transpose()?, length))
    }

    fn decode(&self, stored: &[u8]) -> Result<(V, Timestamp), StoreError> {
        decode_stored(&self.spec, &self.topic, &self.value_serde, stored)
    }

    fn write_key(&self, key: &K, out: &mut Vec<u8>) -> Result<(), StoreError> {
        match self.key_serde.serialize(&self.topic, key, out) {
            Ok(Encoded::Bytes) => Ok(()),
            Ok(Encoded::Null) => Err(StoreError::NullKey { store: self.spec.name.clone() }),
            Err(cause) => Err(serde_error(&self.spec, "serialize a key", cause)),
        }
    }

    pub(super) fn key_bytes(&self, key: &K) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.write_key(key, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns up to `limit` entries of the range with the bytes of their keys.
    pub(super) fn page(
        &self,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Found<K, V>>, StoreError> {
        let stored = self.storage.scan(self.index, range, order, limit)?;
        let typed = |(key, value): StoredEntry| {
            let typed = self.key_serde.deserialize(&self.topic, Some(&key));
            let typed =
                typed.map_err(|cause| serde_error(&self.spec, "deserialize a key", cause))?;
            let (value, _) = self.decode(&value)?;
            Ok((key, typed, value))
        };
        stored.into_iter().map(typed).collect()
    }

    pub(super) fn approximate_len(&self) -> u64 {
        self.storage.approximate_len(self.index)
    }
}
