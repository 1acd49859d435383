//! INV-10: damaged contents are told apart from trouble with the file system, and never used.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;
use tidemill::storage::{OpenOutcome, RocksStorage, StateDirectory, StorageError, TaskDb};
use tidemill_core::store::{Order, StoreError, TaskStorage};

use super::{APPLICATION, PLAIN, commit, open_storage, open_with, shared, specs, task};

const ENTRIES: u32 = 3_000;

fn value(i: u32) -> Vec<u8> {
    i.wrapping_mul(0x9e37_79b9).to_be_bytes().repeat(8)
}

/// Writes entries into table files and returns the task's directory.
fn written(state_dir: &Path) -> PathBuf {
    let mut storage = open_storage(state_dir);
    for i in 0..ENTRIES {
        storage.stage(PLAIN, &i.to_be_bytes(), Some(&value(i)));
    }
    commit(&mut storage);
    storage.db().flush().unwrap();
    storage.db().path().to_owned()
}

fn files(path: &Path, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|file| file.extension() == Some(extension.as_ref())).collect();
    files.sort();
    files
}

fn is_damage(error: &StoreError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<StorageError>());
    cause.is_some_and(StorageError::is_damage)
}

/// Reads every entry both ways; the contents are right or the error says that they are damaged.
fn right_or_damaged(storage: &RocksStorage) -> Result<(), StoreError> {
    use std::ops::Bound::Unbounded;
    for i in 0..ENTRIES {
        let mut right = false;
        storage.get(PLAIN, &i.to_be_bytes(), &mut |found| right = found == value(i))?;
        assert!(right, "wrong or no value of {i}");
    }
    let all = storage.scan(PLAIN, (Unbounded, Unbounded), Order::Ascending, usize::MAX)?;
    assert_eq!(all.len(), ENTRIES as usize);
    Ok(())
}

#[test]
fn a_bit_flipped_in_a_table_file_is_never_read_as_data() {
    let dir = tempdir().unwrap();
    let path = written(dir.path());
    let (mut at_open, mut at_read, mut harmless) = (0, 0, 0);
    for file in files(&path, "sst") {
        let whole = fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 40 + 1).chain([whole.len() - 1]) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&file, flipped).unwrap();
            match open_with(dir.path(), &specs()) {
                OpenOutcome::Ready(db) => {
                    match right_or_damaged(&RocksStorage::new(&db).unwrap()) {
                        Ok(()) => harmless += 1,
                        Err(error) => {
                            assert!(is_damage(&error), "{error}");
                            at_read += 1;
                        }
                    }
                }
                OpenOutcome::Damaged { .. } => at_open += 1,
                OpenOutcome::Fresh(_) => panic!("taken for new"),
            }
        }
        fs::write(&file, whole).unwrap();
    }
    println!("noticed at open: {at_open}, when read: {at_read}, without effect: {harmless}");
    assert!(at_open > 0 && at_read > 0);
}

/// Damages a task's directory, and checks that it is found damaged, wiped, and fresh after that.
fn damaged_then_fresh(damage: impl Fn(&Path)) -> String {
    let dir = tempdir().unwrap();
    damage(&written(dir.path()));
    let directory = StateDirectory::open(dir.path(), APPLICATION).unwrap();
    let lock = directory.acquire_task(task()).unwrap();
    let OpenOutcome::Damaged { reason, lock } = TaskDb::open(&shared(), lock, &specs()).unwrap()
    else {
        panic!("not noticed");
    };
    lock.wipe().unwrap();
    assert!(matches!(TaskDb::open(&shared(), lock, &specs()), Ok(OpenOutcome::Fresh(_))));
    reason
}

#[test]
fn a_missing_current_file_is_damage() {
    let reason = damaged_then_fresh(|path| fs::remove_file(path.join("CURRENT")).unwrap());
    assert!(reason.contains("no CURRENT"), "{reason}");
}

#[test]
fn garbage_in_the_current_file_is_damage() {
    for garbage in ["", "MANIFEST", "MANIFEST-000099\n", "\0\0\0\0", "../../elsewhere\n"] {
        damaged_then_fresh(|path| fs::write(path.join("CURRENT"), garbage).unwrap());
    }
}

fn manifest(path: &Path) -> PathBuf {
    let current = fs::read_to_string(path.join("CURRENT")).unwrap();
    path.join(current.trim())
}

#[test]
fn a_missing_empty_or_garbled_rocksdb_manifest_is_damage() {
    damaged_then_fresh(|path| fs::remove_file(manifest(path)).unwrap());
    damaged_then_fresh(|path| fs::write(manifest(path), "").unwrap());
    damaged_then_fresh(|path| {
        let mut bytes = fs::read(manifest(path)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(manifest(path), bytes).unwrap();
    });
}

#[test]
fn a_missing_or_truncated_table_file_is_damage() {
    damaged_then_fresh(|path| fs::remove_file(&files(path, "sst")[0]).unwrap());
    damaged_then_fresh(|path| {
        let file = &files(path, "sst")[0];
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    });
}

#[test]
fn a_file_in_the_place_of_a_task_is_an_error_that_names_it() {
    let dir = tempdir().unwrap();
    let directory = StateDirectory::open(dir.path(), APPLICATION).unwrap();
    fs::write(directory.task_path(task()), "").unwrap();
    let lock = directory.acquire_task(task()).unwrap();
    let error = TaskDb::open(&shared(), lock, &specs()).unwrap_err().to_string();
    assert!(error.contains("accounts/0_1 is not safe to keep state in: it is not a directory"));
}

#[test]
fn inv_10_a_database_of_another_task_is_refused() {
    let dir = tempdir().unwrap();
    let path = written(dir.path());
    fs::rename(&path, path.with_file_name("0_2")).unwrap();
    let directory = StateDirectory::open(dir.path(), APPLICATION).unwrap();
    let other = "0_2".parse().unwrap();
    let lock = directory.acquire_task(other).unwrap();
    let error = TaskDb::open(&shared(), lock, &specs()).unwrap_err();
    assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("task 0_2 of application accounts: found task 0_1 of"), "{text}");
}
