//! A store of sessions beside a list of everything that was ever put.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::window_key::session_key_serde;
use super::*;
use crate::record::Origin;
use crate::serdes::{bytes, i64};
use crate::window::{Window, Windowed};

const INTERVAL: i64 = 60_000;

type Session = Windowed<Vec<u8>>;

/// A session store, committed by hand.
struct Bench {
    spec: StoreSpec,
    storage: Rc<RefCell<MemoryStorage>>,
    shared: SharedStore<Session, i64>,
    log: Vec<Line>,
}

impl Bench {
    fn on(spec: StoreSpec, storage: Rc<RefCell<MemoryStorage>>) -> Self {
        let core = StoreCore::new(StoreParts {
            index: StoreIndex(0),
            application_id: "app".to_owned(),
            key_serde: session_key_serde(Arc::new(bytes()), spec.kind.segments().unwrap()),
            value_serde: Arc::new(i64()),
            storage: storage.clone(),
            now: Rc::new(Cell::new(Timestamp(7))),
            origin: Rc::new(Cell::new(Origin::NONE)),
            spec: spec.clone(),
        });
        let shared = SharedStore { spec: spec.clone(), core: Rc::new(RefCell::new(core)) };
        Self { spec, storage, shared, log: Vec::new() }
    }

    fn new(retention_ms: i64) -> Self {
        let kind = StoreKind::Session(Segments::of_retention(retention_ms));
        Self::on(StoreSpec::new("s", kind), Rc::new(RefCell::new(MemoryStorage::new())))
    }

    fn store(&self) -> SessionStore<Vec<u8>, i64> {
        SessionStore::new(Rc::clone(&self.shared.core))
    }

    fn commit(&mut self) {
        let log = &mut self.log;
        let mut write = |Logged { key, value, timestamp, .. }: Logged<'_>| {
            log.push((key.to_vec(), value.map(<[u8]>::to_vec), timestamp.unwrap()));
            Ok(())
        };
        self.shared.flush(&mut write).unwrap();
        let before = self.storage.borrow().checkpoint().clone();
        let checkpoint = Checkpoint { commit_number: before.commit_number + 1, ..before };
        self.storage.borrow_mut().publish(checkpoint, Acknowledged::by_broker()).unwrap();
        self.shared.end_interval(1 << 12);
    }

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

    fn replayed(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut contents = BTreeMap::new();
        let records = self.log.iter().map(|(k, v, at)| (&**k, v.as_deref(), at.0));
        let write = &mut |write: StoredWrite<'_>| match write {
            StoredWrite::Put(key, value) => drop(contents.insert(key.to_vec(), value.to_vec())),
            StoredWrite::Delete(key) => drop(contents.remove(key)),
            StoredWrite::DeleteRange(from, to) => {
                contents.retain(|key: &Vec<u8>, _| **key < *from || **key >= *to);
            }
        };
        self.spec.replay(&BTreeMap::new(), records, write).unwrap();
        contents
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(Session, i64),
    Remove(Session),
    Commit,
    Abort,
    Find(Vec<u8>, Vec<u8>, i64, i64),
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![Just(0), Just(b'a'), Just(0xff)], 0..3)
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![0..50_i64, 0..4 * INTERVAL]
}

fn any_session() -> impl Strategy<Value = Session> {
    (any_key(), any_time(), prop_oneof![Just(0), 0..100_i64, 0..2 * INTERVAL]).prop_map(
        |(key, start, length)| {
            Windowed::new(key, Window::new(Timestamp(start), Timestamp(start + length)))
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_session(), 0..100_i64).prop_map(|(session, value)| Step::Put(session, value)),
        2 => any_session().prop_map(Step::Remove),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
        4 => (any_key(), any_key(), any_time(), any_time())
            .prop_map(|(a, b, end, start)| Step::Find(a, b, end, start)),
    ]
}

/// Everything that was put and not removed, and the newest end.
#[derive(Debug, Clone, Default)]
struct Model {
    sessions: Vec<(Session, i64)>,
    observed: i64,
    expired: u64,
}

