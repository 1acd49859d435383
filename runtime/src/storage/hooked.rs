//! Real databases for simulated processes: RocksDB in a folder, behind the hook of the simulation.
//!
//! Before each call the process' hook is asked, as [`super::memory`] does: it may let a fault
//! happen, have the caller wait, or unwind it. What a process id and the time of a file are follows
//! from the simulation and not from the system.
//!
//! A killed process makes no call any more, but its databases are closed in order while its fibers
//! unwind: RocksDB writes then what was not logged. So the loss of unlogged writes is simulated by
//! the disk in memory alone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tidemill_core::record::{Offset, TaskId, Timestamp, TopicPartition};
use tidemill_core::store::{
    Acknowledged, Checkpoint, InputPosition, KeyRange, Order, StoreError, StoreIndex, StoreSpec,
    StoredEntry, TaskStorage,
};

use super::memory::{DiskCall, DiskFault, Hook};
use super::seam::{Database, Directory, Disk, OpenOutcome, OwnTask, Restore};
use super::{
    Restorer, RocksStorage, SharedRocks, StateDirectory, StateDirectoryError, StorageError, TaskDb,
    TaskLock,
};

/// The file without which RocksDB knows nothing of a database.
const ROOT_FILE: &str = "CURRENT";

/// One folder with the databases of all machines. Cloning gives the same one.
#[derive(Clone)]
pub(crate) struct RocksDrive {
    shared: SharedRocks,
    /// How many state directories were ever made.
    made: Rc<Cell<u64>>,
    /// When each task's directory was written last.
    written: Rc<RefCell<BTreeMap<PathBuf, Timestamp>>>,
    wall_clock: Rc<dyn Fn() -> Timestamp>,
}

impl RocksDrive {
    /// The clock is for the times of files.
    pub(crate) fn new(shared: SharedRocks, wall_clock: impl Fn() -> Timestamp + 'static) -> Self {
        let wall_clock = Rc::new(wall_clock);
        Self { shared, made: Rc::default(), written: Rc::default(), wall_clock }
    }

    /// Gives it to a process that starts.
    pub(crate) fn mount(
        &self,
        hook: impl Fn(DiskCall) -> Option<DiskFault> + 'static,
    ) -> HookedRocks {
        let process =
            Process { drive: self.clone(), is_dead: Cell::new(false), hook: Box::new(hook) };
        HookedRocks { process: Rc::new(process) }
    }

    fn note_write(&self, path: PathBuf) {
        self.written.borrow_mut().insert(path, (self.wall_clock)());
    }
}

struct Process {
    drive: RocksDrive,
    is_dead: Cell<bool>,
    hook: Hook,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("is_dead", &self.is_dead).finish_non_exhaustive()
    }
}

impl Process {
    /// Asks what becomes of a call.
    fn fault(&self, call: DiskCall) -> Option<DiskFault> {
        let fault = (self.hook)(call);
        if self.is_dead.get() { Some(DiskFault::Refused) } else { fault }
    }

    /// Makes a call that can fail before or after.
    fn perform<T>(
        &self,
        call: DiskCall,
        path: &Path,
        operation: &'static str,
        perform: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let refused = || Err(fault_of(operation, path));
        match self.fault(call) {
            None => perform(),
            Some(DiskFault::DoneButFailed) => perform().and_then(|_| refused()),
            Some(DiskFault::Refused | DiskFault::Damaged) => refused(),
        }
    }
}

/// A folder with databases as one process sees it.
#[derive(Debug, Clone)]
pub(crate) struct HookedRocks {
    process: Rc<Process>,
}

impl HookedRocks {
    /// Ends the process: it makes no call any more.
    pub(crate) fn kill(&self) {
        self.process.is_dead.set(true);
    }
}

/// What a process has of the disk.
#[derive(Debug, Clone)]
pub(crate) struct Hooked<T> {
    inner: T,
    process: Rc<Process>,
    /// A write failed, or was said to: no other is made.
    failed: bool,
}

impl<T> Hooked<T> {
    fn new(process: &Rc<Process>, inner: T) -> Self {
        Self { inner, process: Rc::clone(process), failed: false }
    }
}

impl Disk for HookedRocks {
    type Directory = Hooked<StateDirectory>;
    type Lock = Hooked<TaskLock>;
    type Db = Hooked<TaskDb>;
    type Restorer = Hooked<Restorer>;
    type Storage = Hooked<RocksStorage>;

