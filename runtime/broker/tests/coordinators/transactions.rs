//! Transactions: what begins them, what ends them, who is fenced.

use kafka_protocol::ResponseError::*;
use kafka_protocol::messages::*;
use tidemill_broker::engine::{CoordinatorKey, EngineConfig, MarkerTarget};
use tidemill_broker::transaction::TransactionState;

use crate::kit::*;

fn out(partition: i32) -> MarkerTarget {
    MarkerTarget::Partition { topic: "out".to_owned(), partition }
}

/// The end of a partition of `out`: it grows by one with each marker.
fn end_of(broker: &Broker, partition: i32) -> i64 {
    broker
        .engine
        .topics()
        .partition("out", partition)
        .expect("out has two partitions")
        .high_watermark()
}

#[test]
fn a_transaction_goes_only_where_the_table_says() {
    use TransactionState::*;
    let allowed = [
        (Empty, Empty),
        (CompleteCommit, Empty),
        (CompleteAbort, Empty),
        (Empty, Ongoing),
        (Ongoing, Ongoing),
        (CompleteCommit, Ongoing),
        (CompleteAbort, Ongoing),
        (Ongoing, PrepareCommit),
        (Ongoing, PrepareAbort),
        (PrepareCommit, CompleteCommit),
        (PrepareAbort, CompleteAbort),
    ];
    for from in TransactionState::ALL {
        for to in TransactionState::ALL {
            assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from:?} to {to:?}");
        }
    }
}

#[test]
fn ending_is_repeated_with_the_same_answer_and_contradicted_with_an_error() {
    for committed in [true, false] {
        let mut broker = Broker::new();
        let producer = broker.init("t").unwrap();
        assert_eq!(broker.end("t", producer, committed), InvalidTxnState.code());
        assert_eq!(broker.add("t", producer, 0), 0);
        assert_eq!(broker.end("t", producer, committed), 0);
        assert_eq!(broker.end("t", producer, committed), 0);
        assert_eq!(broker.end("t", producer, !committed), InvalidTxnState.code());
        assert_eq!(end_of(&broker, 0), 1, "one marker");
        assert_eq!(end_of(&broker, 1), 0);
    }
}

#[test]
fn everything_waits_until_the_last_marker_is_written() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.add("t", producer, 1), 0);
    broker.engine.hold_markers(out(1), broker.now + 100);
    assert_eq!(broker.end("t", producer, true), 0, "answered before the markers");
    assert_eq!(broker.state("t"), "PrepareCommit");
    assert_eq!((end_of(&broker, 0), end_of(&broker, 1)), (1, 0));
    let again = ConcurrentTransactions.code();
    assert_eq!(broker.end("t", producer, true), again);
    assert_eq!(broker.end("t", producer, false), again);
    assert_eq!(broker.add("t", producer, 0), again);
    assert_eq!(broker.add_offsets("t", producer), again);
    assert_eq!(broker.init("t"), Err(again));
    assert_eq!(broker.engine.next_deadline(), Some(broker.now + 100));
    broker.pass(100);
    assert_eq!(broker.state("t"), "CompleteCommit");
    assert_eq!((end_of(&broker, 0), end_of(&broker, 1)), (1, 1));
    assert_eq!(broker.end("t", producer, true), 0);
}

#[test]
fn a_late_end_of_the_same_epoch_ends_the_next_transaction() {
    // KAFKA-17754: under transactions V1 nothing tells the two apart
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    let late = end_request("t", producer, true);
    assert_eq!(broker.ask(1, late.clone()).error_code, 0);
    assert_eq!(broker.add("t", producer, 1), 0, "the next transaction");
    assert_eq!(broker.ask(1, late).error_code, 0, "a copy that was under way");
    assert_eq!(broker.state("t"), "CompleteCommit");
    assert_eq!(end_of(&broker, 1), 1);
}

