//! The lock that keeps a second process away from a state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::StateDirectoryError;

/// The file that is locked. It is never deleted: a lock on a deleted file keeps nobody away.
pub(super) const LOCK_FILE: &str = ".lock";

/// How long to wait for a process that is just dying.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// Takes the lock of `directory`. The operating system frees it when the file is closed, however
/// the process ends.
pub(super) fn acquire(directory: &Path) -> Result<File, StateDirectoryError> {
    let path = directory.join(LOCK_FILE);
    if path.is_symlink() {
        let reason = "it is a symbolic link; remove it".to_owned();
        return Err(StateDirectoryError::Unsafe { path, reason });
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).map_err(StateDirectoryError::io("open", &path))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(StateDirectoryError::InUse { path: directory.to_owned(), holder });
            }
            Err(TryLockError::Error(cause)) => {
                return Err(StateDirectoryError::io("lock", &path)(cause));
            }
        }
    }
}

/// Writes this process's id into the lock's file, for the error message of others.
pub(super) fn sign(file: &mut File, directory: &Path) -> Result<(), StateDirectoryError> {
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(file).map_err(StateDirectoryError::io("write", &directory.join(LOCK_FILE)))
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(id) if id == std::process::id() => format!("this process ({id})"),
        Some(id) => format!("process {id}"),
        None => "another process".to_owned(),
    }
}
