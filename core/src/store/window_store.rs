//! The handles through which processors read and write stores of windows.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use super::key_value::shared_handle;
use super::window_scan::{Query, WindowedCore};
use super::{
    Order, StoreCore, StoreError, StoreKind, ValueAndTimestamp, WindowStoreIterator,
    WindowedIterator,
};
use crate::record::{Headers, Timestamp};
use crate::window::{Window, Windowed};

const ALL_TIMES: RangeInclusive<Timestamp> = Timestamp(0)..=Timestamp(i64::MAX);

macro_rules! window_handle {
    ($name:ident, $value:ty, $show:expr) => {
        shared_handle!($name, Windowed<K>);

        impl<K: Clone + 'static, V: Clone + 'static> $name<K, V> {
            /// Returns the value of a key in the window that starts at `window_start`. A store that
            /// keeps duplicates gives the oldest.
            ///
            /// # Errors
            /// If the key is null or can't be serialised, or the storage can't be read.
            pub fn fetch(
                &self,
                key: &K,
                window_start: Timestamp,
            ) -> Result<Option<$value>, StoreError> {
                if retains_duplicates(&self.core) {
                    let mut found = self.fetch_range(key, window_start..=window_start)?;
                    return Ok(found.next().transpose()?.map(|(_, value)| value));
                }
                let mut core = self.core.borrow_mut();
                let found = core.get(&at(key, window_start))?;
                Ok(found.map(|(value, timestamp)| $show(value.clone(), timestamp)))
            }

            /// Iterates over the windows of a key that start within `times`, oldest first. Bounds
            /// are included, an inverted range gives nothing; windows older than the retention are
            /// not there any more.
            ///
            /// # Errors
            /// As `fetch`; each item may fail so, too.
            pub fn fetch_range(
                &self,
                key: &K,
                times: RangeInclusive<Timestamp>,
            ) -> Result<WindowStoreIterator<K, V, $value>, StoreError> {
                let query = one_key(key, times, Order::Ascending);
                WindowStoreIterator::new(&self.core, &query, $show)
            }

            /// As `fetch_range`, newest first.
            ///
            /// # Errors
            /// As `fetch_range`.
            pub fn backward_fetch_range(
                &self,
                key: &K,
                times: RangeInclusive<Timestamp>,
            ) -> Result<WindowStoreIterator<K, V, $value>, StoreError> {
                let query = one_key(key, times, Order::Descending);
                WindowStoreIterator::new(&self.core, &query, $show)
            }

            /// Iterates over the windows of a range of keys, by the unsigned order of their bytes,
            /// that start within `times`. Bounds are included, no bound is open. The order is that
            /// of the segments, and within a segment that of the bytes of key and start, as in
            /// Kafka Streams.
            ///
            /// # Errors
            /// As `fetch`; each item may fail so, too.
            pub fn fetch_keys(
                &self,
                keys: (Option<&K>, Option<&K>),
                times: RangeInclusive<Timestamp>,
            ) -> Result<WindowedIterator<K, V, $value>, StoreError> {
                let query = Query { keys, times, order: Order::Ascending };
                WindowedIterator::new(&self.core, &query, $show)
            }

            /// As `fetch_keys`, in the opposite order.
            ///
            /// # Errors
            /// As `fetch_keys`.
            pub fn backward_fetch_keys(
                &self,
                keys: (Option<&K>, Option<&K>),
                times: RangeInclusive<Timestamp>,
            ) -> Result<WindowedIterator<K, V, $value>, StoreError> {
                let query = Query { keys, times, order: Order::Descending };
                WindowedIterator::new(&self.core, &query, $show)
            }

            /// Iterates over the windows of all keys that start within `times`, in the order of
            /// `fetch_keys`.
            ///
            /// # Errors
            /// As `fetch_keys`.
            pub fn fetch_all(
                &self,
                times: RangeInclusive<Timestamp>,
            ) -> Result<WindowedIterator<K, V, $value>, StoreError> {
                self.fetch_keys((None, None), times)
            }

            /// As `fetch_all`, in the opposite order.
            ///
            /// # Errors
            /// As `fetch_keys`.
            pub fn backward_fetch_all(
                &self,
                times: RangeInclusive<Timestamp>,
            ) -> Result<WindowedIterator<K, V, $value>, StoreError> {
                self.backward_fetch_keys((None, None), times)
            }

            /// Iterates over everything that has not expired, in the order of `fetch_keys`.
            ///
            /// # Errors
            /// As `fetch_keys`.
            pub fn all(&self) -> Result<WindowedIterator<K, V, $value>, StoreError> {
                self.fetch_all(ALL_TIMES)
            }

            /// As `all`, in the opposite order.
            ///
            /// # Errors
            /// As `fetch_keys`.
            pub fn backward_all(&self) -> Result<WindowedIterator<K, V, $value>, StoreError> {
                self.backward_fetch_all(ALL_TIMES)
            }
        }
    };
}

