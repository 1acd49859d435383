//! A store of one task: typed overlay, serdes and the committed bytes below.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use super::expiry::Expiry;
use super::overlay::{Overlay, Slot};
use super::stored::{decode_stored, serde_error};
use super::{StoreError, StoreIndex, StoreSpec, TaskStorage};
use crate::BoxError;
use crate::record::{Headers, Origin, Timestamp};
use crate::serdes::{Encoded, Serde, SerdeError, SharedSerde};

/// The storage of a task, shared by its stores.
pub(crate) type SharedStorage = Rc<RefCell<dyn TaskStorage>>;

/// A key's value before and after an update, as a table's change is forwarded.
#[derive(Debug)]
pub(crate) struct Update<K, V> {
    pub(crate) key: K,
    pub(crate) new: Option<V>,
    pub(crate) old: Option<V>,
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: Headers,
    /// The source record of the last write.
    pub(crate) origin: Origin,
}

impl<V> Update<(), V> {
    /// Says of which key it is.
    pub(crate) fn of<K>(self, key: K) -> Update<K, V> {
        let Self { new, old, timestamp, headers, origin, .. } = self;
        Update { key, new, old, timestamp, headers, origin }
    }
}

/// A store with its types.
pub(crate) struct StoreCore<K, V> {
    pub(super) spec: StoreSpec,
    pub(super) index: StoreIndex,
    pub(super) changelog: String,
    key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) storage: SharedStorage,
    /// Timestamp of the record in process: what plain puts are logged with.
    now: Rc<Cell<Timestamp>>,
    /// The source record in process.
    origin: Rc<Cell<Origin>>,
    pub(super) overlay: Overlay<V>,
    pub(super) scratch: Vec<u8>,
    pub(super) poisoned: bool,
    /// What writes are logged with, if somebody said so.
    log_headers: Option<Headers>,
    /// Of a store whose entries expire.
    pub(super) expiry: Option<Expiry>,
    /// Whether changes carry the old value.
    pub(crate) send_old_values: bool,
}

impl<K, V> fmt::Debug for StoreCore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreCore").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// Everything a [`StoreCore`] is made of.
pub(crate) struct StoreParts<K, V> {
    pub(crate) spec: StoreSpec,
    pub(crate) index: StoreIndex,
    pub(crate) application_id: String,
    pub(crate) key_serde: SharedSerde<K>,
    pub(crate) value_serde: SharedSerde<V>,
    pub(crate) storage: SharedStorage,
    pub(crate) now: Rc<Cell<Timestamp>>,
    pub(crate) origin: Rc<Cell<Origin>>,
}

impl<K: 'static, V: Clone + 'static> StoreCore<K, V> {
    pub(crate) fn new(parts: StoreParts<K, V>) -> Self {
        Self {
            changelog: parts.spec.changelog_topic(&parts.application_id),
            expiry: Expiry::of(&parts.spec),
            spec: parts.spec,
            index: parts.index,
            key_serde: parts.key_serde,
            value_serde: parts.value_serde,
            storage: parts.storage,
            now: parts.now,
            origin: parts.origin,
            overlay: Overlay::new(),
            scratch: Vec::new(),
            poisoned: false,
            log_headers: None,
            send_old_values: false,
        }
    }

    pub(super) fn serde_error(&self, operation: &'static str, cause: SerdeError) -> StoreError {
        serde_error(&self.spec, operation, cause)
    }

    pub(super) fn held_bytes(&self) -> (usize, usize) {
        (self.overlay.bytes(), self.overlay.dirty_bytes())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now.get()
    }

    /// Reads a key: its value and the timestamp of its last update.
    pub(crate) fn get(&mut self, key: &K) -> Result<Option<(&V, Timestamp)>, StoreError> {
        let slot = self.locate(key)?;
        if self.is_hidden(slot)? {
            return Ok(None);
        }
        let entry = self.overlay.entry(slot);
        Ok(entry.value.as_ref().map(|value| (value, entry.timestamp)))
    }

    /// Has the puts from now on logged with these headers. Kafka Streams 4.3 does so in the stores
    /// that joins keep for themselves.
    pub(crate) fn log_with(&mut self, headers: &Headers) {
        self.log_headers.get_or_insert_default().clone_from(headers);
    }

    /// Writes a key; `None` deletes it.
    pub(crate) fn put(
        &mut self,
        key: &K,
        value: Option<V>,
        timestamp: Timestamp,
    ) -> Result<(), StoreError> {
        let value = value.filter(|value| !self.value_serde.is_null(value));
        let slot = self.locate(key)?;
        self.set(slot, value, timestamp)
    }

    /// Writes an entry that has no value yet, by its stored key: without looking for one.
    pub(super) fn put_new(
        &mut self,
        stored_key: &[u8],
        value: V,
        timestamp: Timestamp,
    ) -> Result<(), StoreError> {
        let slot = match self.overlay.find(stored_key) {
            Some(slot) => slot,
            None => self.overlay.insert_clean(stored_key, None, Timestamp(-1), 0),
        };
        self.set(slot, Some(value), timestamp)
    }

