//! What can go wrong with the state directory and with a task's database, and what to do then.

use std::io;
use std::path::{Path, PathBuf};

use tidemill_core::record::TaskId;
use tidemill_core::store::StoreError;

/// The state directory of an application can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateDirectoryError {
    /// The application id can't be the name of a directory.
    #[error(
        "application id '{0}' can't name a directory: use letters, digits, '.', '_' and '-', and \
         no '.' or '-' at the start"
    )]
    UnusableApplicationId(String),
    /// Another process, or another instance in this process, uses the directory.
    #[error(
        "state directory {} is in use by {holder}: stop it, or give this process another state.dir",
        path.display()
    )]
    InUse {
        /// The application's directory.
        path: PathBuf,
        /// The process id that the holder wrote, e.g. `process 4711`.
        holder: String,
    },
    /// A task's directory has an owner in this process already (INV-10).
    #[error("task {task_id} in {} is in use by this process", path.display())]
    TaskInUse {
        /// The task.
        task_id: TaskId,
        /// The application's directory.
        path: PathBuf,
    },
    /// The directory has contents, but not of ours (INV-10).
    #[error(
        "{} is not a state directory of Tidemill: it holds {found} but no tidemill.json; choose \
         another state.dir, or move these contents away",
        path.display()
    )]
    Foreign {
        /// The application's directory.
        path: PathBuf,
        /// Some of its entries.
        found: String,
    },
    /// The directory belongs to another application (INV-10).
    #[error(
        "state directory {} belongs to application {found}, not to {wanted}; choose another \
         state.dir",
        path.display()
    )]
    OtherApplication {
        /// The application's directory.
        path: PathBuf,
        /// The application id in the manifest.
        found: String,
        /// The application id of this process.
        wanted: String,
    },
    /// A newer release wrote the directory (INV-10).
    #[error(
        "state directory {} has format {found}, this release knows {known}: run the newer release, \
         or delete the directory to restore its contents from the changelogs",
        path.display()
    )]
    Newer {
        /// The application's directory.
        path: PathBuf,
        /// The version in the manifest.
        found: u64,
        /// The newest version that this release knows.
        known: u64,
    },
    /// The manifest can't be understood (INV-10).
    #[error(
        "{} is no readable manifest ({reason}): delete the directory {} to restore its contents \
         from the changelogs",
        file.display(),
        file.parent().unwrap_or(file).display()
    )]
    UnreadableManifest {
        /// The manifest.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Others could put files where we trust them.
    #[error("{} is not safe to keep state in: {reason}", path.display())]
    Unsafe {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        reason: String,
    },
    /// The file system refused something.
    #[error("could not {operation} {}: {cause}", path.display())]
    Io {
        /// What was being done, e.g. `create`.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
}

impl StateDirectoryError {
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { operation, path, cause }
    }
}

/// A task's database can't be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Contents are corrupt or incomplete. Wipe the task ([`TaskLock::wipe`]) and restore it.
    ///
    /// [`TaskLock::wipe`]: super::TaskLock::wipe
    #[error("state in {} is damaged: {reason}", path.display())]
    Damaged {
        /// The task's directory.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file system or RocksDB refused something: disk full, no permission, too many files.
    #[error("could not {operation} {}: {reason}", path.display())]
    Io {
        /// What was being done, e.g. `open`.
        operation: &'static str,
        /// The task's directory.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The database was written for another task, another application or by another program.
    #[error("{} does not hold the state of {wanted}: found {found}; delete it", path.display())]
    Foreign {
        /// The task's directory.
        path: PathBuf,
        /// Whose state was wanted, e.g. `task 0_1 of application a`.
        wanted: String,
        /// Whose state it is.
        found: String,
    },
    /// A newer release wrote the database.
    #[error(
        "state in {} has format {found}, this release knows {known}: run the newer release, or \
         delete the directory to restore its contents from the changelogs",
        path.display()
    )]
    Newer {
        /// The task's directory.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The newest version that this release knows.
        known: u64,
    },
    /// A store of the same name was of another kind when the database was written.
    #[error(
        "store {store} in {} is {found}, the topology says {wanted}: give the store another name, \
         or delete the directory and the changelog topic",
        path.display()
    )]
    StoreChanged {
        /// The store's name.
        store: String,
        /// The task's directory.
        path: PathBuf,
        /// What the database holds.
        found: String,
        /// What the topology declares.
        wanted: String,
    },
    /// The database is ahead of what the group committed: topics or offsets were reset (INV-2).
    #[error(
        "state in {} is ahead of what is committed: {what}; topics or offsets were reset, wipe the \
         task to restore it from its changelogs",
        path.display()
    )]
    AheadOfCommitted {
        /// The task's directory.
        path: PathBuf,
        /// Which position is ahead of which.
        what: String,
    },
    /// A changelog holds what its store can't.
    #[error("could not restore into {}: {cause}", path.display())]
    Changelog {
        /// The task's directory.
        path: PathBuf,
        /// What is wrong, with the store's name.
        #[source]
        cause: StoreError,
    },
    /// An earlier write failed, so that it is not known what the database holds.
    #[error("an earlier write to {} failed: close the task and open it again", path.display())]
    Failed {
        /// The task's directory.
        path: PathBuf,
    },
    /// The directory around it can't be used.
    #[error(transparent)]
    Directory(#[from] StateDirectoryError),
}

impl StorageError {
    /// Returns whether the task has to be wiped and restored.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Makes the error of changelog records that can't be replayed: damage if it is the database
    /// that they do not go with.
    pub(super) fn replay(path: &Path) -> impl FnOnce(StoreError) -> Self {
        let path = path.to_owned();
        move |cause| match cause {
            StoreError::ForeignKey { .. } | StoreError::Storage { .. } => {
                Self::Changelog { path, cause }
            }
            damaged => Self::Damaged { path, reason: damaged.to_string() },
        }
    }

    /// Makes the error of a failed operation: damage if RocksDB says so, else the system's fault.
    pub(super) fn rocks(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(rocksdb::Error) -> Self {
        let path = path.to_owned();
        move |cause| {
            let reason = cause.to_string();
            // inside a database directory only RocksDB removes files
            if cause.kind() == rocksdb::ErrorKind::Corruption || reason.contains("No such file") {
                return Self::Damaged { path, reason };
            }
            Self::Io { operation, path, reason }
        }
    }
}
