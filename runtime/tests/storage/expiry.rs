//! What expired is gone from RocksDB, and nothing that lives is read for it.

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::tempdir;
use tidemill::storage::{OpenOutcome, RocksStorage, StorageError, TaskDb, audit};
use tidemill_core::record::Offset;
use tidemill_core::store::{
    Segments, StoreError, StoreIndex, StoreKind, StoreSpec, StoredWrite, TaskStorage, WindowSpec,
};

use super::{checkpoint, commit, open_with};

const MINUTE: i64 = 60_000;
const WINDOWS: StoreIndex = StoreIndex(0);

fn specs() -> Vec<StoreSpec> {
    let segments = Segments::of_retention(2 * MINUTE);
    let windows = WindowSpec { size_ms: 10, segments, retain_duplicates: false };
    vec![StoreSpec::new("windows", StoreKind::TimestampedWindow(windows))]
}

fn open(state_dir: &Path) -> TaskDb {
    match open_with(state_dir, &specs()) {
        OpenOutcome::Ready(db) | OpenOutcome::Fresh(db) => db,
        OpenOutcome::Damaged { reason, .. } => panic!("damaged: {reason}"),
    }
}

/// The changelog key of a window.
fn key(name: &str, start: i64) -> Vec<u8> {
    [name.as_bytes(), &start.to_be_bytes(), &[0; 4]].concat()
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

/// The fold of a changelog, by the same rules in a plain map.
fn fold(records: &[(Vec<u8>, i64)]) -> Contents {
    let mut contents = Contents::new();
    let records = records.iter().map(|(key, at)| (&**key, Some(&b"value"[..]), *at));
    let folded = specs()[0].replay(&Contents::new(), records, &mut |write| match write {
        StoredWrite::Put(key, value) => drop(contents.insert(key.to_vec(), value.to_vec())),
        StoredWrite::Delete(key) => drop(contents.remove(key)),
        StoredWrite::DeleteRange(from, to) => {
            contents.retain(|key, _| **key < *from || **key >= *to);
        }
    });
    folded.unwrap();
    contents
}

fn entries(state_dir: &Path) -> Contents {
    let path = state_dir.join(super::APPLICATION).join("0_1");
    audit::dump(&path).unwrap().stores.remove("windows").unwrap()
}

/// Windows of some keys, a minute further each round.
fn rounds(rounds: i64) -> Vec<(Vec<u8>, i64)> {
    let round = |minute: i64| {
        (0..100).map(move |n| (key(&format!("key-{n}"), minute * MINUTE + n), minute * MINUTE))
    };
    (0..rounds).flat_map(round).collect()
}

fn restore(db: &TaskDb, records: &[(Vec<u8>, i64)], from: usize, bulk: bool) {
    let mut restorer = db.restorer().unwrap();
    if bulk {
        restorer.begin_bulk().unwrap();
    }
    let mut offset = i64::try_from(from).unwrap();
    for batch in records[from..].chunks(70) {
        offset += i64::try_from(batch.len()).unwrap();
        let batch = batch.iter().map(|(key, at)| (&**key, Some(&b"value"[..]), *at));
        restorer.apply(WINDOWS, batch, Offset(offset)).unwrap();
    }
    drop(restorer.finish(BTreeMap::new(), 0).unwrap());
}

#[test]
fn after_restoring_what_expired_is_gone_however_it_was_restored() {
    let records = rounds(20);
    let expected = fold(&records);
    assert_eq!(expected.len(), 301, "three segments and the clock");
    for (first, bulk) in [(2000, false), (2000, true), (730, false), (730, true)] {
        let dir = tempdir().unwrap();
        let db = open(dir.path());
        restore(&db, &records[..first], 0, bulk);
        drop(db);
        let db = open(dir.path());
        restore(&db, &records, first, bulk);
        drop(db);
        assert_eq!(entries(dir.path()), expected, "{first} {bulk}");
    }
}

#[test]
fn inv_3_an_expiry_arrives_with_its_commit_or_not_at_all() {
    let dir = tempdir().unwrap();
    let db = open(dir.path());
    restore(&db, &rounds(3), 0, false);
    let before = entries_after(db, dir.path());
    let mut storage = RocksStorage::new(&open(dir.path())).unwrap();
    let (from, to) = (segment(0), segment(2));
    storage.stage_delete_range(WINDOWS, &from, &to);
    storage.discard();
    storage.publish(checkpoint(1), super::proof()).unwrap();
    assert_eq!(entries_after(storage, dir.path()), before, "a discarded expiry arrived");
    let mut storage = RocksStorage::new(&open(dir.path())).unwrap();
    storage.stage(WINDOWS, &[&from[..], b"x"].concat(), Some(b"staged before the range"));
    storage.stage_delete_range(WINDOWS, &from, &to);
    commit(&mut storage);
    let after = entries_after(storage, dir.path());
    assert_eq!(after.len(), 101, "the last segment and the clock");
    assert!(after.iter().all(|(key, value)| before.get(key) == Some(value)));
}

#[test]
fn a_changelog_record_that_is_no_window_is_refused_by_name() {
    let dir = tempdir().unwrap();
    let mut restorer = open(dir.path()).restorer().unwrap();
    let error = restorer.apply(WINDOWS, [(&b"k"[..], None, 0)], Offset(1)).unwrap_err();
    let StorageError::Changelog { cause: StoreError::ForeignKey { store, .. }, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(store, "windows");
}

fn entries_after<T>(open: T, state_dir: &Path) -> Contents {
    drop(open);
    entries(state_dir)
}

fn segment(number: u64) -> [u8; 8] {
    (number + (1 << 63)).to_be_bytes()
}
