//! What the workers see of the global stores.

use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tidemill_core::store::{GlobalStorage, KeyRange, Order, StoreError, StoreIndex, StoredEntry};

use crate::storage::seam::Database;
use crate::world::{DbOf, World};

/// The global stores of a process: nothing until they are filled, then their database.
pub(crate) struct Globals<W: World> {
    db: OnceLock<DbOf<W>>,
    version: AtomicU64,
}

impl<W: World> Globals<W> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { db: OnceLock::new(), version: AtomicU64::new(0) })
    }

    /// Lets everybody read: all that was in the topics at the start is stored.
    pub(super) fn open(&self, db: DbOf<W>) {
        let opened = self.db.set(db).is_ok();
        assert!(opened, "INV-10: the global stores of a process are filled by one thread");
    }

    /// Returns whether they may be read.
    pub(crate) fn are_filled(&self) -> bool {
        self.db.get().is_some()
    }

    /// Notes that something was stored.
    pub(super) fn note_write(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Returns what a task reads; `None` before they are filled.
    pub(crate) fn reader(self: &Arc<Self>) -> Option<Rc<dyn GlobalStorage>> {
        let db = self.db.get()?.clone();
        Some(Rc::new(Reader { globals: Arc::clone(self), db }))
    }
}

struct Reader<W: World> {
    globals: Arc<Globals<W>>,
    db: DbOf<W>,
}

impl<W: World> fmt::Debug for Reader<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl<W: World> GlobalStorage for Reader<W> {
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        self.db.get(store, key, visit)
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.db.scan(store, range, order, limit)
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        self.db.approximate_len(store)
    }

    fn version(&self) -> u64 {
        self.globals.version.load(Ordering::Acquire)
    }
}
