//! Stores of windows beside a list of everything that was ever put.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::window_key::window_key_serde;
use super::*;
use crate::serdes::{bytes, i64};
use crate::window::Windowed;

const INTERVAL: i64 = 60_000;

fn spec(retention_ms: i64, retain_duplicates: bool) -> StoreSpec {
    let segments = Segments::of_retention(retention_ms);
    StoreSpec::new("w", StoreKind::Window(WindowSpec { size_ms: 10, segments, retain_duplicates }))
}

/// A window store with its storage and changelog.
struct Bench {
    spec: StoreSpec,
    storage: Rc<RefCell<MemoryStorage>>,
    shared: SharedStore<Windowed<Vec<u8>>, i64>,
    log: Vec<Line>,
}

impl Bench {
    fn new(spec: StoreSpec) -> Self {
        Self::on(spec, Rc::new(RefCell::new(MemoryStorage::new())))
    }

    fn on(spec: StoreSpec, storage: Rc<RefCell<MemoryStorage>>) -> Self {
        let (StoreKind::Window(windows) | StoreKind::TimestampedWindow(windows)) = spec.kind else {
            panic!("{spec:?}")
        };
        let core = StoreCore::new(StoreParts {
            spec: spec.clone(),
            index: StoreIndex(0),
            application_id: "app".to_owned(),
            key_serde: window_key_serde(Arc::new(bytes()), windows),
            value_serde: Arc::new(i64()),
            storage: storage.clone(),
            now: Rc::new(Cell::new(Timestamp(7))),
            origin: Rc::new(Cell::new(Origin::NONE)),
        });
        let shared = SharedStore { spec: spec.clone(), core: Rc::new(RefCell::new(core)) };
        Self { spec, storage, shared, log: Vec::new() }
    }

    fn store(&self) -> WindowStore<Vec<u8>, i64> {
        WindowStore::new(Rc::clone(&self.shared.core))
    }

    fn commit(&mut self) {
        let log = &mut self.log;
        self.shared
            .flush(&mut |Logged { key, value, timestamp, .. }| {
                log.push((key.to_vec(), value.map(<[u8]>::to_vec), timestamp.unwrap()));
                Ok(())
            })
            .unwrap();
        let before = self.storage.borrow().checkpoint().clone();
        let checkpoint = Checkpoint { commit_number: before.commit_number + 1, ..before };
        self.storage.borrow_mut().publish(checkpoint, Acknowledged::by_broker()).unwrap();
        self.shared.end_interval(1 << 12);
    }

    /// The transaction is aborted: what is left is what is committed.
    fn abort(self) -> Self {
        self.storage.borrow_mut().discard();
        Self { log: self.log, ..Self::on(self.spec, self.storage) }
    }

    fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let storage = self.storage.borrow();
        let all = storage.scan(StoreIndex(0), all, Order::Ascending, usize::MAX).unwrap();
        all.into_iter().map(|(key, value)| (key.into_vec(), value.into_vec())).collect()
    }

    /// What restoring the changelog makes, in batches of this many records.
    fn replayed(&self, batch: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut contents = BTreeMap::new();
        for records in self.log.chunks(batch) {
            let stored = contents.clone();
            let records = records.iter().map(|(k, v, at)| (&**k, v.as_deref(), at.0));
            let write = &mut |write: StoredWrite<'_>| match write {
                StoredWrite::Put(key, value) => drop(contents.insert(key.to_vec(), value.to_vec())),
                StoredWrite::Delete(key) => drop(contents.remove(key)),
                StoredWrite::DeleteRange(from, to) => {
                    contents.retain(|key: &Vec<u8>, _| **key < *from || **key >= *to);
                }
            };
            self.spec.replay(&stored, records, write).unwrap();
        }
        contents
    }
}

fn at(time: i64) -> Timestamp {
    Timestamp(time)
}

fn key_of(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn the_changelog_has_the_keys_of_kafka_streams() {
    let mut bench = Bench::new(spec(INTERVAL, true));
    let store = bench.store();
    store.put(&key_of("a"), 1, at(5)).unwrap();
    store.put(&key_of("a"), 2, at(5)).unwrap();
    bench.commit();
    let keys: Vec<_> = bench.log.iter().map(|(key, ..)| &key[..]).collect();
    assert_eq!(keys, [b"a\0\0\0\0\0\0\0\x05\0\0\0\x01", b"a\0\0\0\0\0\0\0\x05\0\0\0\x02"]);
    let found: Vec<_> = store.fetch_range(&key_of("a"), at(0)..=at(9)).unwrap().collect();
    assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [(at(5), 1), (at(5), 2)]);
    assert_eq!(store.fetch(&key_of("a"), at(5)).unwrap(), Some(1));
    let mut restarted = Bench::on(bench.spec, bench.storage);
    restarted.store().put(&key_of("a"), 3, at(5)).unwrap();
    restarted.commit();
    assert_eq!(restarted.log[0].0.last(), Some(&3), "a restart overwrote a duplicate");
}

