//! The handle through which processors read and write a store of sessions.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::key_value::shared_handle;
use super::window_scan::{Query, WindowedCore};
use super::{Order, StoreCore, StoreError, WindowedIterator};
use crate::record::Timestamp;
use crate::window::{Window, Windowed};

const FIRST: Timestamp = Timestamp(0);
const LAST: Timestamp = Timestamp(i64::MAX);

/// A store of values by key and session (`SessionStore`). Sessions expire by their end: what does
/// not end later than the newest session less the retention is not read any more, and a write to a
/// segment that has expired is dropped and counted.
///
/// Reads see the task's own uncommitted writes (INV-12).
pub struct SessionStore<K, V> {
    core: WindowedCore<K, V>,
}

shared_handle!(SessionStore, Windowed<K>);

impl<K: Clone + 'static, V: Clone + 'static> SessionStore<K, V> {
    /// Writes the value of a session; one that its serde takes for null removes the session.
    ///
    /// # Errors
    /// If the key is null or can't be serialised, or the storage can't be read.
    pub fn put(&self, session: &Windowed<K>, value: V) -> Result<(), StoreError> {
        let mut core = self.core.borrow_mut();
        let now = core.now();
        core.put(session, Some(value), now)
    }

    /// Removes a session.
    ///
    /// # Errors
    /// As [`SessionStore::put`].
    pub fn remove(&self, session: &Windowed<K>) -> Result<(), StoreError> {
        let mut core = self.core.borrow_mut();
        let now = core.now();
        core.put(session, None, now)
    }

    /// Returns the value of the session with exactly these bounds.
    ///
    /// # Errors
    /// As [`SessionStore::put`].
    pub fn fetch_session(
        &self,
        key: &K,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Option<V>, StoreError> {
        let session = Windowed::new(key.clone(), Window::new(start, end));
        Ok(self.core.borrow_mut().get(&session)?.map(|(value, _)| value.clone()))
    }

    /// Iterates over the sessions of a key, by end and then start.
    ///
    /// # Errors
    /// As [`SessionStore::put`]; each item may fail so, too.
    pub fn fetch(&self, key: &K) -> Result<WindowedIterator<K, V>, StoreError> {
        self.find_sessions(key, FIRST, LAST)
    }

    /// As [`SessionStore::fetch`], in the opposite order.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn backward_fetch(&self, key: &K) -> Result<WindowedIterator<K, V>, StoreError> {
        self.backward_find_sessions(key, FIRST, LAST)
    }

    /// Iterates over the sessions of a range of keys, by the unsigned order of their bytes; bounds
    /// are included, no bound is open. The order is that of the segments, and within a segment that
    /// of the bytes of key, end and start, as in Kafka Streams.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn fetch_keys(
        &self,
        keys: (Option<&K>, Option<&K>),
    ) -> Result<WindowedIterator<K, V>, StoreError> {
        self.find(keys, FIRST..=LAST, Order::Ascending)
    }

    /// As [`SessionStore::fetch_keys`], in the opposite order.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn backward_fetch_keys(
        &self,
        keys: (Option<&K>, Option<&K>),
    ) -> Result<WindowedIterator<K, V>, StoreError> {
        self.find(keys, FIRST..=LAST, Order::Descending)
    }

    /// Iterates over the sessions of a key that end at `earliest_end` or later and start at
    /// `latest_start` or earlier: all that a record between both would join. By end, then start.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn find_sessions(
        &self,
        key: &K,
        earliest_end: Timestamp,
        latest_start: Timestamp,
    ) -> Result<WindowedIterator<K, V>, StoreError> {
        self.find((Some(key), Some(key)), earliest_end..=latest_start, Order::Ascending)
    }

    /// As [`SessionStore::find_sessions`], in the opposite order.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn backward_find_sessions(
        &self,
        key: &K,
        earliest_end: Timestamp,
        latest_start: Timestamp,
    ) -> Result<WindowedIterator<K, V>, StoreError> {
        self.find((Some(key), Some(key)), earliest_end..=latest_start, Order::Descending)
    }

    /// As [`SessionStore::find_sessions`], of a range of keys in the order of
    /// [`SessionStore::fetch_keys`].
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn find_sessions_of_keys(
        &self,
        keys: (Option<&K>, Option<&K>),
        earliest_end: Timestamp,
        latest_start: Timestamp,
    ) -> Result<WindowedIterator<K, V>, StoreError> {
        self.find(keys, earliest_end..=latest_start, Order::Ascending)
    }

    /// As [`SessionStore::find_sessions_of_keys`], in the opposite order.
    ///
    /// # Errors
    /// As [`SessionStore::fetch`].
    pub fn backward_find_sessions_of_keys(
        &self,
        keys: (Option<&K>, Option<&K>),
        earliest_end: Timestamp,
        latest_start: Timestamp,
    ) -> Result<WindowedIterator<K, V>, StoreError> {
        self.find(keys, earliest_end..=latest_start, Order::Descending)
    }

    fn find(
        &self,
        keys: (Option<&K>, Option<&K>),
        times: RangeInclusive<Timestamp>,
        order: Order,
    ) -> Result<WindowedIterator<K, V>, StoreError> {
        WindowedIterator::new(&self.core, &Query { keys, times, order }, |value, _| value)
    }
}
