//! The handle through which processors read and write a versioned store.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::VersionedCore;
use crate::record::Timestamp;
use crate::store::StoreError;

/// What a key had for some time (`VersionedRecord`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedRecord<V> {
    /// The value.
    pub value: V,
    /// Since when.
    pub timestamp: Timestamp,
    /// Up to when, not included; `None` if it holds now.
    pub valid_to: Option<Timestamp>,
}

/// Where a version was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It holds now.
    Latest,
    /// It ended at this instant, where the next version begins.
    ValidTo(Timestamp),
    /// Nowhere: it is older than the history. It was counted as dropped.
    NotPut,
}

/// A store of the versions of each key (`VersionedKeyValueStore`, KIP-889). What a key has now
/// never expires; what it had before is known for the time of the history.
///
/// Reads see the task's own uncommitted writes (INV-12).
pub struct VersionedKeyValueStore<K, V> {
    core: Rc<RefCell<VersionedCore<K, V>>>,
}

impl<K, V> VersionedKeyValueStore<K, V> {
    pub(crate) fn new(core: Rc<RefCell<VersionedCore<K, V>>>) -> Self {
        Self { core }
    }
}

impl<K, V> Clone for VersionedKeyValueStore<K, V> {
    fn clone(&self) -> Self {
        Self { core: Rc::clone(&self.core) }
    }
}

impl<K, V> fmt::Debug for VersionedKeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.borrow().fmt(f)
    }
}

impl<K: 'static, V: 'static> VersionedKeyValueStore<K, V> {
    /// Puts what a key has from `timestamp` on, until the next version begins. A value that its
    /// serde takes for null deletes the key as of then. A version with the same timestamp is
    /// replaced.
    ///
    /// # Errors
    /// If the key is null, or key or value can't be serialised, or the storage can't be read.
    pub fn put(&self, key: &K, value: &V, timestamp: Timestamp) -> Result<PutOutcome, StoreError> {
        self.core.borrow_mut().put(key, Some(value), timestamp)
    }

    /// As [`VersionedKeyValueStore::put`]; `None` deletes the key as of then.
    pub(crate) fn put_or_delete(
        &self,
        key: &K,
        value: Option<&V>,
        timestamp: Timestamp,
    ) -> Result<PutOutcome, StoreError> {
        self.core.borrow_mut().put(key, value, timestamp)
    }

    /// Deletes a key as of `timestamp`; returns what it had then. A deletion that is older than
    /// the history is not done, and gives nothing.
    ///
    /// # Errors
    /// As [`VersionedKeyValueStore::put`].
    pub fn delete(
        &self,
        key: &K,
        timestamp: Timestamp,
    ) -> Result<Option<VersionedRecord<V>>, StoreError> {
        let mut core = self.core.borrow_mut();
        let existing = core.as_of(key, timestamp)?;
        let outcome = core.put(key, None, timestamp)?;
        Ok(existing.filter(|_| outcome != PutOutcome::NotPut))
    }

    /// Returns what a key has now.
    ///
    /// # Errors
    /// As [`VersionedKeyValueStore::put`].
    pub fn get(&self, key: &K) -> Result<Option<VersionedRecord<V>>, StoreError> {
        self.core.borrow_mut().latest(key)
    }

    /// Returns what a key had at an instant. Of an instant before the history only that is known
    /// which still holds.
    ///
    /// # Errors
    /// As [`VersionedKeyValueStore::put`].
    pub fn get_as_of(
        &self,
        key: &K,
        timestamp: Timestamp,
    ) -> Result<Option<VersionedRecord<V>>, StoreError> {
        self.core.borrow_mut().as_of(key, timestamp)
    }
}