    /// Notes for the changelog, under a stored key that is new, that null was put: Kafka Streams
    /// logs it in a store that keeps duplicates, and does nothing else.
    pub(super) fn log_null(&mut self, stored_key: &[u8], timestamp: Timestamp) {
        let slot = match self.overlay.find(stored_key) {
            Some(slot) => slot,
            None => self.overlay.insert_clean(stored_key, None, timestamp, 0),
        };
        self.overlay.entry_mut(slot).timestamp = timestamp;
        self.mark_written(slot);
    }

    /// Makes an entry dirty, with the headers that it is logged with.
    fn mark_written(&mut self, slot: Slot) {
        if let Some(headers) = &self.log_headers {
            self.overlay.entry_mut(slot).headers.clone_from(headers);
        }
        self.overlay.mark_dirty(slot);
    }

    fn set(&mut self, slot: Slot, value: Option<V>, at: Timestamp) -> Result<(), StoreError> {
        self.note_write(slot, value.is_none())?;
        let entry = self.overlay.entry_mut(slot);
        entry.value = value;
        entry.timestamp = at;
        self.mark_written(slot);
        Ok(())
    }

    /// Reads a key that is given as bytes.
    pub(super) fn get_bytes(&mut self, key: &[u8]) -> Result<Option<&V>, StoreError> {
        let slot = self.locate_bytes(key)?;
        Ok(self.overlay.entry(slot).value.as_ref())
    }

    /// Writes a key that is given as bytes, with a value of about this many bytes.
    pub(super) fn put_bytes(
        &mut self,
        key: &[u8],
        value: Option<V>,
        value_bytes: usize,
    ) -> Result<(), StoreError> {
        let slot = self.locate_bytes(key)?;
        self.overlay.entry_mut(slot).value = value;
        self.overlay.note_value_bytes(slot, value_bytes);
        self.overlay.mark_dirty(slot);
        Ok(())
    }

    /// Returns whether a value stands for null.
    pub(super) fn is_null(&self, value: &V) -> bool {
        self.value_serde.is_null(value)
    }

    /// Replaces a key's value by what `apply` makes of it. The timestamp becomes the larger of the
    /// stored and the given one.
    ///
    /// With `fallible` the value before is kept while `apply` runs and stays if it fails. Without,
    /// it moves through `apply`, and a panic there poisons the store.
    ///
    /// Returns the change if it is to be forwarded now, that is, if the store does not cache.
    pub(crate) fn update(
        &mut self,
        key: &K,
        timestamp: Timestamp,
        headers: &Headers,
        fallible: bool,
        apply: impl FnOnce(Option<V>) -> Result<Option<V>, BoxError>,
    ) -> Result<Option<Update<(), V>>, BoxError> {
        let slot = self.locate(key)?;
        // a cached value is found as long as it is there: as in Java, where the cache still has it
        if !self.spec.caching {
            self.hide_expired(slot)?;
        }
        self.remember_forwarded(slot);
        let entry = self.overlay.entry_mut(slot);
        let before = if fallible { entry.value.clone() } else { entry.value.take() };
        let present = entry.value.is_some() || before.is_some();
        let updated = if present { entry.timestamp.max(timestamp) } else { timestamp };
        self.poisoned |= !fallible;
        let after = apply(before)?;
        self.poisoned = false;
        let after = after.filter(|value| !self.value_serde.is_null(value));
        // a deletion has no value to carry a timestamp: its tombstone takes the record's, as in
        // Java
        let stored = if after.is_some() { updated } else { timestamp };
        Ok(self.write(slot, after, (stored, updated), headers)?)
    }

