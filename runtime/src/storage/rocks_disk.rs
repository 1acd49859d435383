//! The seam's traits for RocksDB's types: each method is the type's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

use tidemill_core::record::{Offset, TaskId, Timestamp, TopicPartition};
use tidemill_core::store::{
    Checkpoint, InputPosition, KeyRange, Order, StoreError, StoreIndex, StoreSpec, StoredEntry,
};

use super::seam::{Database, Directory, Disk, OpenOutcome, OwnTask, Restore};
use super::{
    Restorer, RocksStorage, SharedRocks, StateDirectory, StateDirectoryError, StorageError, TaskDb,
    TaskLock,
};

/// The file system, with one RocksDB for each task.
#[derive(Debug, Clone)]
pub(crate) struct RocksDisk {
    shared: SharedRocks,
}

impl RocksDisk {
    pub(crate) fn new(shared: SharedRocks) -> Self {
        Self { shared }
    }
}

impl Disk for RocksDisk {
    type Directory = StateDirectory;
    type Lock = TaskLock;
    type Db = TaskDb;
    type Restorer = Restorer;
    type Storage = RocksStorage;

    fn open_directory(
        &self,
        state_dir: &Path,
        application_id: &str,
    ) -> Result<StateDirectory, StateDirectoryError> {
        StateDirectory::open(state_dir, application_id)
    }

    fn open_task(&self, lock: TaskLock, stores: &[StoreSpec]) -> Result<OpenOutcome, StorageError> {
        TaskDb::open(&self.shared, lock, stores)
    }

    fn db_of(storage: &RocksStorage) -> TaskDb {
        storage.db().clone()
    }
}

impl Directory for StateDirectory {
    type Lock = TaskLock;

    fn process_id(&self) -> &str {
        StateDirectory::process_id(self)
    }

    fn acquire_task(&self, task_id: TaskId) -> Result<TaskLock, StateDirectoryError> {
        StateDirectory::acquire_task(self, task_id)
    }

    fn task_ids_on_disk(&self) -> Result<Vec<TaskId>, StateDirectoryError> {
        StateDirectory::task_ids_on_disk(self)
    }

    fn written_at(&self, task_id: TaskId) -> Option<Timestamp> {
        let entries = std::fs::read_dir(self.task_path(task_id)).ok()?;
        let modified = |entry: std::fs::DirEntry| entry.metadata().ok()?.modified().ok();
        let newest = entries.flatten().filter_map(modified).max()?;
        let since = newest.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).ok().map(Timestamp)
    }
}

impl OwnTask for TaskLock {
    fn task_id(&self) -> TaskId {
        TaskLock::task_id(self)
    }

    fn wipe(&self) -> Result<(), StateDirectoryError> {
        TaskLock::wipe(self)
    }
}

impl Database for TaskDb {
    type Restorer = Restorer;
    type Storage = RocksStorage;

    fn read_checkpoint(&self) -> Result<Checkpoint, StorageError> {
        TaskDb::read_checkpoint(self)
    }

    fn restorer(&self) -> Result<Restorer, StorageError> {
        TaskDb::restorer(self)
    }

    fn storage(&self) -> Result<RocksStorage, StorageError> {
        RocksStorage::new(self)
    }

    fn flush(&self) -> Result<(), StorageError> {
        TaskDb::flush(self)
    }

    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        TaskDb::get(self, store, key, visit)
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        TaskDb::scan(self, store, range, order, limit)
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        TaskDb::approximate_len(self, store)
    }
}

impl Restore for Restorer {
    type Storage = RocksStorage;

    fn checkpoint(&self) -> &Checkpoint {
        Restorer::checkpoint(self)
    }

    fn begin_bulk(&mut self) -> Result<(), StorageError> {
        Restorer::begin_bulk(self)
    }

    fn apply<'a>(
        &mut self,
        store: StoreIndex,
        records: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>, i64)>,
        next_offset: Offset,
    ) -> Result<(), StorageError> {
        Restorer::apply(self, store, records, next_offset)
    }

    fn finish(
        self,
        inputs: BTreeMap<TopicPartition, InputPosition>,
        commit_number: u64,
    ) -> Result<RocksStorage, StorageError> {
        Restorer::finish(self, inputs, commit_number)
    }
}
