//! What the runtime asks of the disk: the seam before RocksDB, behind which the simulated disk
//! stands too.
//!
//! The contracts are those of the parent module, and each method is documented where RocksDB's
//! types have it under the same name. Everything is resolved when the program is compiled.

use std::collections::BTreeMap;
use std::path::Path;

use tidemill_core::record::{Offset, TaskId, Timestamp, TopicPartition};
use tidemill_core::store::{
    Checkpoint, InputPosition, KeyRange, Order, StoreError, StoreIndex, StoreSpec, StoredEntry,
    TaskStorage,
};

use super::{StateDirectoryError, StorageError, TaskDb, TaskLock};

/// What opening a task's database found.
#[derive(Debug)]
pub enum OpenOutcome<D = TaskDb, L = TaskLock> {
    /// Contents with their checkpoint.
    Ready(D),
    /// Nothing was there: a new database, to be restored from the beginning.
    Fresh(D),
    /// What is there can't be trusted: [`TaskLock::wipe`], and open again.
    Damaged {
        /// What was found.
        reason: String,
        /// The ownership of the task's directory, handed back.
        lock: L,
    },
}

/// Where processes keep what outlives them.
pub(crate) trait Disk: Clone + 'static {
    type Directory: Directory<Lock = Self::Lock>;
    type Lock: OwnTask;
    type Db: Database<Restorer = Self::Restorer, Storage = Self::Storage>;
    type Restorer: Restore<Storage = Self::Storage>;
    type Storage: TaskStorage + 'static;

    /// Locks the state directory of an application, creating it if need be (INV-10).
    fn open_directory(
        &self,
        state_dir: &Path,
        application_id: &str,
    ) -> Result<Self::Directory, StateDirectoryError>;

    /// Opens or creates the database of the task that the lock owns.
    fn open_task(
        &self,
        lock: Self::Lock,
        stores: &[StoreSpec],
    ) -> Result<OpenOutcome<Self::Db, Self::Lock>, StorageError>;

    /// Returns the database that a storage writes.
    fn db_of(storage: &Self::Storage) -> Self::Db;
}

/// A locked state directory.
pub(crate) trait Directory: Clone + 'static {
    type Lock;

    fn process_id(&self) -> &str;

    fn acquire_task(&self, task_id: TaskId) -> Result<Self::Lock, StateDirectoryError>;

    fn task_ids_on_disk(&self) -> Result<Vec<TaskId>, StateDirectoryError>;

    /// Returns when a task's directory was written last, by the wall clock.
    fn written_at(&self, task_id: TaskId) -> Option<Timestamp>;
}

/// The one ownership of a task's directory in a process, until it is dropped (INV-10).
pub(crate) trait OwnTask: 'static {
    fn task_id(&self) -> TaskId;

    fn wipe(&self) -> Result<(), StateDirectoryError>;
}

/// The database of one task. It is closed when the last clone is gone.
pub(crate) trait Database: Clone + 'static {
    type Restorer;
    type Storage;

    fn read_checkpoint(&self) -> Result<Checkpoint, StorageError>;

    /// Makes the caller the one writer, to restore.
    fn restorer(&self) -> Result<Self::Restorer, StorageError>;

    /// Makes the caller the one writer, to run: nothing is missing.
    fn storage(&self) -> Result<Self::Storage, StorageError>;

    fn flush(&self) -> Result<(), StorageError>;

    /// Reads what is committed, beside the writer; as are the two below, it is
    /// [`TaskStorage`]'s.
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError>;

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError>;

    fn approximate_len(&self, store: StoreIndex) -> u64;
}

/// Applies changelog records to the stores of a task that does not run.
pub(crate) trait Restore: 'static {
    type Storage;

    fn checkpoint(&self) -> &Checkpoint;

    fn begin_bulk(&mut self) -> Result<(), StorageError>;

    fn apply<'a>(
        &mut self,
        store: StoreIndex,
        records: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>, i64)>,
        next_offset: Offset,
    ) -> Result<(), StorageError>;

    fn finish(
        self,
        inputs: BTreeMap<TopicPartition, InputPosition>,
        commit_number: u64,
    ) -> Result<Self::Storage, StorageError>;
}
