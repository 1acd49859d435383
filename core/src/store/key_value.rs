//! The handles through which processors read and write a store.
//!
//! A handle is taken once, in `Processor::init`, and used for every record without a look-up or a
//! downcast. It belongs to its task and must not outlive it.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use super::scan::Scan;
use super::{Order, StoreCore, StoreError};
use crate::record::{Headers, Timestamp};
use crate::serdes::Serde;

/// A value and the timestamp of its last update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueAndTimestamp<V> {
    /// The value.
    pub value: V,
    /// Timestamp of the update that wrote it.
    pub timestamp: Timestamp,
}

/// Gives a handle what all handles have.
macro_rules! shared_handle {
    ($name:ident, $key:ty) => {
        impl<K, V> $name<K, V> {
            pub(crate) fn new(core: Rc<RefCell<StoreCore<$key, V>>>) -> Self {
                Self { core }
            }
        }

        impl<K, V> Clone for $name<K, V> {
            fn clone(&self) -> Self {
                Self { core: Rc::clone(&self.core) }
            }
        }

        impl<K, V> fmt::Debug for $name<K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.core.borrow().fmt(f)
            }
        }
    };
}

/// A store of values by key. Reads see the task's own uncommitted writes (INV-12).
pub struct KeyValueStore<K, V> {
    core: Rc<RefCell<StoreCore<K, V>>>,
}

pub(super) use shared_handle;

shared_handle!(KeyValueStore, K);

impl<K: 'static, V: Clone + 'static> KeyValueStore<K, V> {
    /// Returns the value of a key.
    ///
    /// # Errors
    /// If the key is null or can't be serialised, or the storage can't be read.
    pub fn get(&self, key: &K) -> Result<Option<V>, StoreError> {
        Ok(self.core.borrow_mut().get(key)?.map(|(value, _)| value.clone()))
    }

    /// Writes a value. A value that its serde takes for null deletes the key.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn put(&self, key: &K, value: V) -> Result<(), StoreError> {
        let mut core = self.core.borrow_mut();
        let now = core.now();
        core.put(key, Some(value), now)
    }

    /// Writes a value if the key has none; returns the value that it has otherwise.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn put_if_absent(&self, key: &K, value: V) -> Result<Option<V>, StoreError> {
        let present = self.get(key)?;
        if present.is_none() {
            self.put(key, value)?;
        }
        Ok(present)
    }

    /// Deletes a key; returns the value that it had.
    ///
    /// # Errors
    /// As [`KeyValueStore::get`].
    pub fn delete(&self, key: &K) -> Result<Option<V>, StoreError> {
        let before = self.get(key)?;
        let mut core = self.core.borrow_mut();
        let now = core.now();
        core.put(key, None, now)?;
        Ok(before)
    }

    /// Iterates over a range of keys, in the unsigned byte order of the serialised keys. An empty
    /// or inverted range gives nothing.
    ///
    /// The iterator reads a page at a time: writes made while it is open may or may not be seen.
    ///
    /// # Errors
    /// If a bound can't be serialised; each item may fail as [`KeyValueStore::get`] does.
    pub fn range(&self, range: impl RangeBounds<K>) -> Result<KeyValueIterator<K, V>, StoreError> {
        KeyValueIterator::new(&self.core, &range, Order::Ascending)
    }

    /// As [`KeyValueStore::range`], largest key first.
    ///
    /// # Errors
    /// As [`KeyValueStore::range`].
    pub fn reverse_range(
        &self,
        range: impl RangeBounds<K>,
    ) -> Result<KeyValueIterator<K, V>, StoreError> {
        KeyValueIterator::new(&self.core, &range, Order::Descending)
    }

    /// Iterates over all keys, in byte order.
    ///
    /// # Errors
    /// As [`KeyValueStore::range`].
    pub fn all(&self) -> Result<KeyValueIterator<K, V>, StoreError> {
        self.range(..)
    }

    /// Iterates over all keys, largest first.
    ///
    /// # Errors
    /// As [`KeyValueStore::range`].
    pub fn reverse_all(&self) -> Result<KeyValueIterator<K, V>, StoreError> {
        self.reverse_range(..)
    }

    /// Iterates over the keys whose bytes begin with those of `prefix`, in byte order (KIP-614).
    ///
    /// # Errors
    /// If the prefix can't be serialised; each item may fail as [`KeyValueStore::get`] does.
    pub fn prefix_scan<P>(
        &self,
        prefix: &P,
        prefix_serde: &impl Serde<P>,
    ) -> Result<KeyValueIterator<K, V>, StoreError> {
        let bytes = self.core.borrow().bytes_of(prefix, prefix_serde)?;
        Ok(KeyValueIterator::starting_with(&self.core, bytes))
    }

    /// Writes values, one after the other.
    ///
    /// # Errors
    /// As [`KeyValueStore::put`]; what came before the failure is written.
    pub fn put_all(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<(), StoreError> {
        entries.into_iter().try_for_each(|(key, value)| self.put(&key, value))
    }

    /// Returns roughly how many committed entries there are.
    #[must_use]
    pub fn approximate_num_entries(&self) -> u64 {
        self.core.borrow().approximate_len()
    }
}

