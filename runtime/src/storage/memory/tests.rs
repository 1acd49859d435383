//! The simulated disk does what the real one does, until it is told to fail.

mod faults;

use std::ops::Bound::Unbounded;
use std::path::Path;

use tidemill_core::record::{
    Offset, Partition, StreamTime, SubTopologyId, TaskId, Timestamp, TopicPartition,
};
use tidemill_core::store::{
    Acknowledged, Checkpoint, InputPosition, Order, StoreIndex, StoreKind, StoreSpec, StoredEntry,
    TaskStorage,
};
use tidemill_core::transaction::{Command, Input, Transaction};

use super::Drive;
use crate::storage::seam::{Database, Directory, Disk, OpenOutcome, OwnTask, Restore};
use crate::storage::{RocksDisk, SharedRocks, StateDirectoryError, StorageError};

const PLAIN: StoreIndex = StoreIndex(0);
const TIMED: StoreIndex = StoreIndex(1);

fn task() -> TaskId {
    TaskId::new(SubTopologyId(0), Partition(1))
}

fn specs() -> Vec<StoreSpec> {
    let plain = StoreSpec::new("plain", StoreKind::KeyValue);
    vec![plain, StoreSpec::new("timed", StoreKind::TimestampedKeyValue)]
}

fn drive() -> Drive {
    Drive::new(|| Timestamp(7))
}

/// Makes each case a test of the real disk and one of the simulated disk.
macro_rules! on_both_disks {
    ($($case:ident)*) => {
        mod rocks {
            $(
                #[test]
                fn $case() {
                    let folder = tempfile::tempdir().unwrap();
                    let shared = super::SharedRocks::new(8 << 20, 8 << 20, 1.try_into().unwrap());
                    super::$case(&super::RocksDisk::new(shared.unwrap()), folder.path());
                }
            )*
        }
        mod memory {
            $(
                #[test]
                fn $case() {
                    super::$case(&super::drive().mount(|_| None), "/state".as_ref());
                }
            )*
        }
    };
}

on_both_disks! {
    contents_of_all_stores_and_their_checkpoint_are_there_after_a_reopen
    a_store_that_left_the_topology_comes_back_empty_and_without_position
    restoring_hands_over_at_what_is_committed
    a_database_ahead_of_what_is_committed_is_refused
    a_directory_and_a_task_have_one_owner
    a_wiped_task_is_gone
    scans_follow_the_order_of_bytes
}

fn open_with<D: Disk>(
    disk: &D,
    state_dir: &Path,
    specs: &[StoreSpec],
) -> OpenOutcome<D::Db, D::Lock> {
    let directory = disk.open_directory(state_dir, "accounts").unwrap();
    disk.open_task(directory.acquire_task(task()).unwrap(), specs).unwrap()
}

fn open<D: Disk>(disk: &D, state_dir: &Path) -> D::Db {
    match open_with(disk, state_dir, &specs()) {
        OpenOutcome::Ready(db) | OpenOutcome::Fresh(db) => db,
        OpenOutcome::Damaged { reason, .. } => panic!("damaged: {reason}"),
    }
}

/// The proof of an acknowledged commit, from the commit protocol itself.
fn proof() -> Acknowledged {
    let mut transaction = Transaction::new();
    for input in [Input::Work, Input::CommitDue, Input::Done, Input::Done] {
        transaction.step(input);
    }
    match transaction.step(Input::Done) {
        Command::Publish(acknowledged) => acknowledged.for_task(),
        other => panic!("{other:?}"),
    }
}

fn checkpoint(n: u64) -> Checkpoint {
    let offset = Offset(i64::try_from(n).unwrap());
    let input = InputPosition { offset, partition_time: StreamTime::UNKNOWN };
    Checkpoint {
        commit_number: n,
        changelogs: [("plain".into(), offset), ("timed".into(), offset)].into(),
        inputs: [(TopicPartition::new("transactions", Partition(1)), input)].into(),
    }
}

fn commit(storage: &mut impl TaskStorage) {
    let next = checkpoint(storage.checkpoint().commit_number + 1);
    storage.publish(next, proof()).unwrap();
}