impl Model {
    fn put(&mut self, session: Session, value: Option<i64>, retention: i64) {
        let end = session.window.end.0;
        self.observed = self.observed.max(end);
        let expired = end / INTERVAL < (self.observed - retention) / INTERVAL;
        self.expired += u64::from(expired && value.is_some());
        if !expired {
            self.sessions.retain(|(other, _)| *other != session);
            self.sessions.extend(value.map(|value| (session, value)));
        }
    }

    /// In the order of segment, key with end and start.
    fn find(
        &self,
        keys: (&[u8], &[u8]),
        (earliest_end, latest_start): (i64, i64),
        retention: i64,
    ) -> Vec<(Session, i64)> {
        let first = earliest_end.max(self.observed - retention + 1);
        let wanted = |(Windowed { key, window }, _): &&(Session, i64)| {
            (keys.0..=keys.1).contains(&&key[..])
                && window.end.0 >= first
                && window.start.0 <= latest_start
        };
        let mut found: Vec<_> = self.sessions.iter().filter(wanted).cloned().collect();
        found.sort_by_key(|(Windowed { key, window }, _)| {
            let times = [window.end.0.to_be_bytes(), window.start.0.to_be_bytes()].concat();
            (window.end.0 / INTERVAL, [&key[..], &times].concat())
        });
        found
    }
}

proptest! {
    /// Reads are those of a list of all sessions, whatever was committed, aborted and restarted
    /// between; what is stored is what restoring the changelog gives.
    #[test]
    fn a_session_store_is_what_was_put_and_has_not_expired(
        steps in prop::collection::vec(any_step(), 1..60),
        retention in 1..=2 * INTERVAL,
    ) {
        let mut bench = Bench::new(retention);
        let (mut model, mut committed) = (Model::default(), Model::default());
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                Step::Put(session, value) => {
                    bench.store().put(&session, value).unwrap();
                    model.put(session, Some(value), retention);
                }
                Step::Remove(session) => {
                    bench.store().remove(&session).unwrap();
                    model.put(session, None, retention);
                }
                Step::Commit => {
                    bench.commit();
                    committed = model.clone();
                    prop_assert_eq!(bench.contents(), bench.replayed());
                }
                Step::Abort => {
                    bench = bench.abort();
                    model = Model { expired: 0, ..committed.clone() };
                }
                Step::Find(first, last, end, start) => {
                    let store = bench.store();
                    let times = (Timestamp(end), Timestamp(start));
                    let list = |found: Result<WindowedIterator<_, _>, StoreError>| {
                        found.unwrap().map(Result::unwrap).collect::<Vec<_>>()
                    };
                    let mut one = model.find((&first, &first), (end, start), retention);
                    let found = list(store.find_sessions(&first, times.0, times.1));
                    prop_assert_eq!(&found, &one);
                    one.reverse();
                    let found = list(store.backward_find_sessions(&first, times.0, times.1));
                    prop_assert_eq!(found, one);
                    let keys = (Some(&first), Some(&last));
                    let some = model.find((&first, &last), (end, start), retention);
                    let found = list(store.find_sessions_of_keys(keys, times.0, times.1));
                    prop_assert_eq!(found, some);
                    let all = model.find((&[], &[0xff; 3]), (0, i64::MAX), retention);
                    prop_assert_eq!(&list(store.fetch_keys((None, None))), &all);
                    if let Some((Windowed { key, window }, value)) = all.first() {
                        let found = store.fetch_session(key, window.start, window.end).unwrap();
                        prop_assert_eq!(found, Some(*value));
                    }
                }
            }
            prop_assert_eq!(bench.shared.expired(), model.expired);
        }
    }
}

#[test]
fn the_changelog_has_the_keys_of_kafka_streams() {
    let mut bench = Bench::new(INTERVAL);
    let session = Windowed::new(b"k".to_vec(), Window::new(Timestamp(1), Timestamp(2)));
    bench.store().put(&session, 1).unwrap();
    bench.commit();
    assert_eq!(bench.log[0].0, b"k\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01");
    let found: Vec<_> = bench.store().fetch(&session.key).unwrap().map(Result::unwrap).collect();
    assert_eq!(found, [(session, 1)]);
}
