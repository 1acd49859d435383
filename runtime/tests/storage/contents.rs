//! What a task's database holds: one batch, never ahead, the same as a model; restoring.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;
use tempfile::tempdir;
use tidemill::storage::audit;
use tidemill::storage::{OpenOutcome, RocksStorage, StorageError, TaskDb};
use tidemill_core::record::{Offset, StreamTime, Timestamp};
use tidemill_core::store::{
    Checkpoint, InputPosition, MemoryStorage, Order, StoreKind, StoreSpec, TaskStorage,
};

use super::{
    PLAIN, TIMED, all, checkpoint, commit, get, open, open_storage, open_with, proof, source, specs,
};

#[test]
fn staged_writes_are_not_read_before_they_are_published() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    storage.stage(PLAIN, b"a", Some(b"1"));
    assert_eq!(get(&storage, PLAIN, b"a"), None);
    commit(&mut storage);
    assert_eq!(get(&storage, PLAIN, b"a").as_deref(), Some(&b"1"[..]));
}

#[test]
fn discarded_writes_never_arrive() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    storage.stage(PLAIN, b"a", Some(b"1"));
    storage.discard();
    storage.stage(PLAIN, b"b", Some(b"2"));
    commit(&mut storage);
    assert_eq!(get(&storage, PLAIN, b"a"), None);
    assert_eq!(get(&storage, PLAIN, b"b").as_deref(), Some(&b"2"[..]));
}

#[test]
fn an_empty_value_is_not_a_deletion() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    storage.stage(PLAIN, b"", Some(b""));
    commit(&mut storage);
    assert_eq!(get(&storage, PLAIN, b"").as_deref(), Some(&b""[..]));
    storage.stage(PLAIN, b"", None);
    commit(&mut storage);
    assert_eq!(get(&storage, PLAIN, b""), None);
}

#[test]
fn inv_3_contents_of_all_stores_and_checkpoint_are_there_after_a_reopen() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    storage.stage(PLAIN, b"a", Some(b"1"));
    storage.stage(TIMED, b"a", Some(b"timestamp and value"));
    commit(&mut storage);
    storage.stage(PLAIN, b"lost", Some(b"staged only"));
    drop(storage);

    let OpenOutcome::Ready(db) = open_with(dir.path(), &specs()) else { panic!("not ready") };
    let storage = RocksStorage::new(&db).unwrap();
    assert_eq!(*storage.checkpoint(), checkpoint(1));
    assert_eq!(all(&storage, PLAIN), [(b"a"[..].into(), b"1"[..].into())]);
    assert_eq!(all(&storage, TIMED), [(b"a"[..].into(), b"timestamp and value"[..].into())]);
}

#[test]
#[should_panic(expected = "INV-2: changelog position of store plain went back from 2 to 1")]
fn inv_2_a_position_that_goes_back_is_refused() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    commit(&mut storage);
    let mut back = checkpoint(2);
    back.changelogs.insert("plain".into(), Offset(1));
    let _ = storage.publish(back, proof());
}

#[test]
#[should_panic(expected = "INV-10: task 0_1 has a writer already")]
fn inv_10_a_task_has_one_writer() {
    let dir = tempdir().unwrap();
    let db = open(dir.path());
    let _restorer = db.restorer().unwrap();
    let _ = RocksStorage::new(&db);
}

#[test]
fn a_new_database_is_fresh_and_a_known_one_is_ready() {
    let dir = tempdir().unwrap();
    assert!(matches!(open_with(dir.path(), &specs()), OpenOutcome::Fresh(_)));
    assert!(matches!(open_with(dir.path(), &specs()), OpenOutcome::Ready(_)));
}

#[test]
fn inv_10_a_store_of_another_kind_is_refused() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    let directory = tidemill::storage::StateDirectory::open(dir.path(), super::APPLICATION);
    let lock = directory.unwrap().acquire_task(super::task()).unwrap();
    let changed = [StoreSpec::new("plain", StoreKind::TimestampedKeyValue)];
    let error = TaskDb::open(&super::shared(), lock, &changed).unwrap_err();
    assert!(matches!(error, StorageError::StoreChanged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("store plain in "), "{text}");
    assert!(text.contains("is a key-value store with changelog"), "{text}");
}

#[test]
fn a_store_that_left_the_topology_comes_back_empty_and_without_position() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    storage.stage(PLAIN, b"kept", Some(b"1"));
    storage.stage(TIMED, b"gone", Some(b"2"));
    commit(&mut storage);
    drop(storage);
    let OpenOutcome::Ready(db) = open_with(dir.path(), &specs()[..1]) else { panic!("not ready") };
    assert!(!db.read_checkpoint().unwrap().changelogs.contains_key("timed"));
    drop(db);

    let storage = open_storage(dir.path());
    assert_eq!(all(&storage, TIMED), []);
    assert_eq!(all(&storage, PLAIN).len(), 1);
    let mut expected = checkpoint(1);
    expected.changelogs.remove("timed");
    assert_eq!(*storage.checkpoint(), expected);
}

