//! The task that fills the stores: all partitions, one batch with the positions, on from there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tidemill_core::dsl::{Materialized, StreamsBuilder};
use tidemill_core::errors::{DeadLetterQueue, Handlers, LogAndContinue};
use tidemill_core::record::{Offset, OwnedRecord, Partition, TaskId, TopicPartition};
use tidemill_core::store::{InputPosition, MemoryStorage, StoreIndex, TaskStorage};
use tidemill_core::task::{NothingSent, Task, TaskConfig, TaskIdle};
use tidemill_core::topology::Topology;

use super::support::{NOW, config, record, start, storage};
use super::{out, strings};

fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    builder.global_table("t", strings(), Materialized::as_("table"));
    builder.global_table("u", strings(), Materialized::as_("other"));
    builder.stream("s", strings()).to("out", out());
    builder.build().expect("the topology is right")
}

/// The task with the positions of its storage, or the beginning.
fn task(
    storage: &Rc<RefCell<MemoryStorage>>,
    partitions: [u32; 2],
    handlers: Handlers,
) -> Task<OwnedRecord> {
    let counts = ["t", "u"].map(str::to_owned).into_iter().zip(partitions).collect();
    let config = TaskConfig { ..config(TaskIdle::Never, handlers) };
    let mut task =
        Task::global(&topology(), &counts, config, storage.clone(), &mut NothingSent, NOW)
            .expect("the topology is right");
    let known: BTreeMap<TopicPartition, InputPosition> =
        storage.borrow().checkpoint().inputs.clone();
    let inputs: Vec<TopicPartition> = task.inputs().cloned().collect();
    for (queue, input) in inputs.iter().enumerate() {
        task.resume(queue, known.get(input).copied().unwrap_or(start(0, -1)));
    }
    task
}

fn take(task: &mut Task<OwnedRecord>) {
    while task.process(&mut NothingSent, NOW).expect("no record is bad") {}
    let plan = task.prepare_commit(&mut NothingSent, NOW).expect("nothing fails");
    task.publish_global(plan).expect("memory holds");
}