#[test]
fn a_range_of_a_key_has_no_windows_of_keys_that_begin_with_it() {
    let bench = Bench::new(spec(INTERVAL, false));
    let store = bench.store();
    // with its suffix, the first is between windows of `a`
    for (number, key) in [&b"a\0\0\0\0\0\0\0\x05"[..], b"a", b"a\0", b"", b"b"].iter().enumerate() {
        for start in [1, 5, 9] {
            store.put(&key.to_vec(), i64::try_from(number).unwrap(), at(start)).unwrap();
        }
    }
    let found: Result<Vec<_>, _> =
        store.fetch_range(&key_of("a"), at(0)..=at(100)).unwrap().collect();
    assert_eq!(found.unwrap(), [(at(1), 1), (at(5), 1), (at(9), 1)]);
}

#[test]
fn what_is_not_later_than_stream_time_less_retention_is_not_read() {
    let mut bench = Bench::new(spec(2 * INTERVAL, false));
    let store = bench.store();
    store.put(&key_of("a"), 1, at(0)).unwrap();
    store.put(&key_of("a"), 2, at(1)).unwrap();
    bench.commit();
    store.put(&key_of("b"), 3, at(2 * INTERVAL)).unwrap();
    assert_eq!(store.fetch(&key_of("a"), at(0)).unwrap(), None);
    assert_eq!(store.fetch(&key_of("a"), at(1)).unwrap(), Some(2));
    assert_eq!(store.all().unwrap().count(), 2);
    assert_eq!(bench.shared.expired(), 0);
    store.put(&key_of("a"), 4, at(3 * INTERVAL)).unwrap();
    store.put(&key_of("a"), 5, at(3)).unwrap();
    assert_eq!(bench.shared.expired(), 1, "a write to a segment that expired counts");
    bench.commit();
    assert_eq!(bench.log.last().unwrap().1, Some(5_i64.to_be_bytes().to_vec()), "it is logged");
    assert_eq!(bench.contents(), bench.replayed(1));
    assert_eq!(bench.contents().len(), 3, "two windows and the clock");
}

#[test]
fn an_update_of_a_window_that_expired_begins_anew_and_is_not_stored() {
    let mut bench = Bench::new(spec(INTERVAL, false));
    let window = |start| Windowed::new(key_of("a"), crate::window::Window::of_size(at(start), 10));
    let add = |bench: &Bench, start| {
        let mut core = bench.shared.core.borrow_mut();
        let apply = |before: Option<i64>| Ok(Some(before.unwrap_or(0) + 1));
        let headers = crate::record::Headers::new();
        core.update(&window(start), at(start), &headers, false, apply).unwrap().unwrap().new
    };
    assert_eq!((add(&bench, 5), add(&bench, 5)), (Some(1), Some(2)));
    add(&bench, 5 * INTERVAL);
    assert_eq!((add(&bench, 5), add(&bench, 5)), (Some(1), Some(1)));
    bench.commit();
    assert_eq!(bench.contents().len(), 2);
}

#[test]
fn a_damaged_clock_and_a_foreign_changelog_key_are_errors_that_name_the_store() {
    let bench = Bench::new(spec(INTERVAL, false));
    let no = &mut |_: StoredWrite<'_>| panic!("nothing is to be written");
    let empty = BTreeMap::new();
    let error = bench.spec.replay(&empty, [(&b"short"[..], None, 0)], no).unwrap_err();
    assert!(error.to_string().contains("changelog of store w"), "{error}");
    let damaged = BTreeMap::from([(Vec::new(), b"short".to_vec())]);
    let error = bench.spec.replay(&damaged, [], no).unwrap_err();
    assert!(error.to_string().contains("read the clock of store w"), "{error}");
    bench.storage.borrow_mut().stage(StoreIndex(0), b"", Some(b"short"));
    let next = Checkpoint { commit_number: 1, ..Checkpoint::default() };
    bench.storage.borrow_mut().publish(next, Acknowledged::by_broker()).unwrap();
    assert!(bench.store().put(&key_of("a"), 1, at(1)).is_err());
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>, i64, i64),
    Delete(Vec<u8>, i64),
    Commit,
    Abort,
    Read(Vec<u8>, Vec<u8>, i64, i64),
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), Just(1), Just(b'a'), Just(0xff)], 0..4)
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![0..50_i64, 0..6 * INTERVAL]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_key(), any_time(), 0..100_i64).prop_map(|(k, t, v)| Step::Put(k, t, v)),
        2 => (any_key(), any_time()).prop_map(|(k, t)| Step::Delete(k, t)),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
        4 => (any_key(), any_key(), any_time(), any_time())
            .prop_map(|(a, b, from, to)| Step::Read(a, b, from, to)),
    ]
}

/// Everything that was put, and the newest of its times.
#[derive(Debug, Clone, Default)]
struct Model {
    puts: Vec<(Vec<u8>, i64, Option<i64>)>,
    observed: i64,
    expired: u64,
}

impl Model {
    fn put(&mut self, (key, start, value): (Vec<u8>, i64, Option<i64>), retention: i64) {
        self.observed = self.observed.max(start);
        if start / INTERVAL < (self.observed - retention) / INTERVAL {
            self.expired += 1;
        } else {
            self.puts.push((key, start, value));
        }
    }

