//! The state directory on the simulated disk: locked by one process, one owner for each task.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tidemill_core::record::{TaskId, Timestamp};

use super::files::{DirectoryFiles, TaskFiles};
use super::{DiskCall, DiskFault, Process};
use crate::storage::StateDirectoryError;
use crate::storage::seam::{Directory, OwnTask};

/// A locked state directory (INV-10).
#[derive(Debug, Clone)]
pub(crate) struct MemoryDirectory {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    process: Rc<Process>,
    path: PathBuf,
    application_id: String,
    process_id: String,
    owned: RefCell<BTreeSet<TaskId>>,
}

impl MemoryDirectory {
    pub(super) fn open(
        process: &Rc<Process>,
        state_dir: &Path,
        application_id: &str,
    ) -> Result<Self, StateDirectoryError> {
        let path = state_dir.join(application_id);
        if process.fault(DiskCall::OpenDirectory).is_some() {
            return Err(refused("lock", &path));
        }
        let mut directories = process.drive.directories.borrow_mut();
        // as random as a process id has to be: no two directories have the same
        let files = directories.entry(path.clone()).or_insert_with(|| {
            let made = &process.drive.made;
            made.set(made.get() + 1);
            let number = made.get();
            DirectoryFiles {
                process_id: format!("{number:08x}-0000-4000-8000-{number:012x}"),
                locked_by: None,
                tasks: Default::default(),
            }
        });
        if let Some(holder) = files.locked_by {
            return Err(StateDirectoryError::InUse { path, holder: format!("process {holder}") });
        }
        files.locked_by = Some(process.number);
        let inner = Inner {
            process: Rc::clone(process),
            path,
            application_id: application_id.to_owned(),
            process_id: files.process_id.clone(),
            owned: RefCell::default(),
        };
        drop(directories);
        Ok(Self { inner: Rc::new(inner) })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.process.is_dead.get() {
            return;
        }
        let mut directories = self.process.drive.directories.borrow_mut();
        if let Some(files) = directories.get_mut(&self.path) {
            files.locked_by = None;
        }
    }
}

impl Directory for MemoryDirectory {
    type Lock = MemoryLock;

    fn process_id(&self) -> &str {
        &self.inner.process_id
    }

    fn acquire_task(&self, task_id: TaskId) -> Result<MemoryLock, StateDirectoryError> {
        if !self.inner.owned.borrow_mut().insert(task_id) {
            let path = self.inner.path.clone();
            return Err(StateDirectoryError::TaskInUse { task_id, path });
        }
        Ok(MemoryLock { directory: Rc::clone(&self.inner), task_id })
    }

    fn task_ids_on_disk(&self) -> Result<Vec<TaskId>, StateDirectoryError> {
        let directories = self.inner.process.drive.directories.borrow();
        Ok(directories
            .get(&self.inner.path)
            .into_iter()
            .flat_map(|d| d.tasks.keys())
            .copied()
            .collect())
    }

    fn written_at(&self, task_id: TaskId) -> Option<Timestamp> {
        let directories = self.inner.process.drive.directories.borrow();
        let files = directories.get(&self.inner.path)?.tasks.get(&task_id)?;
        Some(files.borrow().written_at)
    }
}

/// The one ownership of a task in a process, until it is dropped (INV-10).
#[derive(Debug)]
pub(crate) struct MemoryLock {
    directory: Rc<Inner>,
    task_id: TaskId,
}

impl MemoryLock {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.path.join(self.task_id.to_string())
    }

    pub(super) fn application_id(&self) -> &str {
        &self.directory.application_id
    }

    pub(super) fn fault(&self, call: impl FnOnce(TaskId) -> DiskCall) -> Option<DiskFault> {
        self.directory.process.fault(call(self.task_id))
    }

    pub(super) fn is_dead(&self) -> bool {
        self.directory.process.is_dead.get()
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.directory.process.drive.wall_clock)()
    }

    /// Returns what is there, making it if there is nothing.
    pub(super) fn files(&self) -> Rc<RefCell<TaskFiles>> {
        let now = self.now();
        let new = || Rc::new(RefCell::new(TaskFiles::new(now)));
        let mut directories = self.directory.process.drive.directories.borrow_mut();
        match directories.get_mut(&self.directory.path) {
            Some(found) if !self.is_dead() => {
                Rc::clone(found.tasks.entry(self.task_id).or_insert_with(new))
            }
            _ => new(),
        }
    }
}

impl OwnTask for MemoryLock {
    fn task_id(&self) -> TaskId {
        self.task_id
    }

    fn wipe(&self) -> Result<(), StateDirectoryError> {
        let fault = self.fault(DiskCall::Wipe);
        if fault == Some(DiskFault::Refused) {
            return Err(refused("delete", &self.path()));
        }
        let mut directories = self.directory.process.drive.directories.borrow_mut();
        if let Some(files) = directories.get_mut(&self.directory.path) {
            files.tasks.remove(&self.task_id);
        }
        if fault.is_some() { Err(refused("delete", &self.path())) } else { Ok(()) }
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let owned = self.directory.owned.borrow_mut().remove(&self.task_id);
        assert!(owned, "INV-10: task {} was given up twice", self.task_id);
    }
}

fn refused(operation: &'static str, path: &Path) -> StateDirectoryError {
    StateDirectoryError::io(operation, path)(std::io::Error::other("a simulated fault of the disk"))
}
