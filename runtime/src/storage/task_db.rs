//! The database of one task: opening it, checking whose it is, and who may write it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, FlushOptions, IteratorMode, WriteBatch, WriteOptions,
};
use tidemill_core::record::TaskId;
use tidemill_core::store::{Checkpoint, StoreIndex, StoreSpec};
use tracing::warn;

use super::encoding::{self, DecodeError};
use super::manifest::TaskManifest;
use super::rocks::bulk_options;
use super::seam::OpenOutcome;
use super::{Restorer, SharedRocks, StorageError, TaskLock};

/// The family that holds manifest and checkpoint.
pub(super) const META: &str = rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
pub(super) const MANIFEST_KEY: &[u8] = b"manifest";
pub(super) const CHECKPOINT_KEY: &[u8] = b"checkpoint";
const FAMILY_PREFIX: &str = "store/";

/// Returns the name of the family of a store.
pub(super) fn family_name(store: &str) -> String {
    format!("{FAMILY_PREFIX}{store}")
}

/// Returns the store of a family.
pub(super) fn store_of_family(family: &str) -> Option<&str> {
    family.strip_prefix(FAMILY_PREFIX)
}

/// The database of one task, with the ownership of its directory. Cloning is cheap; it is closed
/// when the last clone is gone. Reading is open to any thread; writing goes through the one
/// [`Restorer`] or [`RocksStorage`](super::RocksStorage).
#[derive(Clone)]
pub struct TaskDb {
    inner: Arc<Inner>,
}

struct Inner {
    db: DB,
    path: PathBuf,
    stores: Vec<StoreSpec>,
    /// For each of `stores`: its family.
    families: Vec<String>,
    /// Somebody may write.
    claimed: AtomicBool,
    /// Written without the log and not flushed yet.
    unlogged: AtomicBool,
    /// Dropped after `db` is closed.
    lock: TaskLock,
}

