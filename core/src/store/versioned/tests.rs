//! A versioned store beside a list of all versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::serdes::{bytes, i64, optional};
use crate::store::{Acknowledged, Checkpoint, MemoryStorage, StoreKind, TaskStorage};

type Store = VersionedKeyValueStore<Vec<u8>, Option<i64>>;
type Line = (Vec<u8>, Option<Vec<u8>>, i64);

/// A versioned store with its storage and changelog.
struct Bench {
    spec: StoreSpec,
    storage: Rc<RefCell<MemoryStorage>>,
    shared: SharedVersioned<Vec<u8>, Option<i64>>,
    log: Vec<Line>,
}

impl Bench {
    fn new(history: i64) -> Self {
        let kind = StoreKind::VersionedKeyValue(Segments::of_history(history));
        Self::on(StoreSpec::new("v", kind), Rc::new(RefCell::new(MemoryStorage::new())))
    }

    fn on(spec: StoreSpec, storage: Rc<RefCell<MemoryStorage>>) -> Self {
        let shared = SharedVersioned::new(VersionedParts {
            segments: spec.kind.segments().unwrap(),
            spec: spec.clone(),
            index: StoreIndex(0),
            application_id: "app".to_owned(),
            key_serde: Arc::new(bytes()),
            value_serde: Arc::new(optional(i64())),
            storage: storage.clone(),
        });
        Self { spec, storage, shared, log: Vec::new() }
    }

    fn store(&self) -> Store {
        VersionedKeyValueStore::new(Rc::clone(&self.shared.core))
    }

    fn commit(&mut self) {
        let log = &mut self.log;
        let mut write = |Logged { key, value, timestamp, .. }: Logged<'_>| {
            log.push((key.to_vec(), value.map(<[u8]>::to_vec), timestamp.unwrap().0));
            Ok(())
        };
        self.shared.flush(&mut write).unwrap();
        let before = self.storage.borrow().checkpoint().clone();
        let checkpoint = Checkpoint { commit_number: before.commit_number + 1, ..before };
        self.storage.borrow_mut().publish(checkpoint, Acknowledged::by_broker()).unwrap();
        self.shared.end_interval(0);
        assert_eq!(self.shared.held_bytes(), (0, 0));
    }

    /// The transaction is aborted: what is left is what is committed.
    fn abort(self) -> Self {
        self.storage.borrow_mut().discard();
        Self { log: self.log, ..Self::on(self.spec, self.storage) }
    }

    fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        use std::ops::Bound::Unbounded;
        let storage = self.storage.borrow();
        let all = (Unbounded, Unbounded);
        let all = storage.scan(StoreIndex(0), all, Order::Ascending, usize::MAX).unwrap();
        all.into_iter().map(|(key, value)| (key.into_vec(), value.into_vec())).collect()
    }

    /// What restoring the changelog makes, in batches of this many records.
    fn replayed(&self, batch: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut contents: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for records in self.log.chunks(batch) {
            let stored = contents.clone();
            let records = records.iter().map(|(k, v, at)| (&**k, v.as_deref(), *at));
            let write = &mut |write: StoredWrite<'_>| match write {
                StoredWrite::Put(key, value) => drop(contents.insert(key.to_vec(), value.to_vec())),
                StoredWrite::Delete(key) => drop(contents.remove(key)),
                StoredWrite::DeleteRange(from, to) => {
                    contents.retain(|key, _| **key < *from || **key >= *to);
                }
            };
            self.spec.replay(&stored, records, write).unwrap();
        }
        contents
    }
}

/// All versions of all keys, by time.
#[derive(Debug, Clone, Default)]
struct Model {
    versions: BTreeMap<Vec<u8>, BTreeMap<i64, Option<i64>>>,
    observed: i64,
    expired: u64,
}

impl Model {
    fn put(&mut self, key: &[u8], value: Option<i64>, at: i64, history: i64) -> PutOutcome {
        if at < self.observed - history {
            self.expired += 1;
            return PutOutcome::NotPut;
        }
        self.observed = self.observed.max(at);
        let versions = self.versions.entry(key.to_vec()).or_default();
        versions.insert(at, value);
        let next = versions.range(at + 1..).next();
        next.map_or(PutOutcome::Latest, |(next, _)| PutOutcome::ValidTo(Timestamp(*next)))
    }

    fn as_of(&self, key: &[u8], at: i64, history: i64) -> Option<VersionedRecord<Option<i64>>> {
        let versions = self.versions.get(key)?;
        let (from, value) = versions.range(..=at).next_back()?;
        let next = versions.range(at.checked_add(1)?..).next().map(|(next, _)| Timestamp(*next));
        let kept = at >= self.observed - history || next.is_none();
        let value = Some((*value)?);
        kept.then_some(VersionedRecord { value, timestamp: Timestamp(*from), valid_to: next })
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>, Option<i64>, i64),
    Commit,
    Abort,
    Read(Vec<u8>, i64),
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), Just(b'a'), Just(0xff)], 0..3)
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![0..30_i64, 0..40_000_i64]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_key(), prop::option::weighted(0.7, 0..100_i64), any_time())
            .prop_map(|(key, value, at)| Step::Put(key, value, at)),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
        6 => (any_key(), any_time()).prop_map(|(key, at)| Step::Read(key, at)),
    ]
}

