//! What `suppress` holds back and lets go, against a list that is searched from end to end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidemill_core::dsl::{
    BufferBounds, BufferConfig, Grouped, Materialized, StreamsBuilder, Suppressed,
};
use tidemill_core::errors::{Handlers, LogAndContinue};
use tidemill_core::record::OwnedRecord;
use tidemill_core::serdes::{json, string};
use tidemill_core::store::{Checkpoint, MemoryStorage, StoreIndex, TaskStorage};
use tidemill_core::task::TaskIdle;
use tidemill_core::topology::{Consumed, Topology};
use tidemill_core::window::TimeWindowedSerde;

use super::fixture::{Fixture, proof, record, start, storage};
use super::support::{Run, changes, table};

/// Key, value (`-` deletes), timestamp.
type Step = (String, String, i64);

/// A key that waits.
struct Place {
    since: i64,
    key: String,
    value: String,
    at: i64,
}

/// Does what the operator is to do, slowly.
struct Model {
    wait: i64,
    keys_max: usize,
    observed: i64,
    places: Vec<Place>,
}

impl Model {
    fn new(wait: i64, keys_max: usize) -> Self {
        Self { wait, keys_max, observed: -1, places: Vec::new() }
    }

    /// Takes a change; returns what goes on.
    fn take(&mut self, (key, value, at): &Step) -> Vec<Step> {
        self.observed = self.observed.max(*at);
        match self.places.iter_mut().find(|place| place.key == *key) {
            Some(place) => (place.value, place.at) = (value.clone(), *at),
            None => {
                let (key, value) = (key.clone(), value.clone());
                self.places.push(Place { since: *at, key, value, at: *at });
            }
        }
        self.places.sort_by(|a, b| (a.since, &a.key).cmp(&(b.since, &b.key)));
        let mut gone = Vec::new();
        while let Some(first) = self.places.first() {
            let due = first.since <= self.observed - self.wait;
            if !due && self.places.len() <= self.keys_max {
                break;
            }
            let Place { key, value, at, .. } = self.places.remove(0);
            gone.push((key, value, at));
        }
        gone
    }
}

fn bounds(keys_max: usize) -> BufferBounds {
    BufferConfig::max_records(keys_max as u64).into()
}

fn limited(wait: i64, keys_max: usize) -> Suppressed<String> {
    Suppressed::until_time_limit(Duration::from_millis(wait as u64), bounds(keys_max))
}

