//! Sinks that choose topics and partitions record by record, and where sources start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;
use tidemill::Config;
use tidemill::dsl::StreamsBuilder;
use tidemill::errors::LogAndContinue;
use tidemill::record::{Partition, Timestamp};
use tidemill::serdes::string;
use tidemill::topology::{AutoOffsetReset, Consumed, Produced, RecordContext};

use super::support::kafka::{Kafka, Rec};
use super::support::running::Running;
use super::support::{unique, until};

fn consumed() -> Consumed<String, String> {
    Consumed::with(string(), string())
}

fn produced() -> Produced<String, String> {
    Produced::with(string(), string())
}

fn config(kafka: &Kafka, dir: &TempDir) -> Config {
    Config::new(unique("ends"), &kafka.bootstrap)
        .with_state_dir(dir.path())
        .with_session_timeout(Duration::from_secs(10))
}

fn values(records: &[Rec]) -> Vec<String> {
    let value = |record: &Rec| String::from_utf8(record.value.clone().unwrap()).unwrap();
    records.iter().map(value).collect()
}

#[test]
fn a_sink_finds_topics_while_it_runs_and_a_missing_one_is_up_to_the_handler() {
    let kafka = Kafka::shared();
    let dir = TempDir::new().unwrap();
    let input = kafka.topic("dynamic", 2);
    let output = unique("dynamic-out");
    let name = |key: &str| format!("{output}-{key}");
    kafka.create(&name("a"), 1, &[]);
    kafka.create(&name("b"), 3, &[]);
    let builder = StreamsBuilder::new();
    let prefix = output.clone();
    let extractor = move |key: &String, _: &String, context: &RecordContext<'_>| {
        assert!(context.source.is_some_and(|source| source.offset.0 >= 0));
        format!("{prefix}-{key}")
    };
    builder.stream(&input, consumed()).to_with_extractor(extractor, produced());
    let topology = builder.build().unwrap();
    let lenient = |app: tidemill::Tidemill| app.with_production_exception_handler(LogAndContinue);
    let app = Running::run(topology, config(&kafka, &dir), lenient).unwrap();
    app.until_running();
    let mut sender = kafka.producer();
    let mut send = |key: &str, value: &str| {
        sender.send(&input, Some(key.as_bytes()), Some(value.as_bytes()));
        sender.flush();
    };
    for (key, value) in [("a", "1"), ("b", "2"), ("nowhere", "3"), ("a", "4"), ("b b", "5")] {
        send(key, value);
    }
    until("a", || (kafka.read(&name("a")).len() == 2).then_some(()));
    until("b", || (kafka.read(&name("b")).len() == 1).then_some(()));
    until("two dropped records", || (app.metrics().dropped == 2).then_some(()));
    // a topic that is made while the application runs is found by the next record for it
    kafka.create(&name("nowhere"), 1, &[]);
    let found = until("the new topic", || {
        send("nowhere", "6");
        let found = values(&kafka.read(&name("nowhere")));
        (!found.is_empty()).then_some(found)
    });
    assert!(found.iter().all(|value| value == "6"), "{found:?}");
    app.close();
    assert_eq!(values(&kafka.read(&name("a"))), ["1", "4"]);
    assert_eq!(values(&kafka.read(&name("b"))), ["2"]);
}

#[test]
fn a_record_for_a_topic_that_does_not_exist_stops_the_application() {
    let kafka = Kafka::shared();
    let dir = TempDir::new().unwrap();
    let input = kafka.topic("astray", 1);
    let missing = unique("no-such-topic");
    let builder = StreamsBuilder::new();
    let topic = missing.clone();
    let extractor = move |_: &String, _: &String, _: &RecordContext<'_>| topic.clone();
    builder.stream(&input, consumed()).to_with_extractor(extractor, produced());
    let app = Running::run(builder.build().unwrap(), config(&kafka, &dir), |app| app).unwrap();
    let mut sender = kafka.producer();
    sender.send(&input, Some(b"k"), Some(b"v"));
    sender.flush();
    let error = app.until_failed().to_string();
    assert!(error.contains(&format!("topic {missing} does not exist: create it")), "{error}");
    assert!(error.contains("KSTREAM-SINK-0000000001"), "{error}");
}