impl fmt::Debug for TaskDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskDb").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl TaskDb {
    /// Opens or creates the database of the task that `lock` owns. `stores` are the sub-topology's,
    /// in the order of their [`StoreIndex`]. Stores that the topology no longer has are dropped;
    /// new ones are empty and have no position. Opening replays at most 64 MiB of log.
    ///
    /// # Errors
    /// If the database is of another task, of a newer release, or holds a store of another kind;
    /// if the file system refuses. Damage is an outcome, not an error.
    pub fn open(
        shared: &SharedRocks,
        lock: TaskLock,
        stores: &[StoreSpec],
    ) -> Result<OpenOutcome, StorageError> {
        let path = lock.path();
        lock.create()?;
        let opened = open_database(shared, &path, stores).and_then(|(mut db, existing)| {
            let manifest = TaskManifest::new(lock.application_id(), lock.task_id(), stores);
            let known = reconcile(shared, &mut db, &path, &existing, &manifest)?;
            read_checkpoint(&db, &path)?;
            Ok((db, known))
        });
        let (db, known) = match opened {
            Ok(opened) => opened,
            Err(StorageError::Damaged { reason, .. }) => {
                return Ok(OpenOutcome::Damaged { reason, lock });
            }
            Err(error) => return Err(error),
        };
        let inner = Inner {
            db,
            path,
            stores: stores.to_vec(),
            families: stores.iter().map(|spec| family_name(&spec.name)).collect(),
            claimed: AtomicBool::new(false),
            unlogged: AtomicBool::new(false),
            lock,
        };
        let db = Self { inner: Arc::new(inner) };
        Ok(if known { OpenOutcome::Ready(db) } else { OpenOutcome::Fresh(db) })
    }

    /// Returns the task.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.inner.lock.task_id()
    }

    /// Returns where the database is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the stores, in the order of their [`StoreIndex`].
    #[must_use]
    pub fn stores(&self) -> &[StoreSpec] {
        &self.inner.stores
    }

    /// Reads what the contents correspond to.
    ///
    /// # Errors
    /// If it can't be read, or not be trusted.
    pub fn read_checkpoint(&self) -> Result<Checkpoint, StorageError> {
        read_checkpoint(&self.inner.db, &self.inner.path)
    }

    /// Starts restoring: makes the caller the one writer.
    ///
    /// # Errors
    /// As [`TaskDb::read_checkpoint`].
    ///
    /// # Panics
    /// If there is a writer already (INV-10).
    pub fn restorer(&self) -> Result<Restorer, StorageError> {
        Restorer::new(self.claim())
    }

    /// Writes everything in memory to table files, synced: the next open has no log to replay.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn flush(&self) -> Result<(), StorageError> {
        let db = &self.inner.db;
        let stores = (0..).zip(&self.inner.stores).map(|(index, _)| self.family(StoreIndex(index)));
        let families: Vec<&ColumnFamily> = std::iter::once(meta(db)).chain(stores).collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families: Vec<_> = families.iter().collect();
        db.flush_cfs_opt(&families, &options)
            .map_err(StorageError::rocks("flush", &self.inner.path))?;
        self.inner.unlogged.store(false, Ordering::Release);
        Ok(())
    }

    pub(super) fn db(&self) -> &DB {
        &self.inner.db
    }

    /// Returns the family of a store.
    ///
    /// # Panics
    /// If the task has no such store: a bug of the caller.
    pub(super) fn family(&self, store: StoreIndex) -> &ColumnFamily {
        let name = self.inner.families.get(store.0 as usize);
        let name = name.unwrap_or_else(|| panic!("task {} has no {store:?}", self.task_id()));
        self.inner.db.cf_handle(name).expect("the family of each store is open")
    }

    pub(super) fn spec(&self, store: StoreIndex) -> &StoreSpec {
        &self.inner.stores[store.0 as usize]
    }

    /// Gives the space of a deleted range back: table files that lie in it as a whole go at once,
    /// the rest when it is compacted.
    pub(super) fn give_back(&self, store: StoreIndex, from: &[u8], to: &[u8]) {
        let family = self.family(store);
        if let Err(error) = self.inner.db.delete_file_in_range_cf(family, from, to) {
            // the entries are deleted all the same
            warn!(%error, store = self.spec(store).name, "could not drop files of expired entries");
        }
    }

    /// Makes the caller the one writer.
    ///
    /// # Panics
    /// If there is one already (INV-10).
    pub(super) fn claim(&self) -> Writer {
        let taken = self.inner.claimed.swap(true, Ordering::AcqRel);
        assert!(!taken, "INV-10: task {} has a writer already", self.task_id());
        Writer { db: self.clone(), encoded: Vec::new(), bulk: false }
    }
}

/// The right to write a task's database, until it is dropped (INV-10).
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) db: TaskDb,
    encoded: Vec<u8>,
    /// Compaction is put off.
    bulk: bool,
}

impl Writer {
    /// Writes contents and checkpoint in one atomic batch (INV-3), through the log.
    pub(super) fn write_logged(
        &mut self,
        batch: WriteBatch,
        checkpoint: &Checkpoint,
    ) -> Result<(), StorageError> {
        // a logged checkpoint must not survive the unlogged contents that it counts on
        if self.is_unlogged() {
            self.db.flush()?;
        }
        self.write(batch, checkpoint, &WriteOptions::default())
    }

    /// As [`Writer::write_logged`], but gone with the process until it is flushed.
    pub(super) fn write_unlogged(
        &mut self,
        batch: WriteBatch,
        checkpoint: &Checkpoint,
    ) -> Result<(), StorageError> {
        self.db.inner.unlogged.store(true, Ordering::Release);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.write(batch, checkpoint, &options)
    }

    /// Puts off compaction until [`Writer::end_bulk`].
    pub(super) fn begin_bulk(&mut self) -> Result<(), StorageError> {
        self.bulk = true;
        self.set_bulk_options(true)
    }

