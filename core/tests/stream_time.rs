//! Which record is next, how long a task waits for it, and what time it is then.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod support;

use std::time::Duration;

use support::{Fixture, Pass, record, start};
use tidemill_core::errors::Handlers;
use tidemill_core::record::{Offset, StreamTime, Timestamp};
use tidemill_core::serdes::string;
use tidemill_core::task::TaskIdle;
use tidemill_core::topology::{Consumed, Produced, Topology};

/// Merges topics `a`, `b` and `c` into `out`.
fn merging() -> Topology {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["a", "b", "c"])
        .and_then(|t| t.add_processor("pass", || Pass, &["source"]))
        .and_then(|t| t.add_sink("sink", "out", Produced::with(string(), string()), &["pass"]))
        .unwrap();
    topology
}

fn idling(idle: u64) -> Fixture {
    let idle = TaskIdle::CaughtUpAnd(Duration::from_millis(idle));
    Fixture::with(&merging(), idle, Handlers::default())
}

#[test]
fn the_smallest_timestamp_at_the_head_of_a_partition_is_next() {
    let mut fixture = Fixture::new(&merging());
    for (queue, times) in [(0, [10, 40]), (1, [5, 60]), (2, [50, 20])] {
        for (offset, time) in (0..).zip(times) {
            fixture.task.enqueue(queue, record(offset, time, "k", &time.to_string()));
        }
    }
    assert_eq!(fixture.process_all(), 6);
    // 20 stands behind 50 and waits for its turn
    assert_eq!(fixture.sent.values("out"), ["5", "10", "40", "50", "20", "60"]);
}

#[test]
fn of_equal_timestamps_the_next_is_the_one_that_kafka_streams_takes() {
    let mut fixture = Fixture::new(&merging());
    for queue in [2, 1, 0] {
        fixture.task.enqueue(queue, record(0, 7, "k", &queue.to_string()));
    }
    fixture.process_all();
    // the order of a Java PriorityQueue: the last to come takes the place of the first to go
    assert_eq!(fixture.sent.values("out"), ["2", "0", "1"]);
}

#[test]
fn inv_9_stream_time_is_the_largest_timestamp_taken_and_never_decreases() {
    let mut fixture = Fixture::new(&merging());
    assert_eq!(fixture.task.stream_time(), StreamTime::UNKNOWN);
    fixture.task.enqueue(0, record(0, 50, "k", "v"));
    assert_eq!(fixture.task.stream_time(), StreamTime::UNKNOWN, "a queued record was not taken");
    fixture.process(0);
    fixture.task.enqueue(0, record(1, 20, "k", "v"));
    fixture.process(0);
    assert_eq!(fixture.task.stream_time().get(), Some(Timestamp(50)));
}

#[test]
fn inv_9_stream_time_survives_a_restart_in_the_partition_times() {
    let topology = merging();
    let mut fixture = Fixture::new(&topology);
    fixture.task.enqueue(0, record(0, 50, "k", "v"));
    fixture.task.enqueue(1, record(0, 70, "k", "v"));
    fixture.process_all();
    let plan = fixture.task.prepare_commit(&mut fixture.sent, support::NOW).unwrap();
    let times: Vec<_> = plan.inputs.values().map(|at| at.partition_time.as_millis()).collect();
    assert_eq!(times, [50, 70, -1]);

    let mut resumed = Fixture::new(&topology);
    for (queue, position) in plan.inputs.values().enumerate() {
        resumed.task.resume(queue, *position);
    }
    assert_eq!(resumed.task.stream_time().get(), Some(Timestamp(70)));
    resumed.task.enqueue(0, record(1, 10, "k", "late"));
    resumed.process(0);
    assert_eq!(resumed.task.stream_time().get(), Some(Timestamp(70)));
    let plan = resumed.task.prepare_commit(&mut resumed.sent, support::NOW).unwrap();
    let times: Vec<_> = plan.inputs.values().map(|at| at.partition_time.as_millis()).collect();
    assert_eq!(times, [50, 70, -1], "a late record does not set a partition time back");
}

#[test]
fn idle_never_takes_what_is_there() {
    let mut fixture = Fixture::new(&merging());
    fixture.task.enqueue(1, record(0, 9, "k", "v"));
    assert!(fixture.process(0));
}

#[test]
fn idle_zero_waits_for_data_on_the_broker_but_not_for_new_data() {
    let mut fixture = idling(0);
    fixture.task.enqueue(0, record(0, 9, "k", "v"));
    assert!(!fixture.process(0), "b and c may have earlier records on the broker");
    fixture.task.end_of_partition(1, Offset(0));
    assert!(!fixture.process(1_000_000), "time is no reason while data may be on the broker");
    fixture.task.end_of_partition(2, Offset(0));
    assert!(fixture.process(0));
}

#[test]
fn idle_above_zero_waits_that_long_for_new_data() {
    let mut fixture = idling(100);
    for queue in 1..3 {
        fixture.task.end_of_partition(queue, Offset(0));
    }
    assert!(!fixture.process(1_000), "nothing is there");
    fixture.task.enqueue(0, record(0, 9, "k", "first"));
    assert!(!fixture.process(2_000));
    assert!(!fixture.process(2_099));
    assert!(fixture.process(2_100));
    // b is still empty, its time is over: no new wait for the next record
    fixture.task.enqueue(0, record(1, 10, "k", "second"));
    assert!(fixture.process(2_101));
}

#[test]
fn data_that_arrives_while_waiting_ends_the_wait_of_its_partition_only() {
    let mut fixture = idling(100);
    for queue in 1..3 {
        fixture.task.end_of_partition(queue, Offset(0));
    }
    fixture.task.enqueue(0, record(0, 9, "k", "a"));
    assert!(!fixture.process(0));
    fixture.task.enqueue(1, record(0, 5, "k", "b"));
    assert!(!fixture.process(99), "c is still waited for");
    assert!(fixture.process(100));
    assert_eq!(fixture.sent.values("out"), ["b"]);
    assert!(!fixture.process(1_000), "b has to be caught up again");
    fixture.task.end_of_partition(1, Offset(1));
    assert!(!fixture.process(1_000), "and then be waited for anew");
    assert!(!fixture.process(1_099));
    assert!(fixture.process(1_100));
}

#[test]
fn a_full_set_of_heads_is_processed_without_waiting() {
    let mut fixture = idling(1_000_000);
    for queue in 0..3 {
        fixture.task.enqueue(queue, record(0, 9, "k", "v"));
    }
    assert!(fixture.process(0));
    assert!(!fixture.process(0));
}

#[test]
fn resuming_does_not_set_stream_time_back() {
    let mut fixture = Fixture::new(&merging());
    fixture.task.resume(0, start(5, 100));
    fixture.task.resume(1, start(5, 30));
    assert_eq!(fixture.task.stream_time().get(), Some(Timestamp(100)));
}