#[test]
fn restoring_applies_changelogs_and_hands_over_at_what_is_committed() {
    for bulk in [false, true] {
        let dir = tempdir().unwrap();
        let mut restorer = open(dir.path()).restorer().unwrap();
        if bulk {
            restorer.begin_bulk().unwrap();
        }
        let first = [(&b"a"[..], Some(&b"1"[..]), 7), (b"b", Some(b"2"), 8)];
        restorer.apply(TIMED, first, Offset(3)).unwrap();
        restorer.apply(TIMED, [(&b"a"[..], None, 9)], Offset(5)).unwrap();
        restorer.apply(PLAIN, [(&b"p"[..], Some(&b"3"[..]), 9)], Offset(1)).unwrap();
        let position = InputPosition {
            offset: Offset(40),
            partition_time: StreamTime::from_millis(Timestamp(9).0),
        };
        let storage = restorer.finish([(source(), position)].into(), 6).unwrap();
        let expected = Checkpoint {
            commit_number: 6,
            changelogs: [("timed".into(), Offset(5)), ("plain".into(), Offset(1))].into(),
            inputs: [(source(), position)].into(),
        };
        assert_eq!(*storage.checkpoint(), expected);
        drop(storage);

        let storage = open_storage(dir.path());
        assert_eq!(*storage.checkpoint(), expected);
        assert_eq!(get(&storage, PLAIN, b"p").as_deref(), Some(&b"3"[..]));
        let stored = [&8_i64.to_be_bytes()[..], b"2"].concat();
        assert_eq!(all(&storage, TIMED), [(b"b"[..].into(), stored.into())]);
    }
}

#[test]
fn inv_2_a_database_ahead_of_what_is_committed_is_refused() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    commit(&mut storage);
    commit(&mut storage);
    drop(storage);
    let finish = |inputs: Checkpoint| {
        let restorer = open(dir.path()).restorer().unwrap();
        restorer.finish(inputs.inputs, inputs.commit_number).map(drop)
    };
    let error = finish(checkpoint(1)).unwrap_err();
    assert!(error.to_string().contains("commit 2 is stored, 1 committed"), "{error}");
    let reset = Checkpoint { commit_number: 2, ..checkpoint(1) };
    let error = finish(reset).unwrap_err().to_string();
    assert!(error.contains("position 20 of transactions-1 is stored, 10 committed"), "{error}");
    finish(checkpoint(2)).unwrap();
}

#[test]
fn the_auditor_reads_what_a_stopped_task_left() {
    let dir = tempdir().unwrap();
    let mut storage = open_storage(dir.path());
    storage.stage(PLAIN, b"a", Some(b"1"));
    commit(&mut storage);
    let path = storage.db().path().to_owned();
    drop(storage);
    let dump = audit::dump(&path).unwrap();
    assert_eq!(dump.checkpoint, checkpoint(1));
    assert_eq!(dump.stores["plain"], BTreeMap::from([(b"a".to_vec(), b"1".to_vec())]));
    assert!(dump.stores["timed"].is_empty());
}

/// Short keys over few letters, so that ranges meet keys and each other's bounds.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..4)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
        Just(Bound::Unbounded)
    ]
}

fn borrow(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The memory storage is the model.
    #[test]
    fn reads_and_scans_are_those_of_an_ordered_map(
        commits in prop::collection::vec(
            prop::collection::vec((key(), prop::option::of(key())), 0..12), 1..5),
        scans in prop::collection::vec((bound(), bound(), any::<bool>(), 0_usize..9), 1..24),
    ) {
        let dir = tempdir().unwrap();
        let mut rocks = open_storage(dir.path());
        let mut model = MemoryStorage::new();
        for (number, writes) in (1..).zip(&commits) {
            for (key, value) in writes {
                rocks.stage(TIMED, key, value.as_deref());
                model.stage(TIMED, key, value.as_deref());
            }
            commit(&mut rocks);
            model.publish(checkpoint(number), proof()).unwrap();
        }
        prop_assert_eq!(rocks.checkpoint(), model.checkpoint());
        for (from, to, ascending, limit) in &scans {
            let order = if *ascending { Order::Ascending } else { Order::Descending };
            let range = (borrow(from), borrow(to));
            let found = rocks.scan(TIMED, range, order, *limit).unwrap();
            prop_assert_eq!(found, model.scan(TIMED, range, order, *limit).unwrap());
        }
        for (key, _) in commits.iter().flatten() {
            let mut expected = None;
            model.get(TIMED, key, &mut |value| expected = Some(value.to_vec())).unwrap();
            prop_assert_eq!(get(&rocks, TIMED, key), expected);
        }
    }
}
