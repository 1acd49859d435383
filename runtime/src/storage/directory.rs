//! The state directory of an application: locked by one process, one owner for each task (INV-10).

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidemill_core::record::TaskId;

use super::StateDirectoryError;
use super::lock;
use super::manifest::{self, DirectoryManifest};

/// What the name of a task's directory starts with while it is being deleted.
const DOOMED: &str = ".deleted-";

/// The locked directory `<state.dir>/<application.id>`. Cloning is cheap; the lock is held until
/// the last clone and the last [`TaskLock`] are gone.
#[derive(Debug, Clone)]
pub struct StateDirectory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    manifest: DirectoryManifest,
    owned: Mutex<BTreeSet<TaskId>>,
    _lock: File,
}

impl StateDirectory {
    /// Creates the directory (0700) if need be, locks it, and checks that it is of this
    /// application. What an interrupted [`StateDirectory::wipe_task`] left is deleted.
    ///
    /// # Errors
    /// Within a second, if another process holds it ([`StateDirectoryError::InUse`]); if it is of
    /// somebody else, of a newer release, unreadable, or if others can write to it. The message
    /// says what to do. Nothing in a refused directory was changed.
    pub fn open(state_dir: &Path, application_id: &str) -> Result<Self, StateDirectoryError> {
        Self::open_as(state_dir, application_id, manifest::random_id)
    }

    /// As [`StateDirectory::open`]; the process id of a new directory is what `new_id` returns,
    /// which has to be one that no other directory has.
    pub(super) fn open_as(
        state_dir: &Path,
        application_id: &str,
        new_id: impl FnOnce() -> String,
    ) -> Result<Self, StateDirectoryError> {
        if !is_component(application_id) {
            return Err(StateDirectoryError::UnusableApplicationId(application_id.to_owned()));
        }
        let path = state_dir.join(application_id);
        fs::create_dir_all(state_dir).map_err(StateDirectoryError::io("create", state_dir))?;
        refuse_open_to_all(state_dir)?;
        create_directory(&path)?;
        manifest::refuse_foreign(&path)?;
        let mut lock = lock::acquire(&path)?;
        let manifest = DirectoryManifest::open(&path, application_id, new_id)?;
        lock::sign(&mut lock, &path)?;
        let inner = Inner { path, manifest, owned: Mutex::default(), _lock: lock };
        inner.sweep()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the application's id.
    #[must_use]
    pub fn application_id(&self) -> &str {
        &self.inner.manifest.application_id
    }

    /// Returns the identity of whichever process holds this directory: hexadecimal digits and `-`,
    /// random, made once. A process that was killed and restarted is itself again.
    #[must_use]
    pub fn process_id(&self) -> &str {
        &self.inner.manifest.process_id
    }

    /// Returns where a task keeps its stores, whether it exists or not.
    #[must_use]
    pub fn task_path(&self, task_id: TaskId) -> PathBuf {
        self.inner.task_path(task_id)
    }

    /// Makes the caller the one owner of a task in this process (INV-10).
    ///
    /// # Errors
    /// [`StateDirectoryError::TaskInUse`] while there is another owner.
    pub fn acquire_task(&self, task_id: TaskId) -> Result<TaskLock, StateDirectoryError> {
        if !self.inner.owned().insert(task_id) {
            let path = self.inner.path.clone();
            return Err(StateDirectoryError::TaskInUse { task_id, path });
        }
        Ok(TaskLock { directory: Arc::clone(&self.inner), task_id })
    }

    /// Returns the tasks that have a directory, in order.
    ///
    /// # Errors
    /// If the directory can't be read.
    pub fn task_ids_on_disk(&self) -> Result<Vec<TaskId>, StateDirectoryError> {
        let names = self.inner.subdirectories()?;
        let mut ids: Vec<TaskId> = names.iter().filter_map(|name| task_id_of(name)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Deletes a task's stores. They are renamed first, so that a half-deleted directory is never
    /// taken for a valid one.
    ///
    /// # Errors
    /// If the task has an owner, or the file system refuses.
    pub fn wipe_task(&self, task_id: TaskId) -> Result<(), StateDirectoryError> {
        self.acquire_task(task_id)?.wipe()
    }
}

impl Inner {
    fn owned(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn task_path(&self, task_id: TaskId) -> PathBuf {
        self.path.join(task_id.to_string())
    }

    /// Names of real directories in here; symbolic links are none.
    fn subdirectories(&self) -> Result<Vec<String>, StateDirectoryError> {
        let read = || -> std::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir()
                    && let Ok(name) = entry.file_name().into_string()
                {
                    names.push(name);
                }
            }
            Ok(names)
        };
        read().map_err(StateDirectoryError::io("read", &self.path))
    }

    /// Deletes what is doomed.
    fn sweep(&self) -> Result<(), StateDirectoryError> {
        for name in self.subdirectories()? {
            if name.strip_prefix(DOOMED).is_some_and(|rest| task_id_of(rest).is_some()) {
                let path = self.path.join(name);
                fs::remove_dir_all(&path).map_err(StateDirectoryError::io("delete", &path))?;
            }
        }
        Ok(())
    }
}

/// The one ownership of a task's directory in this process (INV-10), until it is dropped.
#[derive(Debug)]
pub struct TaskLock {
    directory: Arc<Inner>,
    task_id: TaskId,
}

impl TaskLock {
    /// Returns the task.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.task_id
    }

    /// Returns where the task keeps its stores.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.task_path(self.task_id)
    }

