//! The mark on disk: no revision above it was ever given out.
//!
//! `<directory>/revisions.json` is replaced as a whole: a new file is written and flushed, then
//! renamed over the old one. `<directory>/.lock` keeps a second generator away; the operating
//! system frees it however the process ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tidemill_core::revision::text;

use super::RevisionGeneratorError;

const FORMAT_VERSION: u64 = 1;
const FILE: &str = "revisions.json";
const TEMPORARY: &str = "revisions.json.tmp";
const LOCK_FILE: &str = ".lock";

/// A version number is read before anything else is expected.
#[derive(Deserialize)]
struct Versioned {
    format_version: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format_version: u64,
    node: Option<u16>,
    #[serde(with = "text")]
    mark: i64,
}

/// The file of a mark, locked.
#[derive(Debug)]
pub(super) struct MarkFile {
    directory: PathBuf,
    node: Option<u16>,
    /// Held for its lock.
    _lock: File,
}

impl MarkFile {
    /// Locks the directory, which is made if there is none, and reads the mark; `None` if it is
    /// new.
    pub(super) fn open(
        directory: &Path,
        node: Option<u16>,
    ) -> Result<(Self, Option<i64>), RevisionGeneratorError> {
        fs::create_dir_all(directory).map_err(RevisionGeneratorError::io("make", directory))?;
        let lock = lock(directory)?;
        let file = Self { directory: directory.to_owned(), node, _lock: lock };
        let mark = file.read()?;
        Ok((file, mark))
    }

    fn read(&self) -> Result<Option<i64>, RevisionGeneratorError> {
        let path = self.directory.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(RevisionGeneratorError::io("read", &path)(cause)),
        };
        let unreadable = |reason: String| {
            let path = path.clone();
            RevisionGeneratorError::Unreadable { path, reason }
        };
        let versioned: Versioned =
            serde_json::from_slice(&text).map_err(|cause| unreadable(cause.to_string()))?;
        if versioned.format_version > FORMAT_VERSION {
            let (found, known) = (versioned.format_version, FORMAT_VERSION);
            return Err(RevisionGeneratorError::Newer { path, found, known });
        }
        let contents: Contents =
            serde_json::from_slice(&text).map_err(|cause| unreadable(cause.to_string()))?;
        if contents.mark < 0 {
            return Err(unreadable(format!("{} is no mark", contents.mark)));
        }
        if contents.node != self.node {
            let whose = |node: Option<u16>| match node {
                Some(node) => format!("node {node}"),
                None => "a generator without a node".to_owned(),
            };
            let (found, wanted) = (whose(contents.node), whose(self.node));
            return Err(RevisionGeneratorError::OtherNode { path, found, wanted });
        }
        Ok(Some(contents.mark))
    }

    /// Stores a mark. It is on disk when this returns.
    pub(super) fn store(&mut self, mark: i64) -> Result<(), RevisionGeneratorError> {
        let contents = Contents { format_version: FORMAT_VERSION, node: self.node, mark };
        let text = serde_json::to_vec(&contents).expect("a mark is plain data");
        let (temporary, file) = (self.directory.join(TEMPORARY), self.directory.join(FILE));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let write = || {
            // left over if a process died here
            match fs::remove_file(&temporary) {
                Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
            let mut open = options.open(&temporary)?;
            open.write_all(&text)?;
            open.sync_all()?;
            fs::rename(&temporary, &file)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(RevisionGeneratorError::io("write", &file))
    }
}

fn lock(directory: &Path) -> Result<File, RevisionGeneratorError> {
    let path = directory.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(RevisionGeneratorError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(RevisionGeneratorError::InUse { path: directory.to_owned() })
        }
        Err(TryLockError::Error(cause)) => Err(RevisionGeneratorError::io("lock", &path)(cause)),
    }
}