    fn open_directory(
        &self,
        state_dir: &Path,
        application_id: &str,
    ) -> Result<Hooked<StateDirectory>, StateDirectoryError> {
        if self.process.fault(DiskCall::OpenDirectory).is_some() {
            return Err(refused("lock", state_dir));
        }
        let made = &self.process.drive.made;
        let new_id = || {
            made.set(made.get() + 1);
            format!("{0:08x}-0000-4000-8000-{0:012x}", made.get())
        };
        let inner = StateDirectory::open_as(state_dir, application_id, new_id)?;
        Ok(Hooked::new(&self.process, inner))
    }

    fn open_task(
        &self,
        lock: Hooked<TaskLock>,
        stores: &[StoreSpec],
    ) -> Result<OpenOutcome<Hooked<TaskDb>, Hooked<TaskLock>>, StorageError> {
        let Hooked { inner: lock, process, .. } = lock;
        let path = lock.path();
        let fault = process.fault(DiskCall::OpenTask(lock.task_id()));
        if fault == Some(DiskFault::Damaged) && path.join(ROOT_FILE).exists() {
            // what RocksDB says to it is RocksDB's own
            let damaged = std::fs::write(path.join(ROOT_FILE), "damaged by the simulation");
            damaged.map_err(|cause| {
                let (path, reason) = (path.clone(), cause.to_string());
                StorageError::Io { operation: "open", path, reason }
            })?;
        } else if fault.is_some_and(|fault| fault != DiskFault::Damaged) {
            return Err(fault_of("open", &path));
        }
        if !path.exists() {
            process.drive.note_write(path);
        }
        Ok(match TaskDb::open(&process.drive.shared, lock, stores)? {
            OpenOutcome::Ready(db) => OpenOutcome::Ready(Hooked::new(&process, db)),
            OpenOutcome::Fresh(db) => OpenOutcome::Fresh(Hooked::new(&process, db)),
            OpenOutcome::Damaged { reason, lock } => {
                OpenOutcome::Damaged { reason, lock: Hooked::new(&process, lock) }
            }
        })
    }

    fn db_of(storage: &Hooked<RocksStorage>) -> Hooked<TaskDb> {
        Hooked::new(&storage.process, storage.inner.db().clone())
    }
}

impl Directory for Hooked<StateDirectory> {
    type Lock = Hooked<TaskLock>;

    fn process_id(&self) -> &str {
        self.inner.process_id()
    }

    fn acquire_task(&self, task_id: TaskId) -> Result<Hooked<TaskLock>, StateDirectoryError> {
        Ok(Hooked::new(&self.process, self.inner.acquire_task(task_id)?))
    }

    fn task_ids_on_disk(&self) -> Result<Vec<TaskId>, StateDirectoryError> {
        self.inner.task_ids_on_disk()
    }

    fn written_at(&self, task_id: TaskId) -> Option<Timestamp> {
        let path = self.inner.task_path(task_id);
        self.process.drive.written.borrow().get(&path).copied().filter(|_| path.exists())
    }
}

impl OwnTask for Hooked<TaskLock> {
    fn task_id(&self) -> TaskId {
        self.inner.task_id()
    }

    fn wipe(&self) -> Result<(), StateDirectoryError> {
        match self.process.fault(DiskCall::Wipe(self.inner.task_id())) {
            None => self.inner.wipe(),
            Some(DiskFault::DoneButFailed) => {
                self.inner.wipe()?;
                Err(refused("delete", &self.inner.path()))
            }
            Some(_) => Err(refused("delete", &self.inner.path())),
        }
    }
}

impl Database for Hooked<TaskDb> {
    type Restorer = Hooked<Restorer>;
    type Storage = Hooked<RocksStorage>;

    fn read_checkpoint(&self) -> Result<Checkpoint, StorageError> {
        let call = DiskCall::Read(self.inner.task_id());
        self.process.perform(call, self.inner.path(), "read", || self.inner.read_checkpoint())
    }

    fn restorer(&self) -> Result<Hooked<Restorer>, StorageError> {
        self.read_checkpoint()?;
        Ok(Hooked::new(&self.process, self.inner.restorer()?))
    }

    fn storage(&self) -> Result<Hooked<RocksStorage>, StorageError> {
        self.read_checkpoint()?;
        Ok(Hooked::new(&self.process, RocksStorage::new(&self.inner)?))
    }

    fn flush(&self) -> Result<(), StorageError> {
        let call = DiskCall::Flush(self.inner.task_id());
        self.process.perform(call, self.inner.path(), "flush", || self.inner.flush())
    }

    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        self.before_read(store)?;
        self.inner.get(store, key, visit)
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.before_read(store)?;
        self.inner.scan(store, range, order, limit)
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        self.inner.approximate_len(store)
    }
}

