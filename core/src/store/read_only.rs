//! The handles through which processors read a global store. They have no method that writes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use super::global::{Found, GlobalCore};
use super::{Order, StoreError, ValueAndTimestamp};

/// Entries that a scan fetches at a time.
const PAGE_ENTRIES: usize = 256;

/// A global store, to be read (`ReadOnlyKeyValueStore`). Taken once, in `Processor::init`.
///
/// Reads see what this process has taken from the topic so far: another process, or the same one a
/// moment later, may see more.
pub struct ReadOnlyKeyValueStore<K, V> {
    core: Rc<RefCell<GlobalCore<K, V>>>,
}

impl<K, V> ReadOnlyKeyValueStore<K, V> {
    pub(crate) fn new(core: Rc<RefCell<GlobalCore<K, V>>>) -> Self {
        Self { core }
    }
}

impl<K, V> Clone for ReadOnlyKeyValueStore<K, V> {
    fn clone(&self) -> Self {
        Self { core: Rc::clone(&self.core) }
    }
}

impl<K, V> fmt::Debug for ReadOnlyKeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.borrow().fmt(f)
    }
}

impl<K: 'static, V: Clone + 'static> ReadOnlyKeyValueStore<K, V> {
    /// Returns the value of a key.
    ///
    /// # Errors
    /// If the key is null or can't be serialised, or the storage can't be read.
    pub fn get(&self, key: &K) -> Result<Option<V>, StoreError> {
        Ok(self.core.borrow_mut().get(key)?.map(|(value, _)| value.clone()))
    }

    /// As [`ReadOnlyKeyValueStore::get`], with the timestamp of the last update. A store that keeps
    /// none ([`key_value_store`](crate::topology::key_value_store)) gives -1.
    ///
    /// # Errors
    /// As there.
    pub fn get_with_timestamp(&self, key: &K) -> Result<Option<ValueAndTimestamp<V>>, StoreError> {
        let mut core = self.core.borrow_mut();
        let found = core.get(key)?;
        Ok(found.map(|(value, timestamp)| ValueAndTimestamp { value: value.clone(), timestamp }))
    }

    /// Iterates over a range of keys, in the unsigned byte order of the serialised keys. An empty
    /// or inverted range gives nothing.
    ///
    /// The iterator reads a page at a time: what is stored while it is open may or may not be seen.
    ///
    /// # Errors
    /// If a bound can't be serialised; each item may fail as [`ReadOnlyKeyValueStore::get`] does.
    pub fn range(&self, range: impl RangeBounds<K>) -> Result<ReadOnlyIterator<K, V>, StoreError> {
        ReadOnlyIterator::new(&self.core, &range, Order::Ascending)
    }

    /// As [`ReadOnlyKeyValueStore::range`], largest key first.
    ///
    /// # Errors
    /// As there.
    pub fn reverse_range(
        &self,
        range: impl RangeBounds<K>,
    ) -> Result<ReadOnlyIterator<K, V>, StoreError> {
        ReadOnlyIterator::new(&self.core, &range, Order::Descending)
    }

    /// Iterates over all keys, in byte order.
    ///
    /// # Errors
    /// As [`ReadOnlyKeyValueStore::range`].
    pub fn all(&self) -> Result<ReadOnlyIterator<K, V>, StoreError> {
        self.range(..)
    }

    /// Returns roughly how many entries there are.
    #[must_use]
    pub fn approximate_num_entries(&self) -> u64 {
        self.core.borrow().approximate_len()
    }
}

/// Iterates over a range of a global store, a page at a time.
#[derive(Debug)]
pub struct ReadOnlyIterator<K, V> {
    core: Rc<RefCell<GlobalCore<K, V>>>,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    order: Order,
    page: VecDeque<Found<K, V>>,
    done: bool,
}

impl<K: 'static, V: Clone + 'static> ReadOnlyIterator<K, V> {
    fn new(
        core: &Rc<RefCell<GlobalCore<K, V>>>,
        range: &impl RangeBounds<K>,
        order: Order,
    ) -> Result<Self, StoreError> {
        let bytes = |bound: Bound<&K>| match bound {
            Bound::Included(key) => core.borrow().key_bytes(key).map(Bound::Included),
            Bound::Excluded(key) => core.borrow().key_bytes(key).map(Bound::Excluded),
            Bound::Unbounded => Ok(Bound::Unbounded),
        };
        Ok(Self {
            from: bytes(range.start_bound())?,
            to: bytes(range.end_bound())?,
            core: Rc::clone(core),
            order,
            page: VecDeque::new(),
            done: false,
        })
    }

    fn fetch(&mut self) -> Result<(), StoreError> {
        let range = (self.from.as_ref().map(Vec::as_slice), self.to.as_ref().map(Vec::as_slice));
        let page = self.core.borrow().page(range, self.order, PAGE_ENTRIES)?;
        self.done = page.len() < PAGE_ENTRIES;
        if let Some((last, ..)) = page.last() {
            let beyond = Bound::Excluded(last.to_vec());
            match self.order {
                Order::Ascending => self.from = beyond,
                Order::Descending => self.to = beyond,
            }
        }
        self.page = page.into();
        Ok(())
    }
}

impl<K: 'static, V: Clone + 'static> Iterator for ReadOnlyIterator<K, V> {
    type Item = Result<(K, V), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && !self.done
            && let Err(error) = self.fetch()
        {
            self.done = true;
            return Some(Err(error));
        }
        self.page.pop_front().map(|(_, key, value)| Ok((key, value)))
    }
}
