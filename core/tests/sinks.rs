//! Sinks that choose topics and partitions record by record.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod support;

use std::sync::Arc;

use support::{Fixture, NOW, PARTITIONS, record};
use tidemill_core::errors::{Handlers, LogAndContinue, TaskErrorKind};
use tidemill_core::record::Partition;
use tidemill_core::serdes::string;
use tidemill_core::task::TaskIdle;
use tidemill_core::topology::{Consumed, Partitions, Produced, RecordContext, Topology};

fn produced() -> Produced<String, String> {
    Produced::with(string(), string())
}

fn source() -> Topology {
    let mut topology = Topology::new();
    topology.add_source("source", Consumed::with(string(), string()), &["in"]).unwrap();
    topology
}

fn lenient() -> Handlers {
    Handlers { production: Arc::new(LogAndContinue), ..Handlers::default() }
}

/// A record goes to the partitions that its value lists.
fn listed() -> Topology {
    let chosen = produced().with_stream_partitioner(
        |topic: &str, key: &String, value: &String, partitions: u32| {
            assert_eq!((topic, &**key, partitions), ("out", "key", PARTITIONS));
            let numbers = value.split(' ').filter(|text| !text.is_empty());
            numbers.map(|text| Partition(text.parse().unwrap())).collect::<Vec<_>>()
        },
    );
    let mut topology = source();
    topology.add_sink("sink", "out", chosen, &["source"]).unwrap();
    topology
}

fn partitions(fixture: &Fixture) -> Vec<(i32, String)> {
    let value = |value: &Option<Vec<u8>>| String::from_utf8(value.clone().unwrap()).unwrap();
    let sent = fixture.sent.sent.iter();
    sent.map(|(_, partition, record)| (partition.unwrap().0, value(&record.value))).collect()
}

#[test]
fn a_record_goes_to_each_partition_once_and_to_none_if_none_is_named() {
    let mut fixture = Fixture::new(&listed());
    for (offset, value) in (0..).zip(["0 2", "1", "", "2 1 2 2 1"]) {
        fixture.task.enqueue(0, record(offset, 1, "key", value));
    }
    fixture.process_all();
    let sent = partitions(&fixture);
    let sent: Vec<_> = sent.iter().map(|(partition, value)| (*partition, &**value)).collect();
    let twice = "2 1 2 2 1";
    assert_eq!(sent, [(0, "0 2"), (2, "0 2"), (1, "1"), (2, twice), (1, twice)]);
    assert_eq!(fixture.task.counts(), (4, 1), "the third one was dropped");
}

#[test]
fn a_partition_beyond_the_last_keeps_the_record_from_all_of_them() {
    let mut fixture = Fixture::with(&listed(), TaskIdle::Never, lenient());
    let beyond = format!("0 {PARTITIONS}");
    for (offset, value) in (0..).zip([&*beyond, "-1 0", "0"]) {
        fixture.task.enqueue(0, record(offset, 1, "key", value));
    }
    fixture.process_all();
    assert_eq!(partitions(&fixture), [(0, "0".to_owned())]);
    assert_eq!(fixture.task.counts().1, 2);
    let mut fixture = Fixture::new(&listed());
    fixture.task.enqueue(0, record(0, 1, "key", &beyond));
    let error = fixture.task.process(&mut fixture.sent, NOW).unwrap_err();
    assert_eq!(error.kind, TaskErrorKind::Production);
    let text = error.to_string();
    assert!(text.contains(&format!("partition {PARTITIONS} of {PARTITIONS}")), "{text}");
}

#[test]
fn the_ways_to_say_where_a_record_goes() {
    assert_eq!(Partitions::from(Partition(1)), Partitions::One(Partition(1)));
    assert_eq!(Partitions::from(Some(Partition(1))), Partitions::One(Partition(1)));
    assert_eq!(Partitions::from(None::<Partition>), Partitions::ByKey);
    assert_eq!(Partitions::from(Vec::new()), Partitions::Each(Vec::new()));
}

/// A record goes to the topic that its value names.
fn named() -> Topology {
    let mut topology = source();
    let by_value = |_: &String, value: &String, context: &RecordContext<'_>| {
        let source = context.source.expect("a record is in process");
        assert_eq!((source.topic, source.partition), ("in", Partition(0)));
        assert_eq!(context.timestamp.0, source.offset.0 + 7);
        value.clone()
    };
    topology.add_sink_with_extractor("sink", by_value, produced(), &["source"]).unwrap();
    topology
}

#[test]
fn a_topic_that_does_not_exist_or_can_not_exist_is_the_records_fault() {
    let values = ["a", "missing", "no topic", "", "full", "b", "a"];
    let mut fixture = Fixture::with(&named(), TaskIdle::Never, lenient());
    for (offset, value) in (0..).zip(values) {
        fixture.task.enqueue(0, record(offset, offset + 7, "key", value));
    }
    fixture.process_all();
    let topics: Vec<_> = fixture.sent.sent.iter().map(|(topic, ..)| topic.as_str()).collect();
    assert_eq!(topics, ["a", "b", "a"]);
    assert_eq!(fixture.task.counts(), (7, 4));
    for (value, says) in [
        ("missing", "topic missing: no such topic"),
        ("no topic", "'no topic' is no legal name"),
        ("", "'' is no legal name"),
    ] {
        let mut fixture = Fixture::new(&named());
        fixture.task.enqueue(0, record(0, 7, "key", value));
        let error = fixture.task.process(&mut fixture.sent, NOW).unwrap_err();
        assert_eq!((error.kind, &*error.node), (TaskErrorKind::Production, "sink"));
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_producer_that_is_gone_is_nobodys_fault_but_the_tasks_end() {
    for topic in ["down", "unreachable"] {
        let mut fixture = Fixture::with(&named(), TaskIdle::Never, lenient());
        fixture.task.enqueue(0, record(0, 7, "key", topic));
        let error = fixture.task.process(&mut fixture.sent, NOW).unwrap_err();
        assert_eq!(error.kind, TaskErrorKind::Runtime, "{error}");
    }
}

#[test]
fn the_description_names_the_extractor() {
    let text = named().describe().to_string();
    let class = format!("Sink: sink (extractor class: {}", module_path!());
    assert!(text.contains(&class), "{text}");
}
