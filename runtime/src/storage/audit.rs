//! Reading the database of a stopped task from outside, to check it against its changelogs.
//!
//! The auditor compares [`TaskDump::stores`] with the fold of each changelog up to the position in
//! [`TaskDump::checkpoint`] (INV-2). It opens read-only and changes nothing, not even the torn
//! tail of the log.

use std::collections::BTreeMap;
use std::path::Path;

use rocksdb::{DB, IteratorMode, Options};
use tidemill_core::store::Checkpoint;

use super::StorageError;
use super::task_db::{family_name, read_checkpoint, store_of_family};

/// The entries of one store: key and stored value, in byte order.
pub type StoreDump = BTreeMap<Vec<u8>, Vec<u8>>;

/// Everything a task has on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskDump {
    /// What the contents correspond to.
    pub checkpoint: Checkpoint,
    /// The entries of each store.
    pub stores: BTreeMap<String, StoreDump>,
}

/// Reads the database in a task's directory, `<state.dir>/<application.id>/<task>`. All of it is
/// held in memory.
///
/// # Errors
/// If there is none, or it is damaged.
pub fn dump(path: &Path) -> Result<TaskDump, StorageError> {
    let failed = || StorageError::rocks("read", path);
    let options = Options::default();
    let families = DB::list_cf(&options, path).map_err(failed())?;
    let db = DB::open_cf_for_read_only(&options, path, &families, false).map_err(failed())?;
    let checkpoint = read_checkpoint(&db, path)?;
    let mut stores = BTreeMap::new();
    for store in families.iter().filter_map(|family| store_of_family(family)) {
        let family = db.cf_handle(&family_name(store)).expect("every listed family was opened");
        let mut entries = StoreDump::new();
        for entry in db.iterator_cf(family, IteratorMode::Start) {
            let (key, value) = entry.map_err(failed())?;
            entries.insert(key.into_vec(), value.into_vec());
        }
        stores.insert(store.to_owned(), entries);
    }
    Ok(TaskDump { checkpoint, stores })
}
