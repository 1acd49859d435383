//! The loop itself: positions, fences, topics that are not what they have to be.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tidemill::client::{Outgoing, Producer};
use tidemill::record::{Headers, Partition, Timestamp};
use tidemill_connect::source::{PositionAdmin, RelayError, ResetTo, SourceRunner, Stop};
use tidemill_connect::testing::{Broker, unique, until};

use crate::numbers::{Numbers, assert_ordered, numbers, relay};

/// A broker, a name for the relay and its positions topic.
fn names() -> (Broker, String, String) {
    (Broker::shared(), unique("relay"), unique("positions"))
}

fn run_to_the_end(runner: SourceRunner<Numbers>, expected: u64) -> Result<(), RelayError> {
    let handle = runner.spawn().unwrap();
    until("all records", || {
        let done = handle.metrics().records >= expected || handle.is_ended();
        done.then_some(())
    });
    handle.stop();
    handle.wait()
}

fn show(broker: &Broker, name: &str, positions: &str) -> Option<serde_json::Value> {
    let admin = PositionAdmin::new(name, broker.config(), positions).unwrap();
    admin.show().unwrap().map(|stored| stored.position)
}

/// Writes into a topic without a transaction.
fn write(broker: &Broker, topic: &str, key: &str, value: &str) {
    let mut producer = Producer::new(&broker.config()).unwrap();
    let topic = producer.topic(topic).unwrap();
    let record = Outgoing {
        topic,
        partition: Some(Partition(0)),
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        timestamp: Timestamp(1),
        headers: &Headers::new(),
        position: None,
    };
    producer.send(&record).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    assert_eq!(producer.delivery_error(), None);
}

#[test]
fn a_relay_goes_on_where_the_last_one_stopped() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 3).unwrap();
    let source = Numbers::new(&topic, 35);
    let run = |more| {
        run_to_the_end(relay(&name, source.clone(), broker.config(), &positions), more).unwrap();
    };
    run(35);
    source.limit.store(60, Ordering::SeqCst);
    run(25);
    assert_eq!(numbers(&broker, &topic), (0..60).collect::<Vec<_>>());
    assert_ordered(&broker.committed(&topic).unwrap());
    assert_eq!(show(&broker, &name, &positions), Some(json!({"next": 60})));
    assert_eq!(source.told.lock().unwrap().last(), Some(&60));
}

#[test]
fn batches_without_a_position_share_the_transaction_of_the_next_one_with() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 2).unwrap();
    let source = Numbers { batches_each: 4, ..Numbers::new(&topic, 90) };
    let handle = relay(&name, source, broker.config(), &positions).spawn().unwrap();
    until("two positions", || (handle.metrics().records == 80).then_some(()));
    assert_eq!(handle.metrics().commits, 2);
    handle.stop();
    handle.wait().unwrap();
    // the ninth batch has no position: it is aborted with the stop
    assert_eq!(numbers(&broker, &topic), (0..80).collect::<Vec<_>>());
}

#[test]
fn batches_of_a_backlog_share_transactions_and_the_last_position_counts() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 2).unwrap();
    let source = Numbers::new(&topic, 1000);
    let runner = relay(&name, source.clone(), broker.config(), &positions);
    // as long as it takes: then only what comes to an end ends a transaction
    let handle = runner.commit_interval(Duration::from_secs(5)).spawn().unwrap();
    until("all records", || (handle.metrics().records == 1000).then_some(()));
    let commits = handle.metrics().commits;
    // one, if the source is never waited for; a hundred, if each batch had its own
    assert!(commits < 20, "{commits} transactions for 100 batches");
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(numbers(&broker, &topic), (0..1000).collect::<Vec<_>>());
    assert_ordered(&broker.committed(&topic).unwrap());
    assert_eq!(show(&broker, &name, &positions), Some(json!({"next": 1000})));
    assert_eq!(source.told.lock().unwrap().last(), Some(&1000));
    let stored = PositionAdmin::new(&name, broker.config(), &positions).unwrap().show().unwrap();
    assert_eq!(stored.map(|stored| (stored.number, stored.records)), Some((commits, 1000)));
}

#[test]
fn what_is_whole_is_committed_before_a_batch_that_is_not() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 2).unwrap();
    // batches 3, 6, 9 have positions, and the tenth waits for one
    let source = Numbers { batches_each: 3, ..Numbers::new(&topic, 100) };
    let runner = relay(&name, source, broker.config(), &positions);
    let handle = runner.commit_interval(Duration::from_secs(5)).spawn().unwrap();
    until("three positions", || (handle.metrics().records == 90).then_some(()));
    assert_eq!(handle.metrics().commits, 3);
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(numbers(&broker, &topic), (0..90).collect::<Vec<_>>());
}