impl Hooked<TaskDb> {
    fn before_read(&self, store: StoreIndex) -> Result<(), StoreError> {
        let call = DiskCall::Read(self.inner.task_id());
        let allowed = self.process.perform(call, self.inner.path(), "read", || Ok(()));
        allowed.map_err(|cause| {
            let store = self.inner.stores()[store.0 as usize].name.clone();
            StoreError::Storage { store, operation: "read", cause: cause.into() }
        })
    }
}

impl Restore for Hooked<Restorer> {
    type Storage = Hooked<RocksStorage>;

    fn checkpoint(&self) -> &Checkpoint {
        self.inner.checkpoint()
    }

    fn begin_bulk(&mut self) -> Result<(), StorageError> {
        self.inner.begin_bulk()
    }

    fn apply<'a>(
        &mut self,
        store: StoreIndex,
        records: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>, i64)>,
        next_offset: Offset,
    ) -> Result<(), StorageError> {
        let (task_id, path) = (self.inner.db().task_id(), self.inner.db().path().to_owned());
        let Self { inner, process, failed } = self;
        if *failed {
            return Err(StorageError::Failed { path });
        }
        let applied = process.perform(DiskCall::Write(task_id), &path, "write", || {
            process.drive.note_write(path.clone());
            inner.apply(store, records, next_offset)
        });
        *failed = applied.is_err();
        applied
    }

    fn finish(
        self,
        inputs: BTreeMap<TopicPartition, InputPosition>,
        commit_number: u64,
    ) -> Result<Hooked<RocksStorage>, StorageError> {
        let (task_id, path) = (self.inner.db().task_id(), self.inner.db().path().to_owned());
        let Self { inner, process, failed } = self;
        if failed {
            return Err(StorageError::Failed { path });
        }
        let finished = process.perform(DiskCall::Write(task_id), &path, "write", || {
            process.drive.note_write(path.clone());
            inner.finish(inputs, commit_number)
        });
        Ok(Hooked::new(&process, finished?))
    }
}

impl Hooked<RocksStorage> {
    fn error(&self, operation: &'static str, cause: StorageError) -> StoreError {
        let stores = self.inner.db().stores().iter();
        let names: Vec<_> = stores.map(|spec| spec.name.as_str()).collect();
        StoreError::Storage { store: names.join(", "), operation, cause: cause.into() }
    }

    fn before_read(&self) -> Result<(), StoreError> {
        let db = self.inner.db();
        let call = DiskCall::Read(db.task_id());
        let allowed = self.process.perform(call, db.path(), "read", || Ok(()));
        allowed.map_err(|cause| self.error("read", cause))
    }
}

impl TaskStorage for Hooked<RocksStorage> {
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        self.before_read()?;
        self.inner.get(store, key, visit)
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.before_read()?;
        self.inner.scan(store, range, order, limit)
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        self.inner.approximate_len(store)
    }

    fn stage(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        self.inner.stage(store, key, value);
    }

    fn stage_delete_range(&mut self, store: StoreIndex, from: &[u8], to: &[u8]) {
        self.inner.stage_delete_range(store, from, to);
    }

    fn discard(&mut self) {
        self.inner.discard();
    }

    fn publish(&mut self, checkpoint: Checkpoint, proof: Acknowledged) -> Result<(), StoreError> {
        let db = self.inner.db();
        let (path, task_id) = (db.path().to_owned(), db.task_id());
        let fault = self.process.fault(DiskCall::Write(task_id));
        let failed_before = self.failed;
        self.failed |= fault.is_some();
        if failed_before {
            return Err(self.error("write", StorageError::Failed { path }));
        }
        if fault.is_none_or(|fault| fault == DiskFault::DoneButFailed) {
            self.process.drive.note_write(path.clone());
            self.inner.publish(checkpoint, proof)?;
        }
        fault.map_or(Ok(()), |_| Err(self.error("write", fault_of("write", &path))))
    }

    fn checkpoint(&self) -> &Checkpoint {
        self.inner.checkpoint()
    }
}

fn refused(operation: &'static str, path: &Path) -> StateDirectoryError {
    let cause = std::io::Error::other("a simulated fault of the disk");
    StateDirectoryError::io(operation, path)(cause)
}

fn fault_of(operation: &'static str, path: &Path) -> StorageError {
    let (path, reason) = (path.to_owned(), "a simulated fault of the disk".to_owned());
    StorageError::Io { operation, path, reason }
}
