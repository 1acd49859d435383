//! The database of a task on the simulated disk.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::rc::Rc;

use tidemill_core::record::TaskId;
use tidemill_core::store::{
    Checkpoint, KeyRange, Order, StoreError, StoreIndex, StoreSpec, StoredEntry,
};

use super::directory::MemoryLock;
use super::files::{TaskFiles, Write};
use super::storage::{MemoryRestorer, MemoryTaskStorage};
use super::{DiskCall, DiskFault};
use crate::storage::StorageError;
use crate::storage::manifest::TaskManifest;
use crate::storage::seam::{Database, OpenOutcome, OwnTask};

/// An open database. It is closed when the last clone is gone.
#[derive(Debug, Clone)]
pub(crate) struct MemoryDb {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Rc<RefCell<TaskFiles>>,
    path: std::path::PathBuf,
    stores: Vec<StoreSpec>,
    /// For each of `stores`: its name.
    names: Vec<Rc<str>>,
    /// Somebody may write.
    claimed: Cell<bool>,
    lock: MemoryLock,
}

impl MemoryDb {
    pub(super) fn open(
        lock: MemoryLock,
        stores: &[StoreSpec],
    ) -> Result<OpenOutcome<Self, MemoryLock>, StorageError> {
        let fault = lock.fault(DiskCall::OpenTask);
        let path = lock.path();
        if fault.is_some_and(|fault| fault != DiskFault::Damaged) {
            return Err(refused("open", &path));
        }
        let files = lock.files();
        let mut open = files.borrow_mut();
        let known = open.manifest.is_some();
        open.damaged |= known && fault == Some(DiskFault::Damaged);
        if open.damaged {
            drop(open);
            let reason = "a simulated fault of the disk".to_owned();
            return Ok(OpenOutcome::Damaged { reason, lock });
        }
        let wanted = TaskManifest::new(lock.application_id(), lock.task_id(), stores);
        if let Some(found) = &open.manifest {
            found.admits(&wanted, &path)?;
        }
        let state = &mut open.state;
        state.stores.retain(|store, _| wanted.stores.contains_key(store));
        state.checkpoint.changelogs.retain(|store, _| wanted.stores.contains_key(store));
        for spec in stores {
            state.stores.entry(spec.name.clone()).or_default();
        }
        open.manifest = Some(wanted);
        drop(open);
        let inner = Inner {
            files,
            path,
            stores: stores.to_vec(),
            names: stores.iter().map(|spec| (*spec.name).into()).collect(),
            claimed: Cell::new(false),
            lock,
        };
        let db = Self { inner: Rc::new(inner) };
        Ok(if known { OpenOutcome::Ready(db) } else { OpenOutcome::Fresh(db) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.inner.path
    }

    pub(super) fn task_id(&self) -> TaskId {
        self.inner.lock.task_id()
    }

    pub(super) fn stores(&self) -> &[StoreSpec] {
        &self.inner.stores
    }

    pub(super) fn name(&self, store: StoreIndex) -> &Rc<str> {
        &self.inner.names[store.0 as usize]
    }

    /// Looks at the files, unless a fault comes between.
    pub(super) fn read<T>(&self, look: impl FnOnce(&TaskFiles) -> T) -> Result<T, StorageError> {
        match self.inner.lock.fault(DiskCall::Read) {
            Some(_) => Err(refused("read", self.path())),
            None => Ok(look(&self.inner.files.borrow())),
        }
    }

    fn unreadable(&self, store: StoreIndex) -> impl FnOnce(StorageError) -> StoreError {
        let store = (**self.name(store)).to_owned();
        move |cause| StoreError::Storage { store, operation: "read", cause: cause.into() }
    }

    /// Makes the caller the one writer.
    pub(super) fn claim(&self) -> Writer {
        let taken = self.inner.claimed.replace(true);
        assert!(!taken, "INV-10: task {} has a writer already", self.task_id());
        Writer { db: self.clone(), failed: false }
    }
}

impl Database for MemoryDb {
    type Restorer = MemoryRestorer;
    type Storage = MemoryTaskStorage;

    fn read_checkpoint(&self) -> Result<Checkpoint, StorageError> {
        self.read(|files| files.state.checkpoint.clone())
    }

    fn restorer(&self) -> Result<MemoryRestorer, StorageError> {
        let writer = self.claim();
        Ok(MemoryRestorer::new(writer, self.read_checkpoint()?))
    }

    fn storage(&self) -> Result<MemoryTaskStorage, StorageError> {
        let checkpoint = self.read_checkpoint()?;
        Ok(MemoryTaskStorage::new(self.claim(), checkpoint))
    }

    fn flush(&self) -> Result<(), StorageError> {
        let fault = self.inner.lock.fault(DiskCall::Flush);
        if fault != Some(DiskFault::Refused) {
            self.inner.files.borrow_mut().flush();
        }
        fault.map_or(Ok(()), |_| Err(refused("flush", self.path())))
    }

    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        let name = self.name(store);
        let found = self.read(|files| files.state.stores.get(&**name)?.get(key).cloned());
        let found = found.map_err(self.unreadable(store))?;
        if let Some(value) = &found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let name = self.name(store);
        let found = self.read(|files| {
            let Some(entries) = files.state.stores.get(&**name) else { return Vec::new() };
            if is_empty(range) {
                return Vec::new();
            }
            let found = entries.range::<[u8], _>(range);
            let copied = found.map(|(key, value)| (key.as_ref().into(), value.as_ref().into()));
            match order {
                Order::Ascending => copied.take(limit).collect(),
                Order::Descending => copied.rev().take(limit).collect(),
            }
        });
        found.map_err(self.unreadable(store))
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        let name = self.name(store);
        let length = self.read(|files| files.state.stores.get(&**name).map_or(0, BTreeMap::len));
        // an estimate that can't be had is no reason to stop
        length.map_or(0, |length| length as u64)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // closing in order flushes what was not logged
        if !self.lock.is_dead() {
            self.files.borrow_mut().flush();
        }
    }
}

/// The right to write a task's database, until it is dropped (INV-10).
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) db: MemoryDb,
    /// A write failed: what the files hold is not known until they are opened again.
    failed: bool,
}