#[test]
fn a_record_is_sent_to_every_partition_that_the_partitioner_names() {
    let kafka = Kafka::shared();
    let dir = TempDir::new().unwrap();
    let (input, output) = (kafka.topic("multicast", 1), kafka.topic("multicast", 3));
    let builder = StreamsBuilder::new();
    let chosen = produced().with_stream_partitioner(
        |_: &str, _: &String, value: &String, partitions: u32| match &**value {
            "all" => (0..partitions as i32).map(Partition).collect::<Vec<_>>(),
            "none" => Vec::new(),
            one => vec![Partition(one.parse().unwrap())],
        },
    );
    builder.stream(&input, consumed()).to(&output, chosen);
    let app = Running::run(builder.build().unwrap(), config(&kafka, &dir), |app| app).unwrap();
    let mut sender = kafka.producer();
    for value in ["all", "none", "2", "all"] {
        sender.send(&input, Some(b"k"), Some(value.as_bytes()));
    }
    sender.flush();
    let records = until("seven records", || {
        let records = kafka.read(&output);
        (records.len() >= 7).then_some(records)
    });
    let metrics = app.close();
    assert_eq!(metrics.dropped, 1);
    let mut by_partition = BTreeMap::<i32, Vec<String>>::new();
    for record in &records {
        let value = values(std::slice::from_ref(record)).remove(0);
        by_partition.entry(record.partition).or_default().push(value);
    }
    let all = || vec!["all".to_owned(), "all".to_owned()];
    let third = vec!["all".to_owned(), "2".to_owned(), "all".to_owned()];
    assert_eq!(by_partition, [(0, all()), (1, all()), (2, third)].into());
}

/// Four sources of one application, each with a policy of its own, over the same records.
#[test]
fn each_source_starts_where_its_own_policy_says() {
    let kafka = Kafka::shared();
    let dir = TempDir::new().unwrap();
    let now = UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let hour = 3_600_000;
    let output = kafka.topic("reset-out", 1);
    let builder = StreamsBuilder::new();
    let by_hour = AutoOffsetReset::ByDuration(Duration::from_secs(3_600));
    let policies = [
        ("earliest", AutoOffsetReset::Earliest),
        ("latest", AutoOffsetReset::Latest),
        ("hour", by_hour),
        ("future", AutoOffsetReset::ByDuration(Duration::ZERO)),
    ];
    let mut sender = kafka.producer();
    let mut topics = Vec::new();
    for (name, policy) in policies {
        let topic = kafka.topic(name, 1);
        for (value, at) in [("old", now - 2 * hour), ("young", now - hour / 2)] {
            sender.send_at(&topic, name.as_bytes(), value.as_bytes(), Timestamp(at));
        }
        builder.stream(&topic, consumed().with_offset_reset_policy(policy)).to(&output, produced());
        topics.push((name, topic));
    }
    sender.flush();
    let app = Running::run(builder.build().unwrap(), config(&kafka, &dir), |app| app).unwrap();
    app.until_running();
    // running means that every partition has its place
    for (name, topic) in &topics {
        sender.send_at(topic, name.as_bytes(), b"new", Timestamp(now + hour));
    }
    sender.flush();
    let expected: BTreeSet<(String, String)> = [
        ("earliest", "old"),
        ("earliest", "young"),
        ("earliest", "new"),
        ("latest", "new"),
        ("hour", "young"),
        ("hour", "new"),
        ("future", "new"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let records = until("the records", || {
        let records = kafka.read(&output);
        (records.len() >= expected.len()).then_some(records)
    });
    app.close();
    assert_eq!(kafka.read(&output).len(), expected.len());
    let found = records.iter().map(Rec::key_text).zip(values(&records)).collect();
    assert_eq!(expected, found);
}

#[test]
fn a_source_that_is_not_to_start_anywhere_stops_the_application() {
    let kafka = Kafka::shared();
    let dir = TempDir::new().unwrap();
    let input = kafka.topic("nowhere", 1);
    let builder = StreamsBuilder::new();
    let consumed = consumed().with_offset_reset_policy(AutoOffsetReset::None);
    builder.stream(&input, consumed).for_each(|_, _| {});
    let config = config(&kafka, &dir);
    let group = config.application_id.clone();
    let app = Running::run(builder.build().unwrap(), config, |app| app).unwrap();
    let error = app.until_failed().to_string();
    for part in [&*input, &*group, "no committed offset", "with_offset_reset_policy"] {
        assert!(error.contains(part), "{part} is missing: {error}");
    }
}