/// A store of values by key that remembers when each was last updated: what the DSL's tables use.
pub struct TimestampedKeyValueStore<K, V> {
    core: Rc<RefCell<StoreCore<K, V>>>,
}

shared_handle!(TimestampedKeyValueStore, K);

impl<K: 'static, V: Clone + 'static> TimestampedKeyValueStore<K, V> {
    /// Returns value and timestamp of a key.
    ///
    /// # Errors
    /// If the key is null or can't be serialised, or the storage can't be read.
    pub fn get(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>, StoreError> {
        let mut core = self.core.borrow_mut();
        let found = core.get(key)?;
        Ok(found.map(|(value, timestamp)| ValueAndTimestamp { value: value.clone(), timestamp }))
    }

    /// Writes a value with its timestamp.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`].
    pub fn put(&self, key: &K, value: ValueAndTimestamp<V>) -> Result<(), StoreError> {
        self.core.borrow_mut().put(key, Some(value.value), value.timestamp)
    }

    /// Deletes a key; returns what it had.
    ///
    /// # Errors
    /// As [`TimestampedKeyValueStore::get`].
    pub fn delete(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>, StoreError> {
        let before = self.get(key)?;
        let mut core = self.core.borrow_mut();
        let now = core.now();
        core.put(key, None, now)?;
        Ok(before)
    }

    /// Iterates over values by key. See [`KeyValueStore::range`].
    ///
    /// # Errors
    /// As [`KeyValueStore::range`].
    pub fn range(&self, range: impl RangeBounds<K>) -> Result<KeyValueIterator<K, V>, StoreError> {
        KeyValueIterator::new(&self.core, &range, Order::Ascending)
    }

    /// Returns roughly how many committed entries there are.
    #[must_use]
    pub fn approximate_num_entries(&self) -> u64 {
        self.core.borrow().approximate_len()
    }
}

impl<V: Clone + 'static> TimestampedKeyValueStore<Vec<u8>, V> {
    /// See [`StoreCore::log_with`].
    pub(crate) fn log_with(&self, headers: &Headers) {
        self.core.borrow_mut().log_with(headers);
    }

    /// Iterates over the entries whose keys begin with these bytes.
    pub(crate) fn starting_with(&self, prefix: Vec<u8>) -> KeyValueIterator<Vec<u8>, V> {
        KeyValueIterator::starting_with(&self.core, prefix)
    }
}

/// Iterates over a range of a store, a page at a time.
#[derive(Debug)]
pub struct KeyValueIterator<K, V> {
    scan: Scan<K, V>,
}

impl<K: 'static, V: Clone + 'static> KeyValueIterator<K, V> {
    fn new(
        core: &Rc<RefCell<StoreCore<K, V>>>,
        range: &impl RangeBounds<K>,
        order: Order,
    ) -> Result<Self, StoreError> {
        let bytes = |bound: Bound<&K>| match bound {
            Bound::Included(key) => core.borrow().key_bytes(key).map(Bound::Included),
            Bound::Excluded(key) => core.borrow().key_bytes(key).map(Bound::Excluded),
            Bound::Unbounded => Ok(Bound::Unbounded),
        };
        let range = (bytes(range.start_bound())?, bytes(range.end_bound())?);
        Ok(Self { scan: Scan::new(core, [range].into(), order) })
    }
}

impl<K: 'static, V: Clone + 'static> KeyValueIterator<K, V> {
    fn starting_with(core: &Rc<RefCell<StoreCore<K, V>>>, prefix: Vec<u8>) -> Self {
        // the first key that is larger than all of them: without the last bytes that can't grow
        let kept = prefix.iter().rposition(|byte| *byte != u8::MAX);
        let to = kept.map_or(Bound::Unbounded, |last| {
            let mut after = prefix[..=last].to_vec();
            after[last] += 1;
            Bound::Excluded(after)
        });
        Self { scan: Scan::new(core, [(Bound::Included(prefix), to)].into(), Order::Ascending) }
    }
}

impl<K: 'static, V: Clone + 'static> Iterator for KeyValueIterator<K, V> {
    type Item = Result<(K, V), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value, _) = match self.scan.next_entry()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let key = self.scan.core.borrow().key_from(&key);
        Some(key.map(|key| (key, value)))
    }
}