fn steps(back: i64) -> impl Strategy<Value = Vec<Step>> {
    let step = ("[k-p]{1,2}", prop_oneof![3 => "[a-c]{1,2}", 1 => Just("-".to_owned())], -back..9);
    prop::collection::vec(step, 1..60).prop_map(|steps| {
        let mut at = 1_000;
        let placed = steps.into_iter().map(|(key, value, advance)| {
            at += advance;
            (key, value, at)
        });
        placed.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn changes_go_in_order_when_they_are_due(
        steps in steps(9),
        wait in 0..20_i64,
        keys_max in prop_oneof![Just(usize::MAX), 0..4_usize],
    ) {
        let run = Run::new(|builder| {
            let table = table(builder, "t", false).suppress(limited(wait, keys_max));
            table.to_stream().to("out", changes());
        });
        let mut model = Model::new(wait, keys_max);
        for step in &steps {
            run.pipe("t", &step.0, &step.1, step.2);
            prop_assert_eq!(run.out(), model.take(step));
        }
    }

    /// Each row is taken from the group that it was added to: an aggregate that panics on anything
    /// else does not.
    #[test]
    fn those_below_are_told_what_they_know(steps in steps(9), wait in 0..20_i64) {
        let run = Run::new(|builder| {
            let add = |_: &String, row: String, mut rows: BTreeMap<String, i32>| {
                assert_eq!(rows.insert(row, 1), None, "a row is added twice");
                rows
            };
            let take = |_: &String, row: String, mut rows: BTreeMap<String, i32>| {
                assert_eq!(rows.remove(&row), Some(1), "a row is taken that was not added");
                rows
            };
            table(builder, "t", false)
                .suppress(limited(wait, usize::MAX))
                .group_by(|key, value| (value, key.clone()), Grouped::with(string(), string()))
                .aggregate(
                    BTreeMap::new,
                    add,
                    take,
                    Materialized::with(string(), json()).with_caching_disabled(),
                );
        });
        steps.iter().for_each(|(key, value, at)| run.pipe("t", key, value, *at));
    }

    /// Tasks that die between records and commits let go what one that never died does, also when
    /// every store comes back from its changelog.
    #[test]
    fn inv_5_what_was_not_committed_leaves_no_trace(
        steps in steps(0),
        wait in 0..30_i64,
        keys_max in prop_oneof![Just(usize::MAX), 0..4_usize],
        fates in prop::collection::vec(0..4_u8, 0..80),
    ) {
        let topology = topology(wait, keys_max);
        let records: Vec<OwnedRecord> = (0..)
            .zip(&steps)
            .map(|(offset, (key, value, at))| {
                let mut made = record(offset, *at, key, value);
                made.value = made.value.filter(|_| value != "-");
                made
            })
            .collect();
        let mut model = Model::new(wait, keys_max);
        let expected: Vec<Step> = steps.iter().flat_map(|step| model.take(step)).collect();
        prop_assert_eq!(survive(&topology, &records, &fates), expected);
    }
}

fn topology(wait: i64, keys_max: usize) -> Topology {
    let builder = StreamsBuilder::new();
    let suppressed = table(&builder, "t", false).suppress(limited(wait, keys_max));
    suppressed.to_stream().to("out", changes());
    builder.build().unwrap()
}

/// Processes all records. After each, `fate` says whether to commit (1), to die (2), to commit and
/// lose the disk (3), or neither.
fn survive(topology: &Topology, records: &[OwnedRecord], fate: &[u8]) -> Vec<Step> {
    let mut storage = storage();
    let mut changelogs = BTreeMap::new();
    let mut fates = fate.iter().copied().chain(std::iter::repeat(1));
    let mut out = Vec::new();
    'lives: loop {
        let handlers = Handlers::default();
        let mut fixture = Fixture::on(topology, storage.clone(), TaskIdle::Never, handlers);
        let inputs = storage.borrow().checkpoint().inputs.clone();
        let at = inputs.values().next().copied().unwrap_or(start(0, -1));
        fixture.task.resume(0, at);
        for record in &records[at.offset.0 as usize..] {
            fixture.task.enqueue(0, record.clone());
        }
        loop {
            let worked = fixture.process(0);
            let fate = if worked { fates.next() } else { None };
            match fate {
                Some(2) => continue 'lives,
                Some(0) => {}
                _ => {
                    fixture.commit();
                    out.extend(fixture.sent.sent.drain(..).map(|(_, _, sent)| step(sent)));
                    for (store, logged) in fixture.sent.logged.drain(..) {
                        changelogs.insert((store, logged.key.unwrap()), logged.value);
                    }
                }
            }
            if fate == Some(3) {
                let found = restored(&changelogs, topology, &storage.borrow());
                storage = found;
                continue 'lives;
            }
            if !worked {
                return out;
            }
        }
    }
}

fn step(record: OwnedRecord) -> Step {
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
    let value = text(record.value).unwrap_or_else(|| "-".to_owned());
    (text(record.key).unwrap(), value, record.timestamp.0)
}

/// Folds changelogs into an empty storage, at the position of the one that is lost.
fn restored(
    changelogs: &BTreeMap<(StoreIndex, Vec<u8>), Option<Vec<u8>>>,
    topology: &Topology,
    lost: &MemoryStorage,
) -> Rc<RefCell<MemoryStorage>> {
    let specs = &topology.sub_topologies()[0].stores;
    let (mut storage, mut stored) = (MemoryStorage::new(), Vec::new());
    for ((store, key), value) in changelogs {
        let Some(value) = value else { continue };
        specs[store.0 as usize].stored_value(0, value, &mut stored);
        storage.stage(*store, key, Some(&stored));
    }
    let checkpoint = Checkpoint { commit_number: 1, ..lost.checkpoint().clone() };
    storage.publish(checkpoint, proof()).unwrap();
    Rc::new(RefCell::new(storage))
}

#[test]
fn a_strict_buffer_that_is_full_ends_the_task_whatever_the_handler_says() {
    let builder = StreamsBuilder::new();
    let config = BufferConfig::max_records(1).shut_down_when_full();
    let suppressed = Suppressed::until_time_limit(Duration::from_millis(9), config);
    let table = table(&builder, "t", false);
    table.suppress(suppressed.with_name("final")).to_stream().to("out", changes());
    let handlers = Handlers { processing: Arc::new(LogAndContinue), ..Handlers::default() };
    let mut fixture = Fixture::with(&builder.build().unwrap(), TaskIdle::Never, handlers);
    fixture.task.enqueue(0, record(0, 1, "a", "1"));
    fixture.task.enqueue(0, record(1, 2, "b", "2"));
    assert!(fixture.process(0));
    let at = tidemill_core::record::Timestamp(0);
    let error = fixture.task.process(&mut fixture.sent, at).unwrap_err();
    let expected = "the buffer of final is full: 2 of 1 records";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn a_buffer_without_changelog_logs_nothing() {
    let run = Run::new(|builder| {
        let config = BufferConfig::unbounded().with_logging_disabled();
        let suppressed = Suppressed::until_time_limit(Duration::from_millis(9), config);
        table(builder, "t", false).suppress(suppressed).to_stream().to("out", changes());
    });
    run.pipe("t", "k", "a", 1);
    run.pipe("t", "k", "b", 20);
    assert_eq!(run.out(), [("k".to_owned(), "b".to_owned(), 20)]);
    assert_eq!(run.driver.produced_topic_names().unwrap(), ["out", "test-t-changelog"]);
}

#[test]
fn a_table_without_serdes_can_not_wait() {
    let builder = StreamsBuilder::new();
    let suppressed = Suppressed::until_time_limit(Duration::ZERO, BufferConfig::unbounded());
    builder
        .table("t", Consumed::with(string(), string()), Materialized::default())
        .map_values(|value| value.len(), Materialized::default())
        .suppress(suppressed.with_name("nameless"));
    let error = builder.build().unwrap_err().to_string();
    assert!(error.starts_with("nameless: no value serde is given"), "{error}");
}

#[test]
fn windows_that_no_aggregation_made_do_not_close() {
    let builder = StreamsBuilder::new();
    let keys = TimeWindowedSerde::new(string(), 10);
    builder
        .table("t", Consumed::with(keys, string()), Materialized::default())
        .filter(|_, _| true, Materialized::default())
        .suppress(Suppressed::until_window_closes(BufferConfig::unbounded()).with_name("final"));
    let error = builder.build().unwrap_err().to_string();
    let expected = "final: when a window closes is known of windowed aggregations only";
    assert!(error.starts_with(expected) && error.contains("KTABLE-FILTER-"), "{error}");
}
