//! Who wrote a state directory or a task's database, so that nobody else's is ever used (INV-10).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tidemill_core::record::TaskId;
use tidemill_core::store::{StoreKind, StoreSpec};

use super::lock::LOCK_FILE;
use super::{StateDirectoryError, StorageError};

/// The format that this release writes, of the directory and of the databases.
pub(super) const FORMAT_VERSION: u64 = 1;

const FILE: &str = "tidemill.json";
const TEMPORARY: &str = "tidemill.json.tmp";

/// A version number is read before anything else is expected.
#[derive(Deserialize)]
struct Versioned {
    format_version: u64,
}

/// The manifest of a state directory, `tidemill.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DirectoryManifest {
    pub(super) format_version: u64,
    pub(super) application_id: String,
    /// Made once: with it a restarted process is itself again.
    pub(super) process_id: String,
}

impl DirectoryManifest {
    /// Reads the manifest of a locked directory; makes one if the directory is new, with the
    /// process id that `new_id` returns.
    pub(super) fn open(
        directory: &Path,
        application_id: &str,
        new_id: impl FnOnce() -> String,
    ) -> Result<Self, StateDirectoryError> {
        refuse_foreign(directory)?;
        let file = directory.join(FILE);
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                return Self::create(directory, application_id, new_id());
            }
            Err(cause) => return Err(StateDirectoryError::io("read", &file)(cause)),
        };
        let unreadable = |reason: String| {
            let file = file.clone();
            StateDirectoryError::UnreadableManifest { file, reason }
        };
        let path = directory.to_owned();
        let versioned: Versioned =
            serde_json::from_slice(&text).map_err(|cause| unreadable(cause.to_string()))?;
        if versioned.format_version > FORMAT_VERSION {
            let (found, known) = (versioned.format_version, FORMAT_VERSION);
            return Err(StateDirectoryError::Newer { path, found, known });
        }
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|cause| unreadable(cause.to_string()))?;
        if manifest.application_id != application_id {
            let (found, wanted) = (manifest.application_id, application_id.to_owned());
            return Err(StateDirectoryError::OtherApplication { path, found, wanted });
        }
        let id = manifest.process_id.as_bytes();
        if id.is_empty() || !id.iter().all(|b| b.is_ascii_hexdigit() || *b == b'-') {
            return Err(unreadable("process_id is not hexadecimal".to_owned()));
        }
        Ok(manifest)
    }

    fn create(
        directory: &Path,
        application_id: &str,
        process_id: String,
    ) -> Result<Self, StateDirectoryError> {
        let application_id = application_id.to_owned();
        let manifest = Self { format_version: FORMAT_VERSION, application_id, process_id };
        let text = serde_json::to_vec_pretty(&manifest).expect("a manifest is plain data");
        let (temporary, file) = (directory.join(TEMPORARY), directory.join(FILE));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let write = || {
            // left over if a process died here; the lock says that nobody writes it now
            match fs::remove_file(&temporary) {
                Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
            let mut open = options.open(&temporary)?;
            open.write_all(&text)?;
            open.sync_all()?;
            fs::rename(&temporary, &file)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(StateDirectoryError::io("write", &file))?;
        Ok(manifest)
    }
}

/// Refuses a directory that has contents but no manifest: nothing in it may be touched.
pub(super) fn refuse_foreign(directory: &Path) -> Result<(), StateDirectoryError> {
    let read = |directory: &Path| -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    };
    // entries before manifest: whoever makes tasks has made the manifest before
    let mut names = read(directory).map_err(StateDirectoryError::io("read", directory))?;
    names.retain(|name| ![LOCK_FILE, FILE, TEMPORARY].contains(&name.as_str()));
    if names.is_empty() || directory.join(FILE).exists() {
        return Ok(());
    }
    let more = if names.len() > 4 { ", .." } else { "" };
    let shown: Vec<_> = names.iter().take(4).map(String::as_str).collect();
    let found = format!("{}{more}", shown.join(", "));
    Err(StateDirectoryError::Foreign { path: directory.to_owned(), found })
}

/// 128 bits that no other process has, in the form of a UUID. `RandomState` is seeded by the
/// operating system.
pub(super) fn random_id() -> String {
    let state = RandomState::new();
    let (a, b) = (state.hash_one(std::process::id()), state.hash_one("tidemill"));
    let text = format!("{a:016x}{b:016x}");
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    parts.join("-")
}

/// The manifest of a task's database, in its family `default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskManifest {
    format_version: u64,
    application_id: String,
    task_id: String,
    /// For each store by name: what it holds.
    pub(super) stores: BTreeMap<String, StoreManifest>,
}

/// What must not change between two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreManifest {
    kind: String,
    logging: bool,
}

impl StoreManifest {
    fn new(spec: &StoreSpec) -> Self {
        Self { kind: kind_name(spec.kind), logging: spec.logging }
    }

    /// Says what it is, e.g. `a key-value store without changelog`.
    fn describe(&self) -> String {
        let changelog = if self.logging { "with" } else { "without" };
        format!("a {} store {changelog} changelog", self.kind)
    }
}

/// The name of a kind on disk. It says all that the layout of keys and values depends on.
fn kind_name(kind: StoreKind) -> String {
    let name = kind.name().replace(" store", "").replace(' ', "-");
    match kind.segments() {
        Some(segments) => format!("{name} in segments of {} ms", segments.interval_ms),
        None => name,
    }
}

impl TaskManifest {
    pub(super) fn new(application_id: &str, task_id: TaskId, stores: &[StoreSpec]) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            application_id: application_id.to_owned(),
            task_id: task_id.to_string(),
            stores: stores
                .iter()
                .map(|spec| (spec.name.clone(), StoreManifest::new(spec)))
                .collect(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a manifest is plain data")
    }

    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, StorageError> {
        let damaged = |cause: serde_json::Error| {
            let (path, reason) = (path.to_owned(), format!("unreadable manifest: {cause}"));
            StorageError::Damaged { path, reason }
        };
        let versioned: Versioned = serde_json::from_slice(bytes).map_err(damaged)?;
        if versioned.format_version > FORMAT_VERSION {
            let (found, known) = (versioned.format_version, FORMAT_VERSION);
            return Err(StorageError::Newer { path: path.to_owned(), found, known });
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// Checks that this, found on disk, may be opened as `wanted`. Stores may come and go.
    pub(super) fn admits(&self, wanted: &Self, path: &Path) -> Result<(), StorageError> {
        let path = path.to_owned();
        let whose = |m: &Self| format!("task {} of application {}", m.task_id, m.application_id);
        if (&self.application_id, &self.task_id) != (&wanted.application_id, &wanted.task_id) {
            return Err(StorageError::Foreign { path, wanted: whose(wanted), found: whose(self) });
        }
        for (name, store) in &wanted.stores {
            if let Some(found) = self.stores.get(name).filter(|found| *found != store) {
                let (store, found, wanted) = (name.clone(), found.describe(), store.describe());
                return Err(StorageError::StoreChanged { store, path, found, wanted });
            }
        }
        Ok(())
    }
}
