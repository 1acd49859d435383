//! The state directory and RocksDB, on real files: who may use them (INV-10), what they hold
//! (INV-2, INV-3), what survives a crash, and what damage leads to.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod contents;
mod crash;
mod damage;
mod directory;
mod expiry;
mod measure;

use std::num::NonZeroU32;
use std::path::Path;

use tidemill::storage::{OpenOutcome, RocksStorage, SharedRocks, StateDirectory, TaskDb};
use tidemill_core::record::{Offset, Partition, StreamTime, SubTopologyId, TaskId, TopicPartition};
use tidemill_core::store::{
    Acknowledged, Checkpoint, InputPosition, Order, StoreIndex, StoreKind, StoreSpec, StoredEntry,
    TaskStorage,
};
use tidemill_core::transaction::{Command, Input, Transaction};

const APPLICATION: &str = "accounts";
const PLAIN: StoreIndex = StoreIndex(0);
const TIMED: StoreIndex = StoreIndex(1);

fn task() -> TaskId {
    TaskId::new(SubTopologyId(0), Partition(1))
}

/// Store 0 keeps plain values, store 1 values with timestamps.
fn specs() -> Vec<StoreSpec> {
    let plain = StoreSpec::new("plain", StoreKind::KeyValue);
    vec![plain, StoreSpec::new("timed", StoreKind::TimestampedKeyValue)]
}

fn shared() -> SharedRocks {
    SharedRocks::new(8 << 20, 8 << 20, NonZeroU32::MIN).unwrap()
}

fn open_with(state_dir: &Path, stores: &[StoreSpec]) -> OpenOutcome {
    let directory = StateDirectory::open(state_dir, APPLICATION).unwrap();
    let lock = directory.acquire_task(task()).unwrap();
    TaskDb::open(&shared(), lock, stores).unwrap()
}

/// Opens the task's database, new or not.
fn open(state_dir: &Path) -> TaskDb {
    match open_with(state_dir, &specs()) {
        OpenOutcome::Ready(db) | OpenOutcome::Fresh(db) => db,
        OpenOutcome::Damaged { reason, .. } => panic!("damaged: {reason}"),
    }
}

fn open_storage_in(directory: &StateDirectory) -> RocksStorage {
    let lock = directory.acquire_task(task()).unwrap();
    match TaskDb::open(&shared(), lock, &specs()).unwrap() {
        OpenOutcome::Ready(db) | OpenOutcome::Fresh(db) => RocksStorage::new(&db).unwrap(),
        OpenOutcome::Damaged { reason, .. } => panic!("damaged: {reason}"),
    }
}

fn open_storage(state_dir: &Path) -> RocksStorage {
    RocksStorage::new(&open(state_dir)).unwrap()
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

fn source() -> TopicPartition {
    TopicPartition::new("transactions", Partition(1))
}

/// The checkpoint that [`commit`] stores with commit number `n`.
fn checkpoint(n: u64) -> Checkpoint {
    let offset = i64::try_from(n).unwrap();
    Checkpoint {
        commit_number: n,
        changelogs: [("plain".into(), Offset(offset * 2)), ("timed".into(), Offset(offset * 3))]
            .into(),
        inputs: [(
            source(),
            InputPosition { offset: Offset(offset * 10), partition_time: StreamTime::UNKNOWN },
        )]
        .into(),
    }
}

/// Publishes staged writes as the storage's next commit.
fn commit(storage: &mut RocksStorage) {
    let next = checkpoint(storage.checkpoint().commit_number + 1);
    storage.publish(next, proof()).unwrap();
}

fn get(storage: &RocksStorage, store: StoreIndex, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = None;
    let found = storage.get(store, key, &mut |bytes| value = Some(bytes.to_vec())).unwrap();
    assert_eq!(found, value.is_some());
    value
}

fn all(storage: &RocksStorage, store: StoreIndex) -> Vec<StoredEntry> {
    use std::ops::Bound::Unbounded;
    storage.scan(store, (Unbounded, Unbounded), Order::Ascending, usize::MAX).unwrap()
}