fn all(storage: &impl TaskStorage, store: StoreIndex) -> Vec<StoredEntry> {
    storage.scan(store, (Unbounded, Unbounded), Order::Ascending, usize::MAX).unwrap()
}

fn get(storage: &impl TaskStorage, store: StoreIndex, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = None;
    let found = storage.get(store, key, &mut |bytes| value = Some(bytes.to_vec())).unwrap();
    assert_eq!(found, value.is_some());
    value
}

fn contents_of_all_stores_and_their_checkpoint_are_there_after_a_reopen<D: Disk>(
    disk: &D,
    state_dir: &Path,
) {
    assert!(matches!(open_with(disk, state_dir, &specs()), OpenOutcome::Fresh(_)));
    let mut storage = open(disk, state_dir).storage().unwrap();
    storage.stage(PLAIN, b"dropped", Some(b"1"));
    storage.discard();
    storage.stage(PLAIN, b"a", Some(b""));
    storage.stage(TIMED, b"a", Some(b"timed"));
    storage.stage(TIMED, b"b", Some(b"gone"));
    assert_eq!(get(&storage, PLAIN, b"a"), None, "staged only");
    commit(&mut storage);
    storage.stage(TIMED, b"b", None);
    commit(&mut storage);
    storage.stage(PLAIN, b"lost", Some(b"staged only"));
    drop(storage);

    let ready = open_with(disk, state_dir, &specs());
    let OpenOutcome::Ready(db) = ready else { panic!("not ready") };
    let storage = db.storage().unwrap();
    assert_eq!(*storage.checkpoint(), checkpoint(2));
    assert_eq!(all(&storage, PLAIN), [(b"a"[..].into(), b""[..].into())]);
    assert_eq!(all(&storage, TIMED), [(b"a"[..].into(), b"timed"[..].into())]);
}

fn a_store_that_left_the_topology_comes_back_empty_and_without_position<D: Disk>(
    disk: &D,
    state_dir: &Path,
) {
    let mut storage = open(disk, state_dir).storage().unwrap();
    storage.stage(TIMED, b"gone", Some(b"2"));
    commit(&mut storage);
    drop(storage);
    drop(open_with(disk, state_dir, &specs()[..1]));
    let storage = open(disk, state_dir).storage().unwrap();
    assert_eq!(all(&storage, TIMED), []);
    let mut expected = checkpoint(1);
    expected.changelogs.remove("timed");
    assert_eq!(*storage.checkpoint(), expected);
    drop(storage);

    let directory = disk.open_directory(state_dir, "accounts").unwrap();
    let changed = [StoreSpec::new("plain", StoreKind::TimestampedKeyValue)];
    let opened = disk.open_task(directory.acquire_task(task()).unwrap(), &changed);
    assert!(matches!(opened, Err(StorageError::StoreChanged { .. })));
}

fn restoring_hands_over_at_what_is_committed<D: Disk>(disk: &D, state_dir: &Path) {
    for bulk in [false, true] {
        let db = open(disk, state_dir);
        let mut restorer = db.restorer().unwrap();
        drop(db);
        if bulk {
            restorer.begin_bulk().unwrap();
        }
        let from = restorer.checkpoint().changelogs.get("timed").map_or(0, |offset| offset.0);
        let records = [(&b"a"[..], Some(&b"1"[..]), 7), (b"b", Some(b"2"), 8), (b"a", None, 9)];
        restorer.apply(TIMED, records, Offset(from + 5)).unwrap();
        let committed = checkpoint(6);
        let storage = restorer.finish(committed.inputs.clone(), 6).unwrap();
        let expected =
            Checkpoint { changelogs: [("timed".into(), Offset(from + 5))].into(), ..committed };
        assert_eq!(*storage.checkpoint(), expected);
        let stored = [&8_i64.to_be_bytes()[..], b"2"].concat();
        assert_eq!(all(&storage, TIMED), [(b"b"[..].into(), stored.into())]);
        drop(storage);
        assert_eq!(open(disk, state_dir).read_checkpoint().unwrap(), expected);
    }
}