    /// Returns the application's id.
    #[must_use]
    pub fn application_id(&self) -> &str {
        &self.directory.manifest.application_id
    }

    /// Deletes the task's stores, as [`StateDirectory::wipe_task`] does.
    ///
    /// # Errors
    /// If the file system refuses.
    ///
    /// # If stopped here
    /// The directory is whole, gone, or renamed and deleted at the next open.
    pub fn wipe(&self) -> Result<(), StateDirectoryError> {
        let path = self.path();
        refuse_symlink(&path)?;
        let doomed = self.directory.path.join(format!("{DOOMED}{}", self.task_id));
        // of an earlier wipe that could not finish
        remove_directory(&doomed)?;
        match fs::rename(&path, &doomed) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(StateDirectoryError::io("rename", &path))?,
        }
        remove_directory(&doomed)
    }

    /// Creates the task's directory if need be, and checks that it is safe to use.
    pub(super) fn create(&self) -> Result<(), StateDirectoryError> {
        create_directory(&self.path())
    }
}

impl Drop for TaskLock {
    fn drop(&mut self) {
        let owned = self.directory.owned().remove(&self.task_id);
        assert!(owned, "INV-10: task {} was given up twice", self.task_id);
    }
}

/// Only the one way in which we write an id counts: `00_1` is not ours.
fn task_id_of(name: &str) -> Option<TaskId> {
    name.parse().ok().filter(|id: &TaskId| id.to_string() == name)
}

/// Whether a name stays where it is put: what Kafka allows in topic names, and no dot in front.
fn is_component(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len())
        && name.bytes().all(legal)
        && !name.starts_with('.')
        && !name.starts_with('-')
}

fn create_directory(path: &Path) -> Result<(), StateDirectoryError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {}
        created => created.map_err(StateDirectoryError::io("create", path))?,
    }
    let found = refuse_symlink(path)?;
    let refuse = |reason: String| {
        let path = path.to_owned();
        Err(StateDirectoryError::Unsafe { path, reason })
    };
    match found {
        Some(found) if !found.is_dir() => refuse("it is not a directory".to_owned()),
        Some(found) if found.mode() & 0o022 != 0 => refuse(format!(
            "others can write to it (mode {:o}); run chmod 700 on it",
            found.mode() & 0o7777
        )),
        _ => Ok(()),
    }
}

fn remove_directory(path: &Path) -> Result<(), StateDirectoryError> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(StateDirectoryError::io("delete", path)),
    }
}

/// Returns what is at the path itself; a symbolic link is refused.
fn refuse_symlink(path: &Path) -> Result<Option<Metadata>, StateDirectoryError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            let (path, reason) = (path.to_owned(), "it is a symbolic link; remove it".to_owned());
            Err(StateDirectoryError::Unsafe { path, reason })
        }
        Ok(found) => Ok(Some(found)),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(StateDirectoryError::io("read", path)(cause)),
    }
}

/// Everybody may write to `/tmp`, but there the sticky bit keeps them from replacing our directory.
fn refuse_open_to_all(path: &Path) -> Result<(), StateDirectoryError> {
    let found = fs::metadata(path).map_err(StateDirectoryError::io("read", path))?;
    if found.mode() & 0o1002 == 0o002 {
        let reason = "everybody can write to it; run chmod o-w on it, or choose another state.dir";
        let (path, reason) = (path.to_owned(), reason.to_owned());
        return Err(StateDirectoryError::Unsafe { path, reason });
    }
    Ok(())
}