impl Writer {
    /// Writes contents and checkpoint in one batch (INV-3).
    pub(super) fn write(
        &mut self,
        batch: Vec<Write>,
        checkpoint: &Checkpoint,
        logged: bool,
    ) -> Result<(), StorageError> {
        let path = self.db.path().to_owned();
        if self.failed {
            return Err(StorageError::Failed { path });
        }
        let written = self.try_write(batch, checkpoint, logged);
        self.failed = written.is_err();
        written
    }

    fn try_write(
        &self,
        batch: Vec<Write>,
        checkpoint: &Checkpoint,
        logged: bool,
    ) -> Result<(), StorageError> {
        if logged && self.db.inner.files.borrow().is_unlogged() {
            self.db.flush()?;
        }
        let lock = &self.db.inner.lock;
        let fault = lock.fault(DiskCall::Write);
        if fault != Some(DiskFault::Refused) {
            let mut files = self.db.inner.files.borrow_mut();
            files.write(batch, checkpoint, logged);
            files.written_at = lock.now();
        }
        fault.map_or(Ok(()), |_| Err(refused("write", self.db.path())))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.db.inner.claimed.set(false);
    }
}

fn refused(operation: &'static str, path: &Path) -> StorageError {
    let (path, reason) = (path.to_owned(), "a simulated fault of the disk".to_owned());
    StorageError::Io { operation, path, reason }
}

/// Returns true if no key can lie in the range; `BTreeMap::range` panics on some of those.
pub(super) fn is_empty((from, to): KeyRange<'_>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a >= b
        }
    }
}
