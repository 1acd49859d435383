//! Restoring and running a task on the simulated disk.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use tidemill_core::record::{Offset, TopicPartition};
use tidemill_core::store::{
    Acknowledged, Checkpoint, InputPosition, KeyRange, Order, ReadStored, StoreError, StoreIndex,
    StoredEntry, StoredRow, StoredWrite, TaskStorage,
};

use super::db::{MemoryDb, Writer, is_empty};
use super::files::{Contents, Write};
use crate::storage::StorageError;
use crate::storage::restore::refuse_ahead;
use crate::storage::seam::{Database, Restore};

/// Applies changelog records to the stores of a task that does not run.
#[derive(Debug)]
pub(crate) struct MemoryRestorer {
    writer: Writer,
    checkpoint: Checkpoint,
    bulk: bool,
}

impl MemoryRestorer {
    pub(super) fn new(writer: Writer, checkpoint: Checkpoint) -> Self {
        Self { writer, checkpoint, bulk: false }
    }

    fn write(&mut self, batch: Vec<Write>, after: Checkpoint) -> Result<(), StorageError> {
        after.assert_follows(&self.checkpoint);
        self.writer.write(batch, &after, !self.bulk)?;
        self.checkpoint = after;
        Ok(())
    }
}

impl Restore for MemoryRestorer {
    type Storage = MemoryTaskStorage;

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    fn begin_bulk(&mut self) -> Result<(), StorageError> {
        self.bulk = true;
        Ok(())
    }

    fn apply<'a>(
        &mut self,
        store: StoreIndex,
        records: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>, i64)>,
        next_offset: Offset,
    ) -> Result<(), StorageError> {
        let name = Rc::clone(self.writer.db.name(store));
        let spec = &self.writer.db.stores()[store.0 as usize];
        let stored = Stored { db: &self.writer.db, store };
        let mut batch = Vec::new();
        let replayed = spec.replay(&stored, records, &mut |write| {
            let name = Rc::clone(&name);
            batch.push(match write {
                StoredWrite::Put(key, value) => Write::Put(name, key.into(), value.into()),
                StoredWrite::Delete(key) => Write::Delete(name, key.into()),
                StoredWrite::DeleteRange(from, to) => {
                    Write::DeleteRange(name, from.into(), to.into())
                }
            });
        });
        replayed.map_err(StorageError::replay(self.writer.db.path()))?;
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.changelogs.insert((*name).to_owned(), next_offset);
        self.write(batch, checkpoint)
    }

    fn finish(
        mut self,
        inputs: BTreeMap<TopicPartition, InputPosition>,
        commit_number: u64,
    ) -> Result<MemoryTaskStorage, StorageError> {
        refuse_ahead(self.writer.db.path(), &self.checkpoint, &inputs, commit_number)?;
        let changelogs = self.checkpoint.changelogs.clone();
        let checkpoint = Checkpoint { commit_number, changelogs, inputs };
        if checkpoint != self.checkpoint {
            self.write(Vec::new(), checkpoint)?;
        }
        if self.bulk {
            self.writer.db.flush()?;
        }
        Ok(MemoryTaskStorage::new(self.writer, self.checkpoint))
    }
}

/// What a store holds before a batch.
struct Stored<'a> {
    db: &'a MemoryDb,
    store: StoreIndex,
}

impl Stored<'_> {
    fn read<T>(&self, look: impl FnOnce(&Contents) -> T) -> Result<Option<T>, StoreError> {
        let name = self.db.name(self.store);
        let found = self.db.read(|files| files.state.stores.get(&**name).map(look));
        found.map_err(|cause| {
            let (store, operation) = ((**name).to_owned(), "read");
            StoreError::Storage { store, operation, cause: cause.into() }
        })
    }
}

impl ReadStored for Stored<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read(|entries| entries.get(key).map(|value| value.to_vec()))?.flatten())
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<StoredRow>, StoreError> {
        let range = (Bound::Included(from), Bound::Included(to));
        if is_empty(range) {
            return Ok(None);
        }
        let first = |entries: &Contents| {
            let (key, value) = entries.range::<[u8], _>(range).next()?;
            Some((key.to_vec(), value.to_vec()))
        };
        Ok(self.read(first)?.flatten())
    }
}

/// The committed contents of a running task.
#[derive(Debug)]
pub(crate) struct MemoryTaskStorage {
    writer: Writer,
    staged: Vec<Write>,
    checkpoint: Checkpoint,
}

impl MemoryTaskStorage {
    pub(super) fn new(writer: Writer, checkpoint: Checkpoint) -> Self {
        Self { writer, staged: Vec::new(), checkpoint }
    }

    pub(super) fn db(&self) -> &MemoryDb {
        &self.writer.db
    }
}

impl TaskStorage for MemoryTaskStorage {
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        self.db().get(store, key, visit)
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.db().scan(store, range, order, limit)
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        self.db().approximate_len(store)
    }

    fn stage(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let name = Rc::clone(self.db().name(store));
        self.staged.push(match value {
            Some(value) => Write::Put(name, key.into(), value.into()),
            None => Write::Delete(name, key.into()),
        });
    }

    fn stage_delete_range(&mut self, store: StoreIndex, from: &[u8], to: &[u8]) {
        let name = Rc::clone(self.db().name(store));
        self.staged.push(Write::DeleteRange(name, from.into(), to.into()));
    }

    fn discard(&mut self) {
        self.staged.clear();
    }

    fn publish(&mut self, checkpoint: Checkpoint, _: Acknowledged) -> Result<(), StoreError> {
        checkpoint.assert_follows(&self.checkpoint);
        let batch = std::mem::take(&mut self.staged);
        let written = self.writer.write(batch, &checkpoint, true);
        written.map_err(|cause| {
            let all: Vec<_> = self.db().stores().iter().map(|spec| spec.name.as_str()).collect();
            StoreError::Storage { store: all.join(", "), operation: "write", cause: cause.into() }
        })?;
        self.checkpoint = checkpoint;
        Ok(())
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}