#[test]
fn a_new_producer_aborts_what_the_old_one_has_open() {
    let mut broker = Broker::new();
    let old = broker.init("t").unwrap();
    assert_eq!(broker.add("t", old, 0), 0);
    broker.engine.hold_markers(out(0), broker.now + 100);
    assert_eq!(broker.init("t"), Err(ConcurrentTransactions.code()));
    assert_eq!(broker.state("t"), "PrepareAbort");
    assert_eq!(broker.end("t", old, true), ProducerFenced.code());
    assert_eq!(broker.init("t"), Err(ConcurrentTransactions.code()));
    broker.pass(100);
    assert_eq!(broker.init("t"), Ok((old.0, old.1 + 2)));
    assert_eq!(broker.end("t", old, true), ProducerFenced.code());
    assert_eq!(broker.add("t", old, 0), ProducerFenced.code());
    let log = broker.engine.topics().partition("out", 0).unwrap();
    assert_eq!(log.producers()[&old.0].epoch(), old.1 + 1, "the marker fences in the log too");
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    broker.pass(MINUTE);
    assert_eq!(broker.state("t"), "Ongoing");
    broker.pass(1);
    assert_eq!(broker.state("t"), "CompleteAbort");
    assert_eq!(broker.end("t", producer, true), ProducerFenced.code());
    assert_eq!(broker.ask(1, end_request("t", producer, true)).error_code, 47);
    assert_eq!(broker.init_as("t", producer), Err(ProducerFenced.code()));
    assert_eq!(broker.init("t"), Ok((producer.0, producer.1 + 2)));
}

#[test]
fn time_outs_can_be_looked_for_at_intervals_as_kafka_does() {
    let config = EngineConfig { transaction_abort_interval_ms: 10_000, ..EngineConfig::default() };
    let mut broker = Broker::with(config);
    let producer = broker.init("t").unwrap();
    broker.pass(5_000);
    assert_eq!(broker.add("t", producer, 0), 0);
    broker.pass(MINUTE + 4_999);
    assert_eq!(broker.state("t"), "Ongoing");
    broker.pass(1);
    assert_eq!(broker.state("t"), "CompleteAbort");
}

#[test]
fn a_transaction_can_be_made_to_time_out() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert!(!broker.engine.time_out_transaction(broker.now, "t"));
    assert_eq!(broker.add("t", producer, 0), 0);
    assert!(broker.engine.time_out_transaction(broker.now, "t"));
    assert_eq!(broker.end("t", producer, true), ProducerFenced.code());
}

#[test]
fn an_unknown_partition_makes_the_whole_request_fail() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    let mut request = add_request("t", producer, "out", 0);
    request.v3_and_below_topics[0].partitions.push(9);
    let answer = broker.ask(3, request);
    let partitions = &answer.results_by_topic_v3_and_below[0].results_by_partition;
    let errors: Vec<i16> =
        partitions.iter().map(|partition| partition.partition_error_code).collect();
    assert_eq!(errors, [OperationNotAttempted.code(), UnknownTopicOrPartition.code()]);
    assert_eq!(broker.state("t"), "Empty");
}

#[test]
fn a_coordinator_that_moves_refuses_until_it_is_found_and_has_loaded() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    let until = broker.now + 100;
    let key = CoordinatorKey::Transaction("t".to_owned());
    broker.engine.move_coordinator(broker.now, &key, until);
    assert_eq!(broker.end("t", producer, true), NotCoordinator.code());
    for version in 0..=5 {
        let find = FindCoordinatorRequest::default();
        let find = if version > 0 { find.with_key_type(1) } else { find };
        let find = match version {
            0..=3 => find.with_key(text("t")),
            _ => find.with_coordinator_keys(vec![text("t")]),
        };
        let found = broker.ask(version, find);
        let node = found.coordinators.first().map_or(found.node_id, |found| found.node_id);
        assert_eq!(*node, 1, "version {version}");
    }
    assert_eq!(broker.end("t", producer, true), CoordinatorLoadInProgress.code());
    assert_eq!(broker.init("t"), Err(CoordinatorLoadInProgress.code()));
    broker.pass(100);
    assert_eq!(broker.end("t", producer, true), 0);
}

#[test]
fn a_groups_coordinator_that_moves_forgets_who_was_joining() {
    let mut broker = Broker::new();
    let first = broker.group_of_one();
    let (_, handled) = broker.join_new(&["range"]);
    let key = CoordinatorKey::Group("g".to_owned());
    broker.engine.move_coordinator(broker.now, &key, broker.now + 100);
    assert_eq!(broker.heartbeat(1, &first), NotCoordinator.code());
    let refused = broker.answer::<JoinGroupRequest>(9, waits(&handled)).unwrap();
    assert_eq!(refused.error_code, NotCoordinator.code());
    broker.pass(100);
    assert_eq!(broker.heartbeat(1, &first), 0, "the last complete generation is there");
}

#[test]
fn markers_reach_a_partition_that_could_not_be_written_when_it_can() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    broker.engine.fail_writes("out", 0, broker.now + 100);
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.state("t"), "PrepareCommit");
    broker.pass(100);
    assert_eq!(broker.state("t"), "CompleteCommit");
    assert_eq!(end_of(&broker, 0), 1);
}