    /// The entries of a range, in the order of segment, key with time, and put.
    fn find(
        &self,
        keys: (&[u8], &[u8]),
        (from, to): (i64, i64),
        (retention, duplicates): (i64, bool),
    ) -> Vec<(Vec<u8>, i64, i64)> {
        let from = from.max(self.observed - retention + 1);
        let mut found: Vec<_> = Vec::new();
        for (number, (key, start, value)) in self.puts.iter().enumerate() {
            if (keys.0..=keys.1).contains(&&key[..]) && (from..=to).contains(start) {
                let number = if duplicates { number } else { 0 };
                let bytes = [&key[..], &start.to_be_bytes()].concat();
                let place = (start / INTERVAL, bytes, number);
                found.retain(|(other, _)| *other != place);
                found.extend(value.map(|value| (place, (key.clone(), *start, value))));
            }
        }
        found.sort();
        found.into_iter().map(|(_, entry)| entry).collect()
    }
}

fn check_reads(
    store: &WindowStore<Vec<u8>, i64>,
    model: &Model,
    (first, last): (Vec<u8>, Vec<u8>),
    (from, to): (i64, i64),
    options: (i64, bool),
) -> Result<(), TestCaseError> {
    let find = |keys, times| model.find(keys, times, options);
    let times = || at(from)..=at(to);
    let plain = |found: Result<(Windowed<Vec<u8>>, i64), StoreError>| {
        let (windowed, value) = found.unwrap();
        (windowed.key, windowed.window.start.0, value)
    };
    let mut expected = find((&first, &last), (from, to));
    let keys = (Some(&first), Some(&last));
    let found: Vec<_> = store.fetch_keys(keys, times()).unwrap().map(plain).collect();
    prop_assert_eq!(&found, &expected);
    expected.reverse();
    let found: Vec<_> = store.backward_fetch_keys(keys, times()).unwrap().map(plain).collect();
    prop_assert_eq!(&found, &expected);

    let everything = (&[][..], &[0xff; 4][..]);
    let found: Vec<_> = store.fetch_all(times()).unwrap().map(plain).collect();
    prop_assert_eq!(found, find(everything, (from, to)));
    let found: Vec<_> = store.all().unwrap().map(plain).collect();
    prop_assert_eq!(found, find(everything, (0, i64::MAX)));

    let timed: Result<Vec<_>, _> = store.fetch_range(&first, times()).unwrap().collect();
    let expected = find((&first, &first), (from, to));
    let mut expected: Vec<_> = expected.into_iter().map(|(_, t, value)| (at(t), value)).collect();
    prop_assert_eq!(timed.unwrap(), expected.clone());
    expected.reverse();
    let timed: Result<Vec<_>, _> = store.backward_fetch_range(&first, times()).unwrap().collect();
    prop_assert_eq!(timed.unwrap(), expected);
    let one = find((&first, &first), (from, from)).first().map(|(.., value)| *value);
    prop_assert_eq!(store.fetch(&first, at(from)).unwrap(), one);
    Ok(())
}

proptest! {
    /// Reads are those of a list of all puts, whatever was committed, aborted and restarted
    /// between; what is stored is what restoring gives, and nothing of it has expired.
    #[test]
    fn a_window_store_is_what_was_put_and_has_not_expired(
        steps in prop::collection::vec(any_step(), 1..60),
        (retention, duplicates) in (1..=2 * INTERVAL, any::<bool>()),
        batch in 1..20_usize,
    ) {
        let mut bench = Bench::new(spec(retention, duplicates));
        let (mut model, mut committed) = (Model::default(), Model::default());
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                Step::Put(key, start, value) => {
                    bench.store().put(&key, value, at(start)).unwrap();
                    model.put((key, start, Some(value)), retention);
                }
                Step::Delete(key, start) => {
                    bench.store().delete(&key, at(start)).unwrap();
                    if duplicates {
                        // has a number in the changelog, and is nothing else
                        bench.store().log_null(&key, at(start)).unwrap();
                    } else {
                        model.put((key, start, None), retention);
                    }
                }
                Step::Commit => {
                    bench.commit();
                    committed = model.clone();
                    prop_assert_eq!(bench.contents(), bench.replayed(batch));
                    let live = prefix_of((model.observed - retention) / INTERVAL);
                    let oldest = bench.contents().into_keys().find(|key| !key.is_empty());
                    prop_assert!(oldest.is_none_or(|key| key[..8] >= live[..]));
                }
                Step::Abort => {
                    bench = bench.abort();
                    model = Model { expired: 0, ..committed.clone() };
                }
                Step::Read(first, last, from, to) => {
                    let (keys, options) = ((first, last), (retention, duplicates));
                    check_reads(&bench.store(), &model, keys, (from, to), options)?;
                }
            }
            prop_assert_eq!(bench.shared.expired(), model.expired);
        }
    }
}

fn prefix_of(segment: i64) -> [u8; 8] {
    u64::try_from(segment).map_or([0; 8], |segment| (segment + (1 << 63)).to_be_bytes())
}
