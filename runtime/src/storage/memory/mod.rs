//! A disk in memory, for simulated processes: contents outlive a process as files do, locks do
//! not, and everything that can go wrong with a disk goes wrong on demand.
//!
//! ```text
//!   Drive                 one machine's disk: directories by path, the databases of their tasks
//!     mount --> MemoryDisk    as one process sees it, until MemoryDisk::kill
//! ```
//!
//! As on a real disk, what was written through the log survives the death of its process, what a
//! bulk load wrote is there after a flush or a clean close only, and a database whose write failed
//! takes no other until it is opened again.
//!
//! Before each call the process' hook is asked: it may let a fault happen, have the caller wait, or
//! unwind it. A killed process changes nothing any more, whatever its destructors do.

mod db;
mod directory;
mod files;
mod storage;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tidemill_core::record::{TaskId, Timestamp};
use tidemill_core::store::StoreSpec;

use super::audit::TaskDump;
use super::seam::{Disk, OpenOutcome};
use super::{StateDirectoryError, StorageError};
use db::MemoryDb;
use directory::{MemoryDirectory, MemoryLock};
use files::DirectoryFiles;
pub(crate) use storage::{MemoryRestorer, MemoryTaskStorage};

/// A call that a process makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskCall {
    /// Lock a state directory.
    OpenDirectory,
    /// Open a task's database.
    OpenTask(TaskId),
    /// Read an entry or a range.
    Read(TaskId),
    /// Write a batch.
    Write(TaskId),
    /// Make everything durable.
    Flush(TaskId),
    /// Delete a task's directory.
    Wipe(TaskId),
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFault {
    /// It fails and does nothing.
    Refused,
    /// It is done, and fails all the same: for a write, a flush and a wipe.
    DoneButFailed,
    /// The contents turn out to be damaged, and are until they are wiped: for the opening of a task
    /// that has contents.
    Damaged,
}

/// Asked before each call of one process.
pub(super) type Hook = Box<dyn Fn(DiskCall) -> Option<DiskFault>>;

/// One machine's disk. Cloning gives the same one.
#[derive(Clone)]
pub(crate) struct Drive {
    directories: Rc<RefCell<BTreeMap<PathBuf, DirectoryFiles>>>,
    mounts: Rc<Cell<u64>>,
    /// How many state directories were ever made.
    made: Rc<Cell<usize>>,
    wall_clock: Rc<dyn Fn() -> Timestamp>,
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive").field("directories", &self.directories).finish_non_exhaustive()
    }
}

impl Drive {
    /// Makes an empty one; the clock is for the times of files.
    pub(crate) fn new(wall_clock: impl Fn() -> Timestamp + 'static) -> Self {
        Self {
            directories: Rc::default(),
            mounts: Rc::default(),
            made: Rc::default(),
            wall_clock: Rc::new(wall_clock),
        }
    }

    /// Gives it to a process that starts.
    pub(crate) fn mount(
        &self,
        hook: impl Fn(DiskCall) -> Option<DiskFault> + 'static,
    ) -> MemoryDisk {
        self.mounts.set(self.mounts.get() + 1);
        let process = Process {
            number: self.mounts.get(),
            drive: self.clone(),
            is_dead: Cell::new(false),
            hook: Box::new(hook),
        };
        MemoryDisk { process: Rc::new(process) }
    }

    /// Returns what a restart would find of a task, for the auditor; `None` if there is nothing
    /// that can be read. `directory` is `<state.dir>/<application.id>`.
    pub(crate) fn dump(&self, directory: &Path, task_id: TaskId) -> Option<TaskDump> {
        let directories = self.directories.borrow();
        let files = directories.get(directory)?.tasks.get(&task_id)?;
        files.borrow().dump()
    }

    /// Deletes a state directory that no process has, as an operator does, or a disk that is lost.
    #[cfg(feature = "simulation")]
    pub(crate) fn remove(&self, state_dir: &Path) {
        self.directories.borrow_mut().retain(|path, _| !path.starts_with(state_dir));
    }

    /// Returns all state directories and the tasks that have contents there.
    #[cfg(test)]
    pub(crate) fn tasks(&self) -> Vec<(PathBuf, TaskId)> {
        let directories = self.directories.borrow();
        let of = |(path, directory): (&PathBuf, &DirectoryFiles)| -> Vec<(PathBuf, TaskId)> {
            directory.tasks.keys().map(|task| (path.clone(), *task)).collect()
        };
        directories.iter().flat_map(of).collect()
    }
}

/// A process as its disk knows it.
struct Process {
    number: u64,
    drive: Drive,
    is_dead: Cell<bool>,
    hook: Hook,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Process {
    /// Asks what becomes of a call. Nothing of the drive may be borrowed: the hook may wait.
    fn fault(&self, call: DiskCall) -> Option<DiskFault> {
        let fault = (self.hook)(call);
        if self.is_dead.get() { Some(DiskFault::Refused) } else { fault }
    }
}

/// A drive as one process sees it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryDisk {
    process: Rc<Process>,
}

impl MemoryDisk {
    /// Ends the process as SIGKILL does: its locks are free, what was neither logged nor flushed is
    /// gone, and nothing that is still in memory of it reaches the drive.
    pub(crate) fn kill(&self) {
        self.process.is_dead.set(true);
        for directory in self.process.drive.directories.borrow_mut().values_mut() {
            if directory.locked_by == Some(self.process.number) {
                directory.locked_by = None;
                directory.tasks.values().for_each(|files| files.borrow_mut().lose_unlogged());
            }
        }
    }
}

impl Disk for MemoryDisk {
    type Directory = MemoryDirectory;
    type Lock = MemoryLock;
    type Db = MemoryDb;
    type Restorer = MemoryRestorer;
    type Storage = MemoryTaskStorage;

    fn open_directory(
        &self,
        state_dir: &Path,
        application_id: &str,
    ) -> Result<MemoryDirectory, StateDirectoryError> {
        MemoryDirectory::open(&self.process, state_dir, application_id)
    }

    fn open_task(
        &self,
        lock: MemoryLock,
        stores: &[StoreSpec],
    ) -> Result<OpenOutcome<MemoryDb, MemoryLock>, StorageError> {
        MemoryDb::open(lock, stores)
    }

    fn db_of(storage: &MemoryTaskStorage) -> MemoryDb {
        storage.db().clone()
    }
}
