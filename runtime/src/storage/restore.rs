//! Bringing a task's stores up to what is committed, from their changelogs.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::path::Path;

use rocksdb::WriteBatch;
use tidemill_core::record::{Offset, TopicPartition};
use tidemill_core::store::{
    Checkpoint, InputPosition, Order, ReadStored, StoreError, StoreIndex, StoredRow, StoredWrite,
};

use super::rocks_storage::scan;
use super::task_db::Writer;
use super::{RocksStorage, StorageError, TaskDb};

/// Applies changelog records to the stores of one task, from a thread of its own, while the task
/// does not run.
///
/// # If stopped here
/// The database is at the position of an earlier batch, and restoring goes on from there.
pub struct Restorer {
    writer: Writer,
    checkpoint: Checkpoint,
    failed: bool,
}

impl fmt::Debug for Restorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restorer")
            .field("db", &self.writer.db)
            .field("checkpoint", &self.checkpoint)
            .finish_non_exhaustive()
    }
}

impl Restorer {
    pub(super) fn new(writer: Writer) -> Result<Self, StorageError> {
        let checkpoint = writer.db.read_checkpoint()?;
        Ok(Self { writer, checkpoint, failed: false })
    }

    #[cfg(feature = "simulation")]
    pub(super) fn db(&self) -> &super::TaskDb {
        &self.writer.db
    }

    /// Returns how far the stores are. A store without a position starts at the beginning of its
    /// changelog.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Prepares for a large gap: until the end compaction is put off, and the write-ahead log is
    /// skipped. If the process dies, what was not flushed by then is restored again.
    ///
    /// # Errors
    /// If RocksDB does not take the options.
    pub fn begin_bulk(&mut self) -> Result<(), StorageError> {
        self.writer.begin_bulk()
    }

    /// Applies records of a store's changelog, in offset order, as (key, value, timestamp in
    /// milliseconds); no value deletes the key. `next_offset` is the position after them, which may
    /// lie further on than the last record (control records). All of it is one atomic batch
    /// (INV-3), held in memory: a few MiB at a time are enough.
    ///
    /// Of a store whose entries expire, what has expired by the last record is gone after it.
    ///
    /// # Errors
    /// If it can't be written; after that nothing more can be applied. If a key can't be one of the
    /// store.
    ///
    /// # Panics
    /// If `next_offset` is behind the store's position (INV-2).
    pub fn apply<'a>(
        &mut self,
        store: StoreIndex,
        records: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>, i64)>,
        next_offset: Offset,
    ) -> Result<(), StorageError> {
        let db = &self.writer.db;
        let (spec, family) = (db.spec(store), db.family(store));
        let stored = Stored { db, store };
        let mut batch = WriteBatch::default();
        let mut ranges = Vec::new();
        let replayed = spec.replay(&stored, records, &mut |write| match write {
            StoredWrite::Put(key, value) => batch.put_cf(family, key, value),
            StoredWrite::Delete(key) => batch.delete_cf(family, key),
            StoredWrite::DeleteRange(from, to) => {
                batch.delete_range_cf(family, from, to);
                ranges.push((from.to_vec(), to.to_vec()));
            }
        });
        replayed.map_err(StorageError::replay(db.path()))?;
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.changelogs.insert(spec.name.clone(), next_offset);
        self.write(batch, checkpoint)?;
        for (from, to) in ranges {
            self.writer.db.give_back(store, &from, &to);
        }
        Ok(())
    }

    /// Ends restoring and hands over to the running task: inputs and commit number become what the
    /// group committed when the restore target was taken. After a bulk load everything is flushed
    /// and compacted as usual again.
    ///
    /// # Errors
    /// [`StorageError::AheadOfCommitted`] if the database has seen more than is committed, which
    /// happens when topics or offsets were reset; else if it can't be written.
    pub fn finish(
        mut self,
        inputs: BTreeMap<TopicPartition, InputPosition>,
        commit_number: u64,
    ) -> Result<RocksStorage, StorageError> {
        refuse_ahead(self.writer.db.path(), &self.checkpoint, &inputs, commit_number)?;
        let changelogs = self.checkpoint.changelogs.clone();
        let checkpoint = Checkpoint { commit_number, changelogs, inputs };
        if checkpoint != self.checkpoint {
            self.write(WriteBatch::default(), checkpoint)?;
        }
        if self.writer.is_unlogged() {
            self.writer.db.flush()?;
        }
        self.writer.end_bulk()?;
        let Self { writer, checkpoint, .. } = self;
        Ok(RocksStorage::with_writer(writer, checkpoint))
    }

    fn write(&mut self, batch: WriteBatch, after: Checkpoint) -> Result<(), StorageError> {
        after.assert_follows(&self.checkpoint);
        if self.failed {
            return Err(StorageError::Failed { path: self.writer.db.path().to_owned() });
        }
        let written = if self.writer.is_bulk() {
            self.writer.write_unlogged(batch, &after)
        } else {
            self.writer.write_logged(batch, &after)
        };
        self.failed = written.is_err();
        written?;
        self.checkpoint = after;
        Ok(())
    }
}

/// What a store of the database holds before a batch.
struct Stored<'a> {
    db: &'a TaskDb,
    store: StoreIndex,
}

impl Stored<'_> {
    fn failed(&self, cause: rocksdb::Error) -> StoreError {
        let cause = StorageError::rocks("read", self.db.path())(cause).into();
        let store = self.db.spec(self.store).name.clone();
        StoreError::Storage { store, operation: "read", cause }
    }
}

impl ReadStored for Stored<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.db.db().get_cf(self.db.family(self.store), key);
        found.map_err(|cause| self.failed(cause))
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<StoredRow>, StoreError> {
        let range = (Bound::Included(from), Bound::Included(to));
        let found = scan(self.db, self.store, range, Order::Ascending, 1);
        let found = found.map_err(|cause| self.failed(cause))?;
        Ok(found.into_iter().next().map(|(key, value)| (key.into_vec(), value.into_vec())))
    }
}

/// Refuses to go on with contents that have seen more than is committed (INV-2).
pub(super) fn refuse_ahead(
    path: &Path,
    stored: &Checkpoint,
    inputs: &BTreeMap<TopicPartition, InputPosition>,
    commit_number: u64,
) -> Result<(), StorageError> {
    let what = if stored.commit_number > commit_number {
        Some(format!("commit {} is stored, {commit_number} committed", stored.commit_number))
    } else {
        let ahead = inputs.iter().find_map(|(source, committed)| {
            let stored = stored.inputs.get(source)?;
            (stored.offset > committed.offset).then_some((source, stored, committed))
        });
        ahead.map(|(source, stored, committed)| {
            let (stored, committed) = (stored.offset, committed.offset);
            format!("position {stored} of {source} is stored, {committed} committed")
        })
    };
    what.map_or(Ok(()), |what| Err(StorageError::AheadOfCommitted { path: path.to_owned(), what }))
}
