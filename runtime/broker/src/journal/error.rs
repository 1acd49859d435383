//! Why a data directory can't be used.

use std::io;
use std::path::{Path, PathBuf};

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another broker works in the directory. Stop it, or take another directory.
    #[error("{} is in use by another broker: stop it, or use another directory", .0.display())]
    InUse(PathBuf),
    /// The journal is damaged in the middle. Nothing was changed; restore the file, or remove it to
    /// start with nothing.
    #[error(
        "{} is damaged at byte {offset}: {reason}; restore the file, or remove it to start with \
         nothing", .path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damaged frame begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The file was written by another version, or by something else.
    #[error(
        "{} is not a journal of this version of the broker: use the version that wrote it, or \
         remove it to start with nothing", .0.display()
    )]
    Foreign(PathBuf),
    /// An entry that no frame can hold.
    #[error("an entry can't be written: {0}")]
    Entry(String),
    /// Writing failed before; what happened since is not in the file.
    #[error("{} could not be written before; start the broker again", .0.display())]
    Broken(PathBuf),
    /// The system refuses something.
    #[error("can't {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl JournalError {
    /// Says what was tried on which file.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
