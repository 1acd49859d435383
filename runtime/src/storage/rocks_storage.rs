//! The committed contents of a running task, in RocksDB.

use std::fmt;
use std::ops::Bound;

use rocksdb::{ReadOptions, WriteBatch};
use tidemill_core::store::{
    Acknowledged, Checkpoint, KeyRange, Order, StoreError, StoreIndex, StoredEntry, TaskStorage,
};

use super::staged::{DeletedRange, Staged};
use super::task_db::Writer;
use super::{StorageError, TaskDb};

/// Entries for which a scan makes room before it knows how many there are.
const SCAN_RESERVE_MAX: usize = 256;

/// Reads committed contents and writes one atomic batch a commit. Reads do not see what is staged
/// for it.
pub struct RocksStorage {
    writer: Writer,
    staged: Staged,
    checkpoint: Checkpoint,
    /// A write failed: what is on disk is not known until the database is opened again.
    failed: bool,
}

impl fmt::Debug for RocksStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksStorage")
            .field("db", &self.writer.db)
            .field("checkpoint", &self.checkpoint)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl RocksStorage {
    /// Makes the caller the one writer of the database. Use [`TaskDb::restorer`] unless it is known
    /// that nothing is missing.
    ///
    /// # Errors
    /// If the checkpoint can't be read.
    ///
    /// # Panics
    /// If there is a writer already (INV-10).
    pub fn new(db: &TaskDb) -> Result<Self, StorageError> {
        let checkpoint = db.read_checkpoint()?;
        Ok(Self::with_writer(db.claim(), checkpoint))
    }

    pub(super) fn with_writer(writer: Writer, checkpoint: Checkpoint) -> Self {
        Self { writer, staged: Staged::default(), checkpoint, failed: false }
    }

    /// Returns the database, e.g. to flush it at a clean stop or to answer queries.
    #[must_use]
    pub fn db(&self) -> &TaskDb {
        &self.writer.db
    }
}

impl TaskDb {
    pub(super) fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        let found = self.db().get_pinned_cf(self.family(store), key);
        let found = found.map_err(self.unreadable(store))?;
        if let Some(value) = &found {
            visit(value);
        }
        Ok(found.is_some())
    }

    pub(super) fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        scan(self, store, range, order, limit).map_err(self.unreadable(store))
    }

    pub(super) fn approximate_len(&self, store: StoreIndex) -> u64 {
        let property = rocksdb::properties::ESTIMATE_NUM_KEYS;
        let estimate = self.db().property_int_value_cf(self.family(store), property);
        // an estimate that can't be had is no reason to stop
        estimate.ok().flatten().unwrap_or(0)
    }

    fn unreadable(&self, store: StoreIndex) -> impl FnOnce(rocksdb::Error) -> StoreError {
        let operation = "read";
        move |cause| StoreError::Storage {
            store: self.spec(store).name.clone(),
            operation,
            cause: StorageError::rocks(operation, self.path())(cause).into(),
        }
    }
}

impl TaskStorage for RocksStorage {
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        self.writer.db.get(store, key, visit)
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.writer.db.scan(store, range, order, limit)
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        self.writer.db.approximate_len(store)
    }

    fn stage(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        self.staged.add(store, key, value);
    }

    fn stage_delete_range(&mut self, store: StoreIndex, from: &[u8], to: &[u8]) {
        self.staged.add_range(store, from, to);
    }

    fn discard(&mut self) {
        self.staged.clear();
    }

    fn publish(&mut self, checkpoint: Checkpoint, _: Acknowledged) -> Result<(), StoreError> {
        checkpoint.assert_follows(&self.checkpoint);
        let mut batch = WriteBatch::default();
        let ranges = self.staged.drain_to(&mut batch, &self.writer.db);
        let written = if self.failed {
            Err(StorageError::Failed { path: self.writer.db.path().to_owned() })
        } else {
            self.writer.write_logged(batch, &checkpoint)
        };
        written.map_err(|cause| {
            self.failed = true;
            let all: Vec<_> = self.writer.db.stores().iter().map(|s| s.name.as_str()).collect();
            StoreError::Storage { store: all.join(", "), operation: "write", cause: cause.into() }
        })?;
        self.checkpoint = checkpoint;
        for DeletedRange { store, from, to } in ranges {
            self.writer.db.give_back(store, &from, &to);
        }
        Ok(())
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// Reads up to `limit` committed entries of a range, in the order asked for.
pub(super) fn scan(
    db: &TaskDb,
    store: StoreIndex,
    (from, to): KeyRange<'_>,
    order: Order,
    limit: usize,
) -> Result<Vec<StoredEntry>, rocksdb::Error> {
    // RocksDB's bounds are from (inclusive) to (exclusive); the next key after k is k and a zero
    let after = |key: &[u8]| [key, &[0]].concat();
    let from = match from {
        Bound::Included(key) => Some(key.to_vec()),
        Bound::Excluded(key) => Some(after(key)),
        Bound::Unbounded => None,
    };
    let to = match to {
        Bound::Included(key) => Some(after(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
        Bound::Unbounded => None,
    };
    let empty = to.as_ref().is_some_and(|to| to.is_empty() || from.as_ref() >= Some(to));
    if empty || limit == 0 {
        return Ok(Vec::new());
    }
    let mut options = ReadOptions::default();
    if let Some(from) = from {
        options.set_iterate_lower_bound(from);
    }
    if let Some(to) = to {
        options.set_iterate_upper_bound(to);
    }
    let mut cursor = db.db().raw_iterator_cf_opt(db.family(store), options);
    match order {
        Order::Ascending => cursor.seek_to_first(),
        Order::Descending => cursor.seek_to_last(),
    }
    let mut entries = Vec::with_capacity(limit.min(SCAN_RESERVE_MAX));
    while let Some((key, value)) = cursor.item() {
        entries.push((key.into(), value.into()));
        if entries.len() == limit {
            break;
        }
        match order {
            Order::Ascending => cursor.next(),
            Order::Descending => cursor.prev(),
        }
    }
    // the end of the range, or an error?
    cursor.status()?;
    Ok(entries)
}