    pub(super) fn end_bulk(&mut self) -> Result<(), StorageError> {
        if self.bulk {
            self.set_bulk_options(false)?;
            self.bulk = false;
        }
        Ok(())
    }

    pub(super) fn is_bulk(&self) -> bool {
        self.bulk
    }

    fn set_bulk_options(&self, bulk: bool) -> Result<(), StorageError> {
        let options = bulk_options(bulk);
        let options = options.each_ref().map(|(name, value)| (*name, value.as_str()));
        for (index, _) in (0..).zip(self.db.stores()) {
            let set = self.db.db().set_options_cf(self.db.family(StoreIndex(index)), &options);
            set.map_err(StorageError::rocks("set options of", self.db.path()))?;
        }
        Ok(())
    }

    /// Returns whether something written waits for a flush.
    pub(super) fn is_unlogged(&self) -> bool {
        self.db.inner.unlogged.load(Ordering::Acquire)
    }

    fn write(
        &mut self,
        mut batch: WriteBatch,
        checkpoint: &Checkpoint,
        options: &WriteOptions,
    ) -> Result<(), StorageError> {
        self.encoded.clear();
        encoding::encode(checkpoint, &mut self.encoded);
        assert!(
            encoding::decode(&self.encoded).is_ok_and(|decoded| decoded == *checkpoint),
            "INV-3: the batch would say something else than {checkpoint:?}",
        );
        batch.put_cf(meta(self.db.db()), CHECKPOINT_KEY, &self.encoded);
        self.db
            .db()
            .write_opt(batch, options)
            .map_err(StorageError::rocks("write", &self.db.inner.path))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Err(error) = self.end_bulk() {
            warn!(%error, "compaction stays put off until the task is opened again");
        }
        self.db.inner.claimed.store(false, Ordering::Release);
    }
}

