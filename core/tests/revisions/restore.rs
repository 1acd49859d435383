//! Stores that come back from their changelogs, on another machine or after the disk was lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidemill_core::dsl::{DeduplicationWindow, Materialized};
use tidemill_core::errors::Handlers;
use tidemill_core::record::Timestamp;
use tidemill_core::store::{Checkpoint, MemoryStorage, StoreIndex, TaskStorage};
use tidemill_core::task::{Task, TaskIdle};
use tidemill_core::topology::Topology;

use crate::common::{Run, deduplicated, from_one, millis, revision, texts, topology};
use crate::fixture::{NOW, Recorder, config, proof, record, start};

/// What restoring writes: every changelog folded into an empty storage.
fn restored(run: &Run, topology: &Topology) -> Rc<RefCell<MemoryStorage>> {
    let mut storage = MemoryStorage::new();
    for (index, spec) in (0..).map(StoreIndex).zip(&topology.sub_topologies()[0].stores) {
        let mut stored = Vec::new();
        for record in run.driver.changelog(&spec.name).unwrap() {
            let key = record.key.unwrap();
            match record.value {
                Some(value) => {
                    spec.stored_value(record.timestamp.0, &value, &mut stored);
                    storage.stage(index, &key, Some(&stored));
                }
                None => storage.stage(index, &key, None),
            }
        }
    }
    let checkpoint = Checkpoint { commit_number: 1, ..Checkpoint::default() };
    storage.publish(checkpoint, proof()).unwrap();
    Rc::new(RefCell::new(storage))
}

/// Runs records (key, value, timestamp) on a restored task; returns the values that come out, and
/// how many were ignored.
fn goes_on(
    run: &Run,
    topology: &Topology,
    stream_time: i64,
    records: &[(&str, &str, i64)],
) -> (Vec<String>, u64) {
    run_on(&restored(run, topology), topology, stream_time, records)
}

fn run_on(
    storage: &Rc<RefCell<MemoryStorage>>,
    topology: &Topology,
    stream_time: i64,
    records: &[(&str, &str, i64)],
) -> (Vec<String>, u64) {
    let mut sent = Recorder::default();
    let config = config(TaskIdle::Never, Handlers::default());
    let mut task = Task::new(topology, config, storage.clone(), &mut sent, NOW).unwrap();
    task.resume(0, start(0, stream_time));
    for (offset, (key, value, at)) in (0..).zip(records) {
        task.enqueue(0, record(offset, *at, key, value));
        assert!(task.process(&mut sent, Timestamp(0)).unwrap());
        let plan = task.prepare_commit(&mut sent, NOW).unwrap();
        task.complete_commit(plan, BTreeMap::new(), proof()).unwrap();
    }
    (sent.values("out"), task.ignored())
}

#[test]
fn rv9_last_revisions_and_their_times_survive_a_restore() {
    let topology = topology(|stream| {
        let options = deduplicated().forget_after(millis(100)).forget_deleted_after(millis(50));
        stream.try_deduplicate_by_revision(revision, options, Materialized::as_("last"))
    });
    let run = Run::new(&topology);
    run.send("old", Some("9"), 0);
    run.send("tea", Some("5"), 60);
    run.send("milk", Some("5"), 61);
    run.send("milk", None, 70);
    run.send("tea", Some("6"), 90);
    let records = [
        ("tea", "6 again", 90),
        ("milk", "5 again", 90),
        ("old", "1", 101),
        ("milk", "6", 102),
        ("tea", "6 again", 190),
        ("milk", "1", 303),
        ("tea", "1", 303),
    ];
    let (out, ignored) = goes_on(&run, &topology, 90, &records);
    // `old` was forgotten at 101, by the index that came back with the store
    assert_eq!(out, ["1", "6", "1", "1"]);
    assert_eq!(ignored, 3);
}

#[test]
fn rv9_parked_records_survive_a_restore() {
    let topology = topology(|stream| {
        stream.try_in_revision_order(revision, from_one(), Materialized::as_("progress"))
    });
    let run = Run::new(&topology);
    run.send("a", Some("1"), 1);
    run.send("a", Some("3 c"), 2);
    run.send("b", Some("2 b"), 3);
    let records = [("a", "3 again", 4), ("a", "2", 5), ("b", "1", 6), ("a", "1", 7), ("a", "4", 8)];
    let (out, ignored) = goes_on(&run, &topology, 3, &records);
    assert_eq!(out, ["2", "3 c", "1", "2 b", "4"]);
    assert_eq!(ignored, 2);
}

#[test]
fn rv9_ids_and_their_window_survive_a_restore() {
    let topology = topology(|stream| {
        let ids = Materialized::as_("ids").with_key_serde(texts());
        let window = DeduplicationWindow::of(millis(10));
        stream.deduplicate_by_id(|value| value.clone(), window, ids)
    });
    let run = Run::new(&topology);
    run.send("k", Some("a"), 100);
    run.send("k", Some("b"), 105);
    let records = [("k", "a", 110), ("k", "a", 111), ("k", "b", 111), ("k", "b", 116)];
    let (out, ignored) = goes_on(&run, &topology, 105, &records);
    assert_eq!(out, ["a", "b"]);
    assert_eq!(ignored, 2);
}

#[test]
fn an_entry_of_the_index_that_is_not_the_keys_own_is_dropped() {
    let topology = topology(|stream| {
        let options = deduplicated().forget_after(millis(100));
        stream.try_deduplicate_by_revision(revision, options, Materialized::as_("last"))
    });
    let run = Run::new(&topology);
    run.send("tea", Some("5"), 10);
    let storage = restored(&run, &topology);
    // as if only the store, not its index, had been wiped once: `tea` was armed at 7 then
    let index = StoreIndex(1);
    let stale = [&(7 ^ i64::MIN).to_be_bytes()[..], b"tea"].concat();
    storage.borrow_mut().stage(index, &stale, Some(&[1]));
    let checkpoint = Checkpoint { commit_number: 2, ..Checkpoint::default() };
    storage.borrow_mut().publish(checkpoint, proof()).unwrap();
    assert_eq!(storage.borrow().approximate_len(index), 2);
    let (out, ignored) = run_on(&storage, &topology, 10, &[("tea", "5", 20), ("milk", "1", 111)]);
    assert_eq!((out, ignored), (vec!["1".to_owned()], 1));
    // `tea` was seen at 20 and put back, under one time only
    assert_eq!(storage.borrow().approximate_len(index), 2);
    assert_eq!(storage.borrow().approximate_len(StoreIndex(0)), 2);
}
