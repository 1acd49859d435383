//! What a task commits: offsets of what it processed, and only that.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use support::{Fixture, NOW, Pass, Recorder, config, proof, record, start};
use tidemill_core::errors::{Handlers, LogAndContinue};
use tidemill_core::record::{Offset, OwnedRecord, Partition, StreamTime};
use tidemill_core::serdes::string;
use tidemill_core::store::TaskStorage;
use tidemill_core::task::{Task, TaskIdle};
use tidemill_core::topology::{Consumed, Produced, Topology, key_value_store};

fn passing() -> Topology {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("pass", || Pass, &["source"]))
        .and_then(|t| t.add_sink("sink", "out", Produced::with(string(), string()), &["pass"]))
        .and_then(|t| t.add_state_store(key_value_store("s", string(), string()), &["pass"]))
        .unwrap();
    topology
}

fn skipping() -> Fixture {
    let skip = Arc::new(LogAndContinue);
    let handlers =
        Handlers { deserialization: skip.clone(), processing: skip.clone(), production: skip };
    Fixture::with(&passing(), TaskIdle::Never, handlers)
}

fn unreadable(offset: i64) -> OwnedRecord {
    OwnedRecord { value: Some(vec![0xff]), ..record(offset, 5, "k", "") }
}

#[test]
fn inv_8_the_offset_is_that_of_the_next_record_to_process() {
    let mut fixture = Fixture::new(&passing());
    for offset in [0, 1, 5, 9] {
        fixture.task.enqueue(0, record(offset, 1, "k", "v"));
    }
    assert_eq!(fixture.commit(), [0]);
    fixture.process(0);
    assert_eq!(fixture.commit(), [1]);
    fixture.process(0);
    assert_eq!(fixture.commit(), [5], "the log may have gaps");
    fixture.process_all();
    assert_eq!(fixture.commit(), [10]);
}

#[test]
fn inv_8_control_records_at_the_tail_are_passed() {
    let mut fixture = Fixture::new(&passing());
    fixture.task.enqueue(0, record(0, 1, "k", "v"));
    fixture.process(0);
    assert_eq!(fixture.commit(), [1]);
    assert!(!fixture.task.commit_needed());
    // offset 1 is the commit marker (KAFKA-6607)
    fixture.task.end_of_partition(0, Offset(2));
    assert!(fixture.task.commit_needed());
    assert_eq!(fixture.commit(), [2]);
    fixture.task.end_of_partition(0, Offset(2));
    assert!(!fixture.task.commit_needed());
}

#[test]
fn inv_8_control_records_are_passed_when_the_end_was_told_before_the_records_were_done() {
    let mut fixture = Fixture::new(&passing());
    fixture.task.enqueue(0, record(0, 1, "k", "v"));
    fixture.task.enqueue(0, record(1, 1, "k", "v"));
    fixture.task.end_of_partition(0, Offset(3));
    assert_eq!(fixture.commit(), [0]);
    fixture.process(0);
    assert_eq!(fixture.commit(), [1], "records before the end were skipped");
    fixture.process(0);
    assert_eq!(fixture.commit(), [3]);
    fixture.task.enqueue(0, record(3, 1, "k", "v"));
    assert_eq!(fixture.commit(), [3]);
}

#[test]
fn inv_8_a_skipped_record_at_the_tail_moves_the_offset_too() {
    let mut fixture = skipping();
    fixture.task.enqueue(0, record(0, 1, "k", "v"));
    fixture.task.enqueue(0, unreadable(1));
    assert!(fixture.process(0));
    assert!(!fixture.process(0));
    assert!(fixture.task.commit_needed());
    assert_eq!(fixture.commit(), [2]);
    // and without a readable record before it (KAFKA-6502)
    fixture.task.enqueue(0, unreadable(2));
    assert!(!fixture.process(0));
    assert!(fixture.task.commit_needed());
    assert_eq!(fixture.commit(), [3]);
    assert_eq!(fixture.task.counts(), (1, 2));
}

#[test]
fn skipped_records_between_readable_ones_do_not_stop_the_partition() {
    let mut fixture = skipping();
    fixture.task.enqueue(0, unreadable(0));
    fixture.task.enqueue(0, unreadable(1));
    fixture.task.enqueue(0, record(2, 7, "k", "seen"));
    assert!(fixture.process(0));
    assert_eq!(fixture.sent.values("out"), ["seen"]);
    assert_eq!(fixture.commit(), [3]);
}