fn a_database_ahead_of_what_is_committed_is_refused<D: Disk>(disk: &D, state_dir: &Path) {
    let mut storage = open(disk, state_dir).storage().unwrap();
    commit(&mut storage);
    commit(&mut storage);
    drop(storage);
    let restorer = open(disk, state_dir).restorer().unwrap();
    let refused = restorer.finish(checkpoint(1).inputs, 1).map(drop).unwrap_err().to_string();
    assert!(refused.contains("commit 2 is stored, 1 committed"), "{refused}");
    let restorer = open(disk, state_dir).restorer().unwrap();
    let refused = restorer.finish(checkpoint(1).inputs, 2).map(drop).unwrap_err().to_string();
    assert!(refused.contains("position 2 of transactions-1 is stored, 1 committed"), "{refused}");
}

fn a_directory_and_a_task_have_one_owner<D: Disk>(disk: &D, state_dir: &Path) {
    let directory = disk.open_directory(state_dir, "accounts").unwrap();
    let second = disk.open_directory(state_dir, "accounts").map(drop);
    assert!(matches!(second, Err(StateDirectoryError::InUse { .. })));
    let other = disk.open_directory(state_dir, "others").unwrap();
    assert_ne!(directory.process_id(), other.process_id());

    let lock = directory.acquire_task(task()).unwrap();
    let second = directory.acquire_task(task()).map(drop);
    assert!(matches!(second, Err(StateDirectoryError::TaskInUse { .. })));
    let process = directory.process_id().to_owned();
    drop(directory);
    // a task keeps its directory locked
    assert!(disk.open_directory(state_dir, "accounts").is_err());
    drop(lock);
    assert_eq!(disk.open_directory(state_dir, "accounts").unwrap().process_id(), process);
}

fn a_wiped_task_is_gone<D: Disk>(disk: &D, state_dir: &Path) {
    let mut storage = open(disk, state_dir).storage().unwrap();
    storage.stage(PLAIN, b"a", Some(b"1"));
    commit(&mut storage);
    drop(storage);
    let directory = disk.open_directory(state_dir, "accounts").unwrap();
    assert_eq!(directory.task_ids_on_disk().unwrap(), [task()]);
    assert!(directory.written_at(task()).is_some());
    directory.acquire_task(task()).unwrap().wipe().unwrap();
    assert_eq!(directory.task_ids_on_disk().unwrap(), []);
    assert_eq!(directory.written_at(task()), None);
    drop(directory);
    assert!(matches!(open_with(disk, state_dir, &specs()), OpenOutcome::Fresh(_)));
}

fn scans_follow_the_order_of_bytes<D: Disk>(disk: &D, state_dir: &Path) {
    use std::ops::Bound::{Excluded, Included};
    let mut storage = open(disk, state_dir).storage().unwrap();
    for key in [&[0][..], &[0, 0], &[1], &[255], &[]] {
        storage.stage(PLAIN, key, Some(key));
    }
    commit(&mut storage);
    let keys = |from, to, order, limit| -> Vec<Vec<u8>> {
        let found = storage.scan(PLAIN, (from, to), order, limit).unwrap();
        found.into_iter().map(|(key, _)| key.into_vec()).collect()
    };
    let (up, down) = (Order::Ascending, Order::Descending);
    let sorted = vec![vec![], vec![0], vec![0, 0], vec![1], vec![255]];
    assert_eq!(keys(Unbounded, Unbounded, up, 9), sorted);
    assert_eq!(keys(Unbounded, Unbounded, down, 2), [vec![255], vec![1]]);
    assert_eq!(keys(Excluded(&[0]), Included(&[1]), up, 9), sorted[2..4]);
    assert_eq!(keys(Included(&[0]), Excluded(&[1]), up, 9), sorted[1..3]);
    let none = Vec::<Vec<u8>>::new();
    assert_eq!(keys(Included(&[1]), Excluded(&[0]), up, 9), none);
    assert_eq!(keys(Excluded(&[1]), Excluded(&[1]), down, 9), none);
}