    /// Sets a key's value and timestamp, whatever they were; `None` deletes it.
    ///
    /// Returns the change if it is to be forwarded now, as [`StoreCore::update`].
    pub(crate) fn replace(
        &mut self,
        key: &K,
        value: Option<V>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<Option<Update<(), V>>, StoreError> {
        let value = value.filter(|value| !self.value_serde.is_null(value));
        let slot = self.locate(key)?;
        self.hide_expired(slot)?;
        self.remember_forwarded(slot);
        self.write(slot, value, (timestamp, timestamp), headers)
    }

    /// Keeps the value that those below know, before the first change that they don't.
    fn remember_forwarded(&mut self, slot: Slot) {
        let send_old = self.send_old_values;
        let entry = self.overlay.entry_mut(slot);
        if !entry.unforwarded {
            entry.was_present = entry.value.is_some() || entry.dirty;
            entry.forwarded = if send_old { entry.value.clone() } else { None };
        }
    }

    /// Writes an entry: with the first timestamp it is stored, with the second it is forwarded.
    fn write(
        &mut self,
        slot: Slot,
        value: Option<V>,
        (stored, forwarded): (Timestamp, Timestamp),
        headers: &Headers,
    ) -> Result<Option<Update<(), V>>, StoreError> {
        let caching = self.spec.caching;
        self.note_write(slot, value.is_none())?;
        let entry = self.overlay.entry_mut(slot);
        entry.timestamp = stored;
        entry.value = value;
        entry.unforwarded = caching;
        if caching {
            entry.headers.clone_from(headers);
            entry.origin = self.origin.get();
        }
        self.overlay.mark_dirty(slot);
        if caching {
            return Ok(None);
        }
        let entry = self.overlay.entry_mut(slot);
        let (new, old) = (entry.value.clone(), entry.forwarded.take());
        let (headers, origin) = (headers.clone(), self.origin.get());
        Ok(Some(Update { key: (), new, old, timestamp: forwarded, headers, origin }))
    }

    /// Takes the changes that caching held back, in the order of their last write.
    ///
    /// A key that has no value and had none at the last commit did not change: as in Java it is
    /// neither forwarded nor written to the changelog.
    pub(crate) fn take_unforwarded(&mut self) -> Result<Vec<Update<K, V>>, StoreError> {
        let mut updates = Vec::new();
        let mut unchanged = Vec::new();
        for slot in self.overlay.dirty_in_order() {
            let entry = self.overlay.entry_mut(slot);
            if !std::mem::take(&mut entry.unforwarded) {
                continue;
            }
            let (new, old) = (entry.value.clone(), entry.forwarded.take());
            if new.is_none() && !entry.was_present {
                unchanged.push(slot);
                continue;
            }
            let headers = std::mem::take(&mut entry.headers);
            let (timestamp, origin) = (entry.timestamp, entry.origin);
            let key = self
                .key_serde
                .deserialize(&self.changelog, Some(&entry.key))
                .map_err(|cause| serde_error(&self.spec, "deserialize a key", cause))?;
            updates.push(Update { key, new, old, timestamp, headers, origin });
        }
        if !unchanged.is_empty() {
            self.overlay.forget_writes(&unchanged);
        }
        Ok(updates)
    }

    pub(super) fn approximate_len(&self) -> u64 {
        self.storage.borrow().approximate_len(self.index)
    }

    /// Turns a key into bytes.
    pub(crate) fn key_bytes(&self, key: &K) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.write_key(key, &mut bytes)?;
        Ok(bytes)
    }

    /// Turns something else than a key into bytes, e.g. the beginning of one.
    pub(super) fn bytes_of<P>(
        &self,
        value: &P,
        serde: &impl Serde<P>,
    ) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        match serde.serialize(&self.changelog, value, &mut bytes) {
            Ok(Encoded::Bytes) => Ok(bytes),
            Ok(Encoded::Null) => Err(StoreError::NullKey { store: self.spec.name.clone() }),
            Err(cause) => Err(self.serde_error("serialize a prefix", cause)),
        }
    }

    pub(crate) fn key_from(&self, bytes: &[u8]) -> Result<K, StoreError> {
        self.key_serde
            .deserialize(&self.changelog, Some(bytes))
            .map_err(|cause| serde_error(&self.spec, "deserialize a key", cause))
    }

    fn write_key(&self, key: &K, out: &mut Vec<u8>) -> Result<(), StoreError> {
        match self.key_serde.serialize(&self.changelog, key, out) {
            Ok(Encoded::Bytes) => Ok(()),
            Ok(Encoded::Null) => Err(StoreError::NullKey { store: self.spec.name.clone() }),
            Err(cause) => Err(serde_error(&self.spec, "serialize a key", cause)),
        }
    }

    /// Finds the key's entry, reading it from the storage if need be.
    fn locate(&mut self, key: &K) -> Result<Slot, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { store: self.spec.name.clone() });
        }
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let located = self.write_key(key, &mut bytes).and_then(|()| self.locate_bytes(&bytes));
        self.scratch = bytes;
        located
    }

    fn locate_bytes(&mut self, key: &[u8]) -> Result<Slot, StoreError> {
        if let Some(slot) = self.overlay.find(key) {
            return Ok(slot);
        }
        let mut decoded = None;
        let mut length = 0;
        self.storage.borrow().get(self.index, key, &mut |stored| {
            length = stored.len();
            decoded = Some(self.decode(stored));
        })?;
        let (value, timestamp) = match decoded.transpose()? {
            Some((value, timestamp)) => (Some(value), timestamp),
            None => (None, Timestamp(-1)),
        };
        Ok(self.overlay.insert_clean(key, value, timestamp, length))
    }

    pub(super) fn decode(&self, stored: &[u8]) -> Result<(V, Timestamp), StoreError> {
        decode_stored(&self.spec, &self.changelog, &self.value_serde, stored)
    }
}