#[test]
fn a_commit_interval_that_the_transaction_timeout_does_not_bear_is_refused() {
    let broker = Broker::shared();
    let runner = relay("slow", Numbers::new("t", 1), broker.config(), "positions");
    let refused = runner.commit_interval(Duration::from_secs(6)).spawn().unwrap_err();
    assert!(refused.to_string().contains("half the transaction timeout"), "{refused}");
}

#[test]
fn a_positions_topic_that_would_lose_positions_is_refused() {
    let (broker, name, positions) = names();
    broker.create(&positions, 1, &[("cleanup.policy", "delete")]).unwrap();
    let topic = broker.topic("numbers", 1).unwrap();
    let run = |positions: &str| {
        relay(&name, Numbers::new(&topic, 5), broker.config(), positions).run_until(&Stop::new())
    };
    let told = run(&positions).unwrap_err().to_string();
    assert!(told.contains("cleanup.policy=delete, not compact"), "{told}");
    let three = unique("positions");
    broker.create(&three, 3, &[("cleanup.policy", "compact")]).unwrap();
    let told = run(&three).unwrap_err().to_string();
    assert!(told.contains("3 partitions, not 1"), "{told}");
    assert_eq!(numbers(&broker, &topic), Vec::<u64>::new());
}

#[test]
fn a_record_for_the_positions_topic_stops_the_relay() {
    let (broker, name, positions) = names();
    let source = Numbers::new(&positions, 5);
    let stop = Stop::new();
    let error = relay(&name, source, broker.config(), &positions).run_until(&stop).unwrap_err();
    assert!(matches!(error, RelayError::Rejected { .. }), "{error}");
    assert!(error.to_string().contains("the topic of the positions"), "{error}");
    assert_eq!(broker.committed(&positions).unwrap(), []);
}

#[test]
fn ob11_a_data_topic_that_is_gone_stops_the_relay() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 2).unwrap();
    let source = Numbers::new(&topic, 5);
    run_to_the_end(relay(&name, source.clone(), broker.config(), &positions), 5).unwrap();
    broker.delete(&[&topic]).unwrap();
    source.limit.store(20, Ordering::SeqCst);
    let runner = relay(&name, source.clone(), broker.config(), &positions);
    let error = runner.run_until(&Stop::new()).unwrap_err();
    let RelayError::DataTopic { topic: told, .. } = &error else { panic!("{error}") };
    assert_eq!(told, &topic);
    assert_eq!(show(&broker, &name, &positions), Some(json!({"next": 5})));

    // the operator decides: from the beginning
    broker.create(&topic, 2, &[]).unwrap();
    let admin = PositionAdmin::new(&name, broker.config(), &positions).unwrap();
    admin.reset(&ResetTo::Nothing).unwrap();
    run_to_the_end(relay(&name, source, broker.config(), &positions), 20).unwrap();
    assert_eq!(numbers(&broker, &topic), (0..20).collect::<Vec<_>>());
}

#[test]
fn ob7_of_two_relays_with_one_name_the_newer_goes_on() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 2).unwrap();
    let source = Numbers::new(&topic, 10);
    let first = relay(&name, source.clone(), broker.config(), &positions).spawn().unwrap();
    until("the first works", || (first.metrics().records == 10).then_some(()));
    let second = relay(&name, source.clone(), broker.config(), &positions).spawn().unwrap();
    until("the second is open", || (second.metrics().position_number > 0).then_some(()));
    source.limit.store(500, Ordering::SeqCst);
    let error = first.wait().unwrap_err();
    assert!(matches!(error, RelayError::Superseded { .. }), "{error}");
    assert!(error.to_string().contains("another relay named"), "{error}");
    until("the second did the rest", || (second.metrics().records == 490).then_some(()));
    second.stop();
    second.wait().unwrap();
    assert_eq!(numbers(&broker, &topic), (0..500).collect::<Vec<_>>());
    assert_ordered(&broker.committed(&topic).unwrap());
}