proptest! {
    /// Reads and answers are those of a list of all versions, whatever was committed, aborted and
    /// restarted between; what is stored is what restoring gives, and nothing of it has expired.
    #[test]
    fn a_versioned_store_is_the_versions_that_were_put(
        steps in prop::collection::vec(any_step(), 1..80),
        history in prop_oneof![0..100_i64, 0..20_000_i64],
        batch in 1..20_usize,
    ) {
        let mut bench = Bench::new(history);
        let (mut model, mut committed) = (Model::default(), Model::default());
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                Step::Put(key, value, at) => {
                    let outcome = bench.store().put(&key, &value, Timestamp(at)).unwrap();
                    prop_assert_eq!(outcome, model.put(&key, value, at, history));
                }
                Step::Commit => {
                    bench.commit();
                    committed = model.clone();
                    prop_assert_eq!(bench.contents(), bench.replayed(batch));
                    let live = segments::prefix((model.observed - history) / 2_000);
                    let first = bench.contents().into_keys().find(|key| !key.is_empty());
                    prop_assert!(history > 6_000 || first.is_none_or(|key| key[..8] >= live[..]));
                }
                Step::Abort => {
                    bench = bench.abort();
                    model = Model { expired: 0, ..committed.clone() };
                }
                Step::Read(key, at) => {
                    let found = bench.store().get_as_of(&key, Timestamp(at)).unwrap();
                    prop_assert_eq!(found, model.as_of(&key, at, history));
                    let found = bench.store().get(&key).unwrap();
                    prop_assert_eq!(found, model.as_of(&key, i64::MAX - 1, history));
                }
            }
            prop_assert_eq!(bench.shared.expired(), model.expired);
        }
    }

    /// Stored rows that are damaged are errors, not panics.
    #[test]
    fn any_bytes_in_the_place_of_a_row_are_a_version_or_an_error(
        row in prop::collection::vec(any::<u8>(), 0..20), at in 0..20_i64,
    ) {
        let mut stored = BTreeMap::new();
        let bench = Bench::new(100);
        let write = &mut |write: StoredWrite<'_>| if let StoredWrite::Put(key, _) = write {
            stored.insert(key.to_vec(), row.clone());
        };
        let put = |at| (&b"k"[..], Some(&b"v"[..]), at);
        bench.spec.replay(&BTreeMap::new(), [put(5), put(9)], write).unwrap();
        let mut changed = Changed::new();
        let segments = Segments::of_history(100);
        let (changed, stored) = (&mut changed, &stored);
        let rows = Rows { segments, observed: 9, changed, stored, store: "v" };
        let _ = rows.as_of(b"k", at);
        let _ = bench.spec.replay(stored, [put(7)], &mut |_| {});
    }
}

#[test]
fn a_deletion_gives_what_there_was_and_the_changelog_has_every_version() {
    let mut bench = Bench::new(100);
    let (store, key) = (bench.store(), b"k".to_vec());
    store.put(&key, &Some(1), Timestamp(10)).unwrap();
    store.put(&key, &Some(2), Timestamp(20)).unwrap();
    let was = store.delete(&key, Timestamp(15)).unwrap().unwrap();
    assert_eq!(
        (was.value, was.timestamp, was.valid_to),
        (Some(1), Timestamp(10), Some(Timestamp(20)))
    );
    assert_eq!(store.get_as_of(&key, Timestamp(17)).unwrap(), None);
    store.put(&key, &Some(3), Timestamp(500)).unwrap();
    assert_eq!(store.delete(&key, Timestamp(17)).unwrap(), None, "too late");
    bench.commit();
    let one = |number: i64| Some(number.to_be_bytes().to_vec());
    let line = |value, at| (key.clone(), value, at);
    let expected =
        [line(one(1), 10), line(one(2), 20), line(None, 15), line(one(3), 500), line(None, 17)];
    assert_eq!(bench.log, expected);
    assert_eq!(bench.shared.expired(), 1);
}

#[test]
fn segments_of_a_history_are_those_of_kafka_streams() {
    let interval = |history| Segments::of_history(history).interval_ms;
    assert_eq!([0, 6_000, 60_000].map(interval), [2_000, 2_000, 20_000]);
    assert_eq!([60_001, 300_000, 3_600_000].map(interval), [20_000, 60_000, 300_000]);
    assert_eq!([3_600_001, 24 * 3_600_000].map(interval), [300_000, 3_600_000]);
}

#[test]
fn the_changelog_keeps_every_version_as_long_as_the_history_and_a_day() {
    let config = Bench::new(1000).spec.changelog_defaults(5);
    assert_eq!(config["cleanup.policy"], "compact");
    assert_eq!(config["min.compaction.lag.ms"], "86401000");
}
