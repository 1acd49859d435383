//! The lock that keeps a second broker away from a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::JournalError;

/// The file that is locked. It is never deleted: a lock on a deleted file keeps nobody away.
const LOCK_FILE: &str = ".lock";

/// Takes the lock of `directory`. The operating system frees it when the file is closed, however
/// the process ends.
pub(super) fn acquire(directory: &Path) -> Result<File, JournalError> {
    let path = directory.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.open(&path).map_err(JournalError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse(directory.to_owned())),
        Err(TryLockError::Error(cause)) => Err(JournalError::io("lock", &path)(cause)),
    }
}