/// A store of values by key and start of a window (`WindowStore`). Entries expire: what is not
/// later than the newest window less the retention is not read any more, and a write to a segment
/// that has expired is dropped and counted.
///
/// Reads see the task's own uncommitted writes (INV-12).
pub struct WindowStore<K, V> {
    core: WindowedCore<K, V>,
}

window_handle!(WindowStore, V, |value, _| value);

impl<K: Clone + 'static, V: Clone + 'static> WindowStore<K, V> {
    /// Writes a value; one that its serde takes for null deletes the window. A store that keeps
    /// duplicates adds it, and ignores null.
    ///
    /// # Errors
    /// If the key is null or can't be serialised, or the storage can't be read.
    pub fn put(&self, key: &K, value: V, window_start: Timestamp) -> Result<(), StoreError> {
        let now = self.core.borrow().now();
        put(&self.core, key, Some(value), window_start, now)
    }

    /// As [`WindowStore::put`], logged with these headers and the start of the window, null too.
    pub(crate) fn put_logged(
        &self,
        key: &K,
        value: V,
        window_start: Timestamp,
        headers: &Headers,
    ) -> Result<(), StoreError> {
        self.core.borrow_mut().log_with(headers);
        if self.core.borrow().is_null(&value) {
            return self.log_null(key, window_start);
        }
        put(&self.core, key, Some(value), window_start, window_start)
    }

    /// Logs null for a window of a store that keeps duplicates. It is no entry.
    pub(super) fn log_null(&self, key: &K, window_start: Timestamp) -> Result<(), StoreError> {
        let mut core = self.core.borrow_mut();
        let stored_key = numbered(&mut core, &at(key, window_start))?;
        core.log_null(&stored_key, window_start);
        Ok(())
    }

    /// Deletes a window. A store that keeps duplicates ignores that.
    ///
    /// # Errors
    /// As [`WindowStore::put`].
    pub fn delete(&self, key: &K, window_start: Timestamp) -> Result<(), StoreError> {
        let now = self.core.borrow().now();
        put(&self.core, key, None, window_start, now)
    }
}

/// A [`WindowStore`] that remembers when each window was last updated: what the DSL's windowed
/// tables use (`TimestampedWindowStore`).
pub struct TimestampedWindowStore<K, V> {
    core: WindowedCore<K, V>,
}

window_handle!(TimestampedWindowStore, ValueAndTimestamp<V>, |value, timestamp| {
    ValueAndTimestamp { value, timestamp }
});

impl<K: Clone + 'static, V: Clone + 'static> TimestampedWindowStore<K, V> {
    /// Writes a value with its timestamp; one that its serde takes for null deletes the window. A
    /// store that keeps duplicates adds it, and ignores null.
    ///
    /// # Errors
    /// If the key is null or can't be serialised, or the storage can't be read.
    pub fn put(
        &self,
        key: &K,
        value: ValueAndTimestamp<V>,
        window_start: Timestamp,
    ) -> Result<(), StoreError> {
        put(&self.core, key, Some(value.value), window_start, value.timestamp)
    }

    /// Deletes a window. A store that keeps duplicates ignores that.
    ///
    /// # Errors
    /// As [`TimestampedWindowStore::put`].
    pub fn delete(&self, key: &K, window_start: Timestamp) -> Result<(), StoreError> {
        let now = self.core.borrow().now();
        put(&self.core, key, None, window_start, now)
    }
}

fn one_key<K>(key: &K, times: RangeInclusive<Timestamp>, order: Order) -> Query<'_, K> {
    Query { keys: (Some(key), Some(key)), times, order }
}

fn retains_duplicates<K, V>(core: &WindowedCore<K, V>) -> bool {
    match core.borrow().spec.kind {
        StoreKind::Window(spec) | StoreKind::TimestampedWindow(spec) => spec.retain_duplicates,
        _ => false,
    }
}

/// The key of a window in its store, where the start alone tells windows apart.
fn at<K: Clone>(key: &K, window_start: Timestamp) -> Windowed<K> {
    Windowed::new(key.clone(), Window::of_size(window_start, 0))
}

fn put<K: Clone + 'static, V: Clone + 'static>(
    core: &WindowedCore<K, V>,
    key: &K,
    value: Option<V>,
    window_start: Timestamp,
    timestamp: Timestamp,
) -> Result<(), StoreError> {
    let key = at(key, window_start);
    if !retains_duplicates(core) {
        return core.borrow_mut().put(&key, value, timestamp);
    }
    let mut core = core.borrow_mut();
    let Some(value) = value.filter(|value| !core.is_null(value)) else { return Ok(()) };
    let stored_key = numbered(&mut core, &key)?;
    core.put_new(&stored_key, value, timestamp)
}

/// Returns the next stored key of a window in a store that keeps duplicates.
fn numbered<K: Clone + 'static, V: Clone + 'static>(
    core: &mut StoreCore<Windowed<K>, V>,
    key: &Windowed<K>,
) -> Result<Vec<u8>, StoreError> {
    let mut stored_key = core.key_bytes(key)?;
    let sequence = core.next_sequence()?;
    if let Some(last) = stored_key.last_chunk_mut() {
        *last = sequence.to_be_bytes();
    }
    Ok(stored_key)
}