#[test]
#[should_panic(expected = "INV-7: no position of in-0")]
fn inv_7_a_task_without_a_position_does_not_commit() {
    let storage = support::storage();
    let mut sent = Recorder::default();
    let config = config(TaskIdle::Never, Handlers::default());
    let mut task = Task::<OwnedRecord>::new(&passing(), config, storage, &mut sent, NOW).unwrap();
    let _ = task.prepare_commit(&mut sent, NOW);
}

#[test]
#[should_panic(expected = "INV-8: record 4 of in-0 came behind position")]
fn inv_8_a_record_that_was_processed_before_is_refused() {
    let mut fixture = Fixture::new(&passing());
    fixture.task.resume(0, start(5, -1));
    fixture.task.enqueue(0, record(4, 1, "k", "v"));
}

#[test]
#[should_panic(expected = "INV-8: record 6 of in-0 came behind position")]
fn inv_8_a_record_that_is_queued_already_is_refused() {
    let mut fixture = Fixture::new(&passing());
    fixture.task.enqueue(0, record(6, 1, "k", "v"));
    fixture.task.enqueue(0, record(6, 1, "k", "v"));
}

#[test]
#[should_panic(expected = "INV-2: commits of task 0_0 are published in order")]
fn inv_2_a_commit_is_not_published_twice() {
    let mut fixture = Fixture::new(&passing());
    let plan = fixture.task.prepare_commit(&mut fixture.sent, NOW).unwrap();
    fixture.task.complete_commit(plan.clone(), BTreeMap::new(), proof()).unwrap();
    let _ = fixture.task.complete_commit(plan, BTreeMap::new(), proof());
}

#[test]
#[should_panic(expected = "INV-1: a plan of another task")]
fn inv_1_a_plan_is_published_by_its_own_task() {
    let mut fixture = Fixture::new(&passing());
    let mut plan = fixture.task.prepare_commit(&mut fixture.sent, NOW).unwrap();
    plan.task_id.partition = Partition(1);
    let _ = fixture.task.complete_commit(plan, BTreeMap::new(), proof());
}

#[test]
fn inv_3_the_checkpoint_has_changelogs_inputs_and_commit_number() {
    let mut fixture = Fixture::new(&passing());
    fixture.task.enqueue(0, record(0, 33, "k", "v"));
    fixture.process_all();
    assert!(!fixture.task.commit_requested());
    let plan = fixture.task.prepare_commit(&mut fixture.sent, NOW).unwrap();
    assert_eq!(plan.commit_number, 1);
    assert_eq!(fixture.storage.borrow().checkpoint().commit_number, 0);
    let changelogs = BTreeMap::from([("s".to_owned(), Offset(8))]);
    fixture.task.complete_commit(plan, changelogs.clone(), proof()).unwrap();
    let checkpoint = fixture.storage.borrow().checkpoint().clone();
    assert_eq!((checkpoint.commit_number, &checkpoint.changelogs), (1, &changelogs));
    let position = checkpoint.inputs.values().next().unwrap();
    assert_eq!(
        (position.offset, position.partition_time),
        (Offset(1), StreamTime::from_millis(33))
    );
    assert!(!fixture.task.commit_needed());
    // a store that did not write keeps its position
    assert_eq!(fixture.commit(), [1]);
    assert_eq!(fixture.storage.borrow().checkpoint().changelogs, changelogs);
}

#[test]
fn inv_11_the_queue_tells_its_bytes() {
    let mut fixture = Fixture::new(&passing());
    assert_eq!(fixture.task.buffered(0), (0, 0));
    fixture.task.enqueue(0, record(0, 1, "key", "value"));
    let (records, bytes) = fixture.task.buffered(0);
    assert_eq!(records, 1);
    assert!(bytes >= "keyvalue".len(), "{bytes}");
    fixture.process_all();
    assert_eq!(fixture.task.buffered(0), (0, 0));
}

#[test]
#[should_panic(expected = "INV-5: task 0_0 goes on after it failed")]
fn inv_5_a_task_that_failed_is_not_committed() {
    let mut fixture = Fixture::new(&passing());
    fixture.task.enqueue(0, record(0, 1, "k", "bad"));
    assert!(fixture.task.process(&mut fixture.sent, NOW).is_err());
    let _ = fixture.task.prepare_commit(&mut fixture.sent, NOW);
}