fn stored(storage: &Rc<RefCell<MemoryStorage>>, store: u32) -> Vec<(String, String)> {
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let order = tidemill_core::store::Order::Ascending;
    let entries = storage.borrow().scan(StoreIndex(store), all, order, 100).expect("memory holds");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the tests store text");
    // the timestamp is before the value
    entries.iter().map(|(key, value)| (text(key), text(&value[8..]))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn there_is_a_queue_for_each_partition_and_one_store_for_all_of_them() {
    let storage = storage();
    let mut task = task(&storage, [3, 1], Handlers::default());
    assert_eq!(task.id(), TaskId::GLOBAL);
    let inputs: Vec<String> = task.inputs().map(ToString::to_string).collect();
    assert_eq!(inputs, ["t-0", "t-1", "t-2", "u-0"]);
    task.enqueue(0, record(5, 1, "a", "one"));
    task.enqueue(2, record(0, 2, "b", "two"));
    task.enqueue(2, record(1, 1, "b", "older, and later in the log"));
    task.enqueue(3, record(9, 1, "a", "in the other table"));
    take(&mut task);
    assert_eq!(stored(&storage, 0), pairs(&[("a", "one"), ("b", "older, and later in the log")]));
    assert_eq!(stored(&storage, 1), pairs(&[("a", "in the other table")]));
    let positions: Vec<_> = (0..4).filter_map(|queue| task.position(queue)).collect();
    assert_eq!(positions, [Offset(6), Offset(0), Offset(2), Offset(10)]);
}

#[test]
fn inv_3_contents_and_positions_are_one_batch_and_a_restart_goes_on_from_there() {
    let storage = storage();
    let mut first = task(&storage, [2, 1], Handlers::default());
    first.enqueue(0, record(0, 1, "a", "one"));
    first.enqueue(1, record(0, 1, "b", "two"));
    take(&mut first);
    let checkpoint = storage.borrow().checkpoint().clone();
    let at = |topic: &str, partition| {
        let partition = TopicPartition::new(topic, Partition(partition));
        checkpoint.inputs.get(&partition).map(|position| position.offset)
    };
    assert_eq!(at("t", 0), Some(Offset(1)));
    assert_eq!(at("t", 1), Some(Offset(1)));
    assert_eq!(at("u", 0), Some(Offset(0)));
    let stores: Vec<&str> = checkpoint.changelogs.keys().map(String::as_str).collect();
    assert_eq!(stores, ["other", "table"], "each store is known to be at these positions");
    // what was not published is gone with the task
    first.enqueue(0, record(1, 2, "a", "lost with the process"));
    assert!(first.process(&mut NothingSent, NOW).expect("no record is bad"));
    drop(first);
    // a partition was added meanwhile
    let mut second = task(&storage, [3, 1], Handlers::default());
    let positions: Vec<_> = (0..4).filter_map(|queue| second.position(queue)).collect();
    assert_eq!(positions, [Offset(1), Offset(1), Offset(0), Offset(0)]);
    assert_eq!(stored(&storage, 0), pairs(&[("a", "one"), ("b", "two")]));
    let mut deleted = record(1, 2, "a", "");
    deleted.value = None;
    second.enqueue(0, deleted);
    take(&mut second);
    assert_eq!(stored(&storage, 0), pairs(&[("b", "two")]));
    assert_eq!(storage.borrow().checkpoint().commit_number, 2);
}

#[test]
fn control_records_at_the_end_are_passed() {
    let storage = storage();
    let mut task = task(&storage, [1, 1], Handlers::default());
    assert!(!task.commit_needed());
    task.end_of_partition(0, Offset(7));
    assert!(task.commit_needed(), "the next start need not read them again");
    take(&mut task);
    let positions = storage.borrow().checkpoint().inputs.clone();
    assert_eq!(positions[&TopicPartition::new("t", Partition(0))].offset, Offset(7));
}

#[test]
fn records_without_a_key_are_dropped_and_those_that_cannot_be_read_go_to_the_handler() {
    let unreadable = || {
        let mut bad = record(1, 1, "b", "");
        bad.value = Some(vec![0xff]);
        bad
    };
    let mut no_key = record(0, 1, "", "x");
    no_key.key = None;
    let handlers =
        Handlers { deserialization: std::sync::Arc::new(LogAndContinue), ..Handlers::default() };
    let storage = storage();
    let mut lenient = task(&storage, [1, 1], handlers);
    lenient.enqueue(0, no_key);
    lenient.enqueue(0, unreadable());
    lenient.enqueue(0, record(2, 1, "c", "kept"));
    take(&mut lenient);
    assert_eq!(lenient.counts().1, 2, "both are counted");
    assert_eq!(stored(&storage, 0), pairs(&[("c", "kept")]));

    let mut strict = task(&storage, [1, 1], Handlers::default());
    strict.enqueue(0, record(3, 1, "d", "kept"));
    assert!(strict.process(&mut NothingSent, NOW).expect("this one is fine"));
    let mut bad = unreadable();
    bad.offset = Offset(4);
    strict.enqueue(0, bad);
    let error = strict.process(&mut NothingSent, NOW).expect_err("the handler says fail");
    let text = error.to_string();
    assert!(text.contains("could not read record 4 of t-0"), "{text}");
}

#[test]
fn there_is_no_dead_letter_queue_and_the_error_says_so() {
    let handlers = Handlers {
        deserialization: std::sync::Arc::new(DeadLetterQueue("dead".to_owned())),
        ..Handlers::default()
    };
    let mut task = task(&storage(), [1, 1], handlers);
    let mut bad = record(0, 1, "b", "");
    bad.value = Some(vec![0xff]);
    task.enqueue(0, bad);
    let error = task.process(&mut NothingSent, NOW).expect_err("it can't be sent");
    let text = format!("{error} {:?}", error.cause);
    assert!(text.contains("have the handler continue or fail"), "{text}");
}

#[test]
#[should_panic(expected = "INV-2: a task is published without its transaction")]
fn inv_2_only_the_global_task_is_published_without_a_transaction() {
    let mut other = super::support::Fixture::new(&{
        let builder = StreamsBuilder::new();
        builder.stream("s", strings()).to("out", out());
        builder.build().expect("the topology is right")
    });
    let plan = other.task.prepare_commit(&mut other.sent, NOW).expect("nothing fails");
    let _ = other.task.publish_global(plan);
}