/// Opens or creates the database with all its families, and returns those that existed.
fn open_database(
    shared: &SharedRocks,
    path: &Path,
    stores: &[StoreSpec],
) -> Result<(DB, BTreeSet<String>), StorageError> {
    let options = shared.database_options(path);
    let existing: BTreeSet<String> = if is_database(path)? {
        let listed = DB::list_cf(&options, path);
        listed.map_err(StorageError::rocks("open", path))?.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    let wanted = stores.iter().map(|spec| family_name(&spec.name));
    let families: BTreeSet<String> =
        existing.iter().cloned().chain([META.to_owned()]).chain(wanted).collect();
    let descriptors =
        families.into_iter().map(|name| ColumnFamilyDescriptor::new(name, shared.family_options()));
    let db = DB::open_cf_descriptors(&options, path, descriptors)
        .map_err(StorageError::rocks("open", path))?;
    Ok((db, existing))
}

/// Returns whether there is a database at all.
fn is_database(path: &Path) -> Result<bool, StorageError> {
    let failed = |cause: std::io::Error| StorageError::Io {
        operation: "read",
        path: path.to_owned(),
        reason: cause.to_string(),
    };
    if path.join("CURRENT").try_exists().map_err(failed)? {
        return Ok(true);
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.starts_with("MANIFEST-") || name.ends_with(".sst") || name.ends_with(".log") {
            let (path, reason) = (path.to_owned(), format!("there is {name}, but no CURRENT"));
            return Err(StorageError::Damaged { path, reason });
        }
    }
    Ok(false)
}

/// Checks whose database it is and brings its families in line with the topology. Returns whether
/// it was known, that is, not new.
///
/// # If stopped here
/// A family that the manifest does not name is dropped by the next open; the checkpoint never names
/// a store whose family may be gone.
fn reconcile(
    shared: &SharedRocks,
    db: &mut DB,
    path: &Path,
    existing: &BTreeSet<String>,
    wanted: &TaskManifest,
) -> Result<bool, StorageError> {
    let failed = || StorageError::rocks("open", path);
    let found = match db.get_pinned(MANIFEST_KEY).map_err(failed())? {
        Some(bytes) => Some(TaskManifest::decode(path, &bytes)?),
        None => None,
    };
    match &found {
        Some(found) => found.admits(wanted, path)?,
        None => refuse_foreign(db, path, existing)?,
    }
    let named = |family: &str| {
        let store = store_of_family(family);
        store.is_some_and(|store| found.iter().any(|found| found.stores.contains_key(store)))
    };
    for store in found.iter().flat_map(|found| found.stores.keys()) {
        if !existing.contains(&family_name(store)) {
            let (path, reason) = (path.to_owned(), format!("store {store} is missing"));
            return Err(StorageError::Damaged { path, reason });
        }
    }
    for family in existing.iter().filter(|family| *family != META && !named(family)) {
        // an earlier open stopped half-way: whatever is in there has no position
        db.drop_cf(family).map_err(failed())?;
        if store_of_family(family).is_some_and(|store| wanted.stores.contains_key(store)) {
            db.create_cf(family, &shared.family_options()).map_err(failed())?;
        }
    }
    if found.as_ref() == Some(wanted) {
        return Ok(true);
    }
    let mut checkpoint = read_checkpoint(db, path)?;
    checkpoint.changelogs.retain(|store, _| wanted.stores.contains_key(store));
    write_manifest(db, wanted, &checkpoint).map_err(failed())?;
    for store in found.iter().flat_map(|found| found.stores.keys()) {
        if !wanted.stores.contains_key(store) {
            warn!(store, path = %path.display(), "dropping a store that the topology has no more");
            db.drop_cf(&family_name(store)).map_err(failed())?;
        }
    }
    Ok(found.is_some())
}

/// A database without manifest is new if it is empty, else it is not ours.
fn refuse_foreign(db: &DB, path: &Path, existing: &BTreeSet<String>) -> Result<(), StorageError> {
    for family in existing {
        let handle = db.cf_handle(family).expect("every existing family was opened");
        if let Some(entry) = db.iterator_cf(handle, IteratorMode::Start).next() {
            entry.map_err(StorageError::rocks("open", path))?;
            let (path, wanted) = (path.to_owned(), "a task".to_owned());
            let found = format!("a database without manifest, with entries in family {family}");
            return Err(StorageError::Foreign { path, wanted, found });
        }
    }
    Ok(())
}

fn write_manifest(
    db: &DB,
    manifest: &TaskManifest,
    checkpoint: &Checkpoint,
) -> Result<(), rocksdb::Error> {
    let mut encoded = Vec::new();
    encoding::encode(checkpoint, &mut encoded);
    let mut batch = WriteBatch::default();
    batch.put_cf(meta(db), MANIFEST_KEY, manifest.encode());
    batch.put_cf(meta(db), CHECKPOINT_KEY, encoded);
    let mut options = WriteOptions::default();
    options.set_sync(true);
    db.write_opt(batch, &options)
}

pub(super) fn read_checkpoint(db: &DB, path: &Path) -> Result<Checkpoint, StorageError> {
    let bytes = db.get_pinned_cf(meta(db), CHECKPOINT_KEY);
    let Some(bytes) = bytes.map_err(StorageError::rocks("read", path))? else {
        return Ok(Checkpoint::default());
    };
    encoding::decode(&bytes).map_err(|cause| match cause {
        DecodeError::Newer(found) => {
            let known = super::manifest::FORMAT_VERSION;
            StorageError::Newer { path: path.to_owned(), found: u64::from(found), known }
        }
        _ => StorageError::Damaged { path: path.to_owned(), reason: cause.to_string() },
    })
}

fn meta(db: &DB) -> &ColumnFamily {
    db.cf_handle(META).expect("the default family is always open")
}
