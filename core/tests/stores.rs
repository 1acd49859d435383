//! Stores as a processor uses them, over many commits and restarts.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Fixture, NOW, Recorder, config, record};
use tidemill_core::BoxError;
use tidemill_core::errors::Handlers;
use tidemill_core::processor::{Processor, ProcessorContext};
use tidemill_core::record::{OwnedRecord, Record};
use tidemill_core::serdes::{i64, string};
use tidemill_core::store::{KeyValueStore, StoreIndex, TaskStorage};
use tidemill_core::task::{Task, TaskIdle};
use tidemill_core::topology::{Consumed, Produced, Topology, key_value_store};

/// Counts by key; the value `delete` deletes the count.
#[derive(Default)]
struct Count(Option<KeyValueStore<String, i64>>);

impl Processor<String, String, String, String> for Count {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result<(), BoxError> {
        self.0 = Some(context.key_value_store("counts")?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        let store = self.0.as_ref().expect("init was called");
        let count = if record.value == "delete" {
            store.delete(&record.key)?;
            0
        } else {
            let count = store.get(&record.key)?.unwrap_or(0) + 1;
            store.put(&record.key, count)?;
            count
        };
        context.forward(record.with_value(count.to_string()))
    }
}

fn counting() -> Topology {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("count", Count::default, &["source"]))
        .and_then(|t| t.add_sink("sink", "out", Produced::with(string(), string()), &["count"]))
        .and_then(|t| t.add_state_store(key_value_store("counts", string(), i64()), &["count"]))
        .unwrap();
    topology
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn stored(storage: &impl TaskStorage) -> Contents {
    use std::ops::Bound::Unbounded;
    let order = tidemill_core::store::Order::Ascending;
    let all = storage.scan(StoreIndex(0), (Unbounded, Unbounded), order, usize::MAX).unwrap();
    all.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

fn fold(changelog: &[(StoreIndex, OwnedRecord)], onto: &mut Contents) {
    for (_, record) in changelog {
        let key = record.key.clone().unwrap();
        match &record.value {
            Some(value) => onto.insert(key, value.clone()),
            None => onto.remove(&key),
        };
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pipe {
        key: u8,
        delete: bool,
    },
    Commit,
    /// The transaction is aborted and the task built anew.
    Abort,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..6_u8, prop::bool::weighted(0.2))
            .prop_map(|(key, delete)| Step::Pipe { key, delete }),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
    ]
}

proptest! {
    /// After every commit and abort the storage is the fold of the committed changelog records, and
    /// the committed outputs are those of a run without trouble.
    #[test]
    fn inv_5_and_inv_2_commits_and_aborts_leave_the_fold_of_the_committed_changelog(
        steps in prop::collection::vec(step(), 1..80)
    ) {
        let topology = counting();
        let mut fixture = Fixture::new(&topology);
        let mut input: Vec<OwnedRecord> = Vec::new();
        let mut folded = Contents::new();
        let mut committed = Vec::new();
        for step in steps.into_iter().chain([Step::Commit]) {
            match step {
                Step::Pipe { key, delete } => {
                    let offset = i64::try_from(input.len()).unwrap();
                    let value = if delete { "delete" } else { "count" };
                    input.push(record(offset, offset, &key.to_string(), value));
                    fixture.task.enqueue(0, input.last().unwrap().clone());
                    fixture.process(0);
                }
                Step::Commit => {
                    fixture.commit();
                    fold(&std::mem::take(&mut fixture.sent.logged), &mut folded);
                    committed.extend(fixture.sent.values("out"));
                    fixture.sent.sent.clear();
                }
                Step::Abort => {
                    // as if the commit failed after the flush
                    fixture.task.prepare_commit(&mut fixture.sent, NOW).unwrap();
                    let storage = fixture.storage.clone();
                    storage.borrow_mut().discard();
                    let checkpoint = storage.borrow().checkpoint().clone();
                    fixture = Fixture::on(&topology, storage, TaskIdle::Never, Handlers::default());
                    let position = checkpoint.inputs.values().next().copied();
                    let position = position.unwrap_or(support::start(0, -1));
                    fixture.task.resume(0, position);
                    for again in &input[usize::try_from(position.offset.0).unwrap()..] {
                        fixture.task.enqueue(0, again.clone());
                        fixture.process(0);
                    }
                }
            }
            prop_assert_eq!(&stored(&*fixture.storage.borrow()), &folded);
        }
        let mut untroubled = Fixture::new(&topology);
        input.into_iter().for_each(|record| untroubled.task.enqueue(0, record));
        untroubled.process_all();
        prop_assert_eq!(committed, untroubled.sent.values("out"));
    }
}

#[test]
fn inv_11_a_task_tells_what_its_stores_hold_and_what_only_a_commit_frees() {
    let mut fixture = Fixture::new(&counting());
    assert_eq!(fixture.task.store_bytes(), (0, 0));
    for offset in 0..100 {
        fixture.task.enqueue(0, record(offset, 0, &offset.to_string(), "count"));
    }
    fixture.process_all();
    let (held, dirty) = fixture.task.store_bytes();
    assert!(dirty > 0 && dirty == held, "{dirty} of {held}");
    fixture.commit();
    let (held, dirty) = fixture.task.store_bytes();
    assert!(held > 0, "what was written stays as a read cache");
    assert_eq!(dirty, 0);
}

#[test]
fn inv_11_the_read_cache_shrinks_to_its_bound_at_each_commit() {
    let mut sent = Recorder::default();
    let mut bounded = config(TaskIdle::Never, Handlers::default());
    bounded.store_cache_bytes_max = 1_000;
    let storage = support::storage();
    let mut task = Task::new(&counting(), bounded, storage.clone(), &mut sent, NOW).unwrap();
    task.resume(0, support::start(0, -1));
    for offset in 0..200 {
        task.enqueue(0, record(offset, 0, &offset.to_string(), "count"));
        task.process(&mut sent, NOW).unwrap();
    }
    assert!(task.store_bytes().0 > 1_000);
    let plan = task.prepare_commit(&mut sent, NOW).unwrap();
    task.complete_commit(plan, BTreeMap::new(), support::proof()).unwrap();
    assert!(task.store_bytes().0 <= 1_000);
    assert_eq!(stored(&*storage.borrow()).len(), 200);
}

#[test]
fn a_processor_gets_only_the_stores_that_it_is_connected_to_and_only_by_their_types() {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("count", Count::default, &["source"]))
        .unwrap();
    let refused = |topology: &Topology| {
        let storage = support::storage();
        let config = config(TaskIdle::Never, Handlers::default());
        let task =
            Task::<OwnedRecord>::new(topology, config, storage, &mut Recorder::default(), NOW);
        task.err().unwrap().to_string()
    };
    let text = refused(&topology);
    assert!(text.ends_with("processor count has no store counts (connected: none)"), "{text}");
    let wrong = key_value_store("counts", string(), string());
    topology.add_state_store(wrong, &["count"]).unwrap();
    let text = refused(&topology);
    assert!(text.contains("store counts is a ") && text.contains("i64"), "{text}");
}