#[test]
fn a_reset_stops_the_relay_that_runs() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 1).unwrap();
    let source = Numbers::new(&topic, 10);
    let handle = relay(&name, source.clone(), broker.config(), &positions).spawn().unwrap();
    until("the first ten", || (handle.metrics().records == 10).then_some(()));
    let admin = PositionAdmin::new(&name, broker.config(), &positions).unwrap();
    admin.reset(&ResetTo::Position(json!({"next": 8}))).unwrap();
    source.limit.store(12, Ordering::SeqCst);
    let error = handle.wait().unwrap_err();
    assert!(matches!(error, RelayError::Superseded { .. }), "{error}");
    run_to_the_end(relay(&name, source, broker.config(), &positions), 4).unwrap();
    assert_eq!(numbers(&broker, &topic), [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 10, 11]);
}

#[test]
fn a_position_that_goes_back_or_is_unknown_stops_the_relay() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 1).unwrap();
    let source = Numbers::new(&topic, 30);
    let one_by_one = relay(&name, source.clone(), broker.config(), &positions);
    run_to_the_end(one_by_one.commit_interval(Duration::ZERO), 30).unwrap();
    let all = broker.committed(&positions).unwrap();
    let run = || {
        let runner = relay(&name, source.clone(), broker.config(), &positions);
        runner.run_until(&Stop::new()).unwrap_err()
    };
    write(&broker, &positions, &name, &all[0].value_text());
    let error = run();
    assert!(error.to_string().contains("goes back from 3 to 1"), "{error}");
    let admin = PositionAdmin::new(&name, broker.config(), &positions).unwrap();
    admin.reset(&ResetTo::Position(json!({"next": 30}))).unwrap();
    write(&broker, &positions, &name, r#"{"v": 2, "number": 9}"#);
    let error = run();
    assert!(error.to_string().contains("has version 2"), "{error}");
    write(&broker, &positions, &name, "no JSON");
    let error = run();
    assert!(error.to_string().contains("can't be read"), "{error}");
    admin.reset(&ResetTo::Position(json!({"another": "source"}))).unwrap();
    let error = run();
    assert!(error.to_string().contains("not one of this kind of source"), "{error}");
    // of another relay nothing is read
    write(&broker, &positions, "another", "no JSON");
    admin.reset(&ResetTo::Position(json!({"next": 29}))).unwrap();
    run_to_the_end(relay(&name, source.clone(), broker.config(), &positions), 1).unwrap();
}

#[test]
fn ob18_the_position_is_read_behind_open_transactions_of_others() {
    let (broker, name, positions) = names();
    let topic = broker.topic("numbers", 1).unwrap();
    let source = Numbers::new(&topic, 20);
    run_to_the_end(relay(&name, source.clone(), broker.config(), &positions), 20).unwrap();
    // another relay of the same positions topic hangs in the middle of a transaction
    let mut config = broker.config();
    config.set("transactional.id", unique("other")).set("transaction.timeout.ms", "3000");
    config.set("message.timeout.ms", "3000").set("socket.timeout.ms", "3000");
    let mut other = Producer::new(&config).unwrap();
    other.init_transactions(Duration::from_secs(30)).unwrap();
    other.begin_transaction().unwrap();
    let handle = other.topic(&positions).unwrap();
    let record = Outgoing {
        topic: handle,
        partition: Some(Partition(0)),
        key: Some(b"other"),
        value: Some(b"{}"),
        timestamp: Timestamp(1),
        headers: &Headers::new(),
        position: None,
    };
    other.send(&record).unwrap();
    other.flush(Duration::from_secs(30)).unwrap();
    source.limit.store(40, Ordering::SeqCst);
    // with too little patience it is tried again, and the end is the same
    let runner = relay(&name, source, broker.config(), &positions);
    let handle = runner.position_timeout(Duration::from_secs(1)).spawn().unwrap();
    until("it had to wait", || (handle.metrics().reopened > 0).then_some(()));
    assert_eq!(handle.metrics().records, 0);
    let told = handle.metrics().last_error.unwrap();
    assert!(told.contains("a transaction of another relay in this topic is open"), "{told}");
    until("the rest", || (handle.metrics().records == 20).then_some(()));
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(numbers(&broker, &topic), (0..40).collect::<Vec<_>>());
}

#[test]
fn options_that_contradict_are_refused() {
    let broker = Broker::shared();
    let mut kafka = broker.config();
    kafka.set("transactional.id", "mine");
    let refused = relay("yours", Numbers::new("t", 1), kafka, "positions").spawn().unwrap_err();
    assert!(refused.to_string().contains("leave it out"), "{refused}");
    let unnamed = relay("", Numbers::new("t", 1), broker.config(), "positions").spawn();
    assert!(matches!(unnamed, Err(RelayError::Configuration(_))));
}
