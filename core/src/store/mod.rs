//! What a task remembers between records.
//!
//! ```text
//!   processor  --get/put-->  KeyValueStore<K, V>      typed handle, one per store
//!                                  |
//!                               Overlay<V>            writes since the last commit + a read cache
//!                                  | miss             (typed values, keyed by the key's bytes)
//!                                  v
//!                             dyn TaskStorage         committed bytes: RocksDB, or memory in tests
//! ```
//!
//! The entries of window and session stores expire: see `segments.rs` for how they lie.
//!
//! The rules:
//! * Nothing enters [`TaskStorage`] before Kafka acknowledged the commit (INV-2). At a commit each
//!   dirty entry is serialised once; the bytes go to the changelog and are *staged* in the storage.
//!   After the acknowledgement, which [`Acknowledged`] proves, one atomic batch takes the staged
//!   bytes and the new [`Checkpoint`] (INV-3).
//! * An abort drops the overlay and the staged bytes; the storage is still what was last committed.
//! * Only the task's own thread touches its stores.

mod buffer;
mod checkpoint;
mod core_store;
mod erased;
mod error;
mod expiry;
mod flush;
mod global;
mod key_value;
mod memory;
mod overlay;
mod page;
mod read_only;
mod replay;
mod scan;
mod segments;
mod session_store;
mod spec;
mod stored;
#[cfg(test)]
mod tests;
mod versioned;
mod window_closed;
mod window_key;
mod window_own;
mod window_scan;
mod window_store;

use std::fmt;
use std::ops::Bound;

pub(crate) use buffer::{BufferParts, ChangeBuffer, Evicted, SharedBuffer, Source, Waiting};
pub use checkpoint::{Acknowledged, Checkpoint, InputPosition};
pub(crate) use core_store::{SharedStorage, StoreCore, StoreParts, Update};
pub(crate) use erased::{ChangelogWriter, ErasedStore, Logged, SharedStore};
pub use error::StoreError;
pub use global::GlobalStorage;
pub(crate) use global::{ErasedReader, GlobalCore, ReaderEnv, SharedReader};
pub use key_value::{KeyValueIterator, KeyValueStore, TimestampedKeyValueStore, ValueAndTimestamp};
pub use memory::MemoryStorage;
pub use read_only::{ReadOnlyIterator, ReadOnlyKeyValueStore};
pub use replay::{ReadStored, Replayed, StoredRow, StoredWrite};
pub use segments::Segments;
pub use session_store::SessionStore;
pub use spec::{StoreIndex, StoreKind, StoreSpec, WindowSpec};
pub use versioned::{PutOutcome, VersionedKeyValueStore, VersionedRecord};
pub(crate) use versioned::{SharedVersioned, VersionedCore, VersionedParts};
pub(crate) use window_key::{session_key_serde, window_key_serde};
pub(crate) use window_own::{last_own_window, own_sessions, own_windows};
pub(crate) use window_scan::WindowedCore;
pub use window_scan::{WindowStoreIterator, WindowedIterator};
pub use window_store::{TimestampedWindowStore, WindowStore};

/// A range of keys in unsigned byte order.
pub type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Which end of a range comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// A committed entry as bytes: key and stored value.
pub type StoredEntry = (Box<[u8]>, Box<[u8]>);

/// The committed contents of all stores of one task, and how far they go.
///
/// Two implementations ship: RocksDB in the runtime, [`MemoryStorage`] for the test driver.
/// The stored value of a timestamped store is the timestamp (8 bytes, big-endian) followed by the
/// value; of the others it is the value alone.
pub trait TaskStorage: fmt::Debug {
    /// Calls `visit` with the stored value if the key has one; returns whether it has.
    ///
    /// # Errors
    /// If the storage can't be read; the task must then be rebuilt from the changelog.
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError>;

    /// Returns up to `limit` committed entries of the range, in the order asked for.
    ///
    /// # Errors
    /// As [`TaskStorage::get`].
    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError>;

    /// Returns roughly how many committed entries the store has.
    fn approximate_len(&self, store: StoreIndex) -> u64;

    /// Keeps a write aside for the next [`TaskStorage::publish`]; `None` deletes the key. Reads do
    /// not see it.
    fn stage(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>);

    /// Keeps aside, for the next [`TaskStorage::publish`], that all keys from `from` on, up to and
    /// without `to`, are deleted: what is committed there and what was staged there before. The
    /// entries are not read, and their space is given back.
    fn stage_delete_range(&mut self, store: StoreIndex, from: &[u8], to: &[u8]);

    /// Forgets what was staged.
    fn discard(&mut self);

    /// Writes what was staged together with `checkpoint` in one atomic batch (INV-3).
    ///
    /// # Errors
    /// If the batch could not be written. The commit stands all the same: the task must be closed
    /// and restored from its changelog.
    ///
    /// # Panics
    /// If `checkpoint` does not follow the one before it (INV-2).
    fn publish(&mut self, checkpoint: Checkpoint, proof: Acknowledged) -> Result<(), StoreError>;

    /// Returns the position that the contents correspond to.
    fn checkpoint(&self) -> &Checkpoint;
}
