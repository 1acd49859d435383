//! What a foreign-key join does at its edges.

use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{Materialized, StreamsBuilder, TableJoined};
use tidemill_core::record::{Partition, Timestamp};
use tidemill_core::serdes::{bytes, optional, string};
use tidemill_core::topology::{Consumed, TopologyError};

use crate::support::{Run, Table, bare, changes, stored, unnamed};

fn by_value(l: &Table, o: &Table, joined: TableJoined<String, String>) -> Table {
    let by = |_: &String, value: &String| Some(value.clone());
    l.join_on_foreign_key(o, by, |l, o| format!("{l}={o}"), joined, unnamed())
}

#[test]
fn the_timestamp_is_the_later_one_at_an_answer_and_the_rows_at_an_announcement() {
    let run = Run::new(|builder| {
        let joined = by_value(&bare(builder, "l"), &bare(builder, "o"), TableJoined::default());
        joined.to_stream().to("out", changes());
    });
    run.pipe("o", "a", "one", 9);
    run.check("l", "a", 5, &[("a=one", 9)]);
    run.pipe("o", "a", "two", 3);
    assert_eq!(run.out(), [("k".to_owned(), "a=two".to_owned(), 3)]);
}

#[test]
fn a_foreign_value_without_bytes_counts_as_none() {
    let run = Run::new(|builder| {
        let joined = by_value(&bare(builder, "l"), &bare(builder, "o"), TableJoined::default());
        joined.to_stream().to("out", changes());
    });
    run.pipe("o", "a", "", 1);
    run.check("l", "a", 2, &[("-", 2)]);
    run.pipe("o", "a", "one", 3);
    assert_eq!(run.out(), [("k".to_owned(), "a=one".to_owned(), 3)]);
}

#[test]
fn a_failing_extractor_or_joiner_asks_the_handler() {
    let run = Run::new(|builder| {
        let (l, o) = (bare(builder, "l"), bare(builder, "o"));
        let fail = |on: &str, value: &str| -> Result<(), BoxError> {
            if value.starts_with(on) { Err("not that one".into()) } else { Ok(()) }
        };
        let joined = l.try_join_on_foreign_key(
            &o,
            move |_, value| fail("x", value).map(|()| Some(value.clone())),
            move |key, value, found| fail("y", value).map(|()| format!("{key}:{value}={found}")),
            TableJoined::default(),
            unnamed(),
        );
        joined.to_stream().to("out", changes());
    });
    for key in ["a", "x", "y"] {
        run.pipe("o", key, "one", 1);
    }
    run.check("l", "x", 2, &[]);
    run.check("l", "y", 3, &[]);
    run.check("l", "a", 4, &[("k:a=one", 4)]);
}

#[test]
fn late_answers_are_thrown_away_and_counted() {
    let run = Run::new(|builder| {
        let joined = by_value(&bare(builder, "l"), &bare(builder, "o"), TableJoined::default());
        joined.to_stream().to("out", changes());
    });
    run.pipe("o", "a", "one", 1);
    run.check("l", "a", 2, &[("a=one", 2)]);
    let responses = "test-KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-0000000014-topic";
    let mut input = run.driver.create_input_topic(responses, string(), bytes()).unwrap();
    let before = run.driver.counts().unwrap().1;
    // as if it had been on its way since the row had another value, or none
    let mut late = vec![0; 17];
    late.extend_from_slice(b"old");
    input.pipe_input_at("k".to_owned(), late, Timestamp(3)).unwrap();
    input.pipe_input_at("k".to_owned(), vec![0x80], Timestamp(3)).unwrap();
    assert_eq!(run.out(), []);
    assert_eq!(run.driver.counts().unwrap().1, before + 2);
}

#[test]
fn partitioners_get_the_keys_of_their_side() {
    let run = Run::new(|builder| {
        let joined = TableJoined::as_("fk")
            .with_partitioner(|topic: &str, key: &String, (): &(), partitions: u32| {
                assert!(topic.ends_with("fk-subscription-response-topic"), "{topic}");
                assert_eq!((&**key, partitions), ("k", 1));
                Some(Partition(0))
            })
            .with_other_partitioner(|topic: &str, key: &String, (): &(), partitions: u32| {
                assert!(topic.ends_with("fk-subscription-registration-topic"), "{topic}");
                assert_eq!((&**key, partitions), ("a", 1));
                None
            });
        let joined = by_value(&bare(builder, "l"), &bare(builder, "o"), joined);
        joined.to_stream().to("out", changes());
    });
    run.pipe("o", "a", "one", 1);
    run.check("l", "a", 2, &[("a=one", 2)]);
}

#[test]
fn a_partitioner_that_does_not_choose_one_partition_is_refused() {
    for chosen in [vec![], vec![Partition(0), Partition(1)]] {
        let run = Run::new(|builder| {
            let everywhere = move |_: &str, _: &String, (): &(), _: u32| chosen.clone();
            let joined = TableJoined::as_("fk").with_other_partitioner(everywhere);
            let joined = by_value(&bare(builder, "l"), &bare(builder, "o"), joined);
            joined.to_stream().to("out", changes());
        });
        let mut input = run.driver.create_input_topic("l", string(), string()).unwrap();
        let error = input.pipe_input("k".to_owned(), "a".to_owned()).unwrap_err().to_string();
        assert!(error.contains("partitions, it has to choose 1"), "{error}");
    }
}

#[test]
fn a_table_without_serdes_is_refused() {
    let builder = StreamsBuilder::new();
    let l = bare(&builder, "l").map_values(|value| value.len(), Materialized::default());
    let by = |_: &String, length: &usize| Some(length.to_string());
    let o = bare(&builder, "o");
    let joined = TableJoined::as_("fk");
    l.join_on_foreign_key(&o, by, |l, o| format!("{l}={o}"), joined, unnamed());
    let text = builder.build().unwrap_err().to_string();
    assert!(text.starts_with("fk-result: no value serde is given"), "{text}");

    let builder = StreamsBuilder::new();
    let o = bare(&builder, "o").map_values(|value| value.len(), Materialized::default());
    let by = |_: &String, value: &String| Some(value.clone());
    let l = bare(&builder, "l");
    let joined = TableJoined::as_("fk");
    l.join_on_foreign_key(&o, by, |l, o| format!("{l}={o}"), joined, unnamed());
    let text = builder.build().unwrap_err().to_string();
    assert!(text.starts_with("fk-result, the other table: no value serde"), "{text}");
}

#[test]
fn a_result_that_is_read_needs_a_serde() {
    let builder = StreamsBuilder::new();
    let joined = by_value(&bare(&builder, "l"), &bare(&builder, "o"), TableJoined::as_("fk"));
    // reading it takes a store, and nobody knows how to write its values
    joined.join(&bare(&builder, "p"), |a, b| format!("{a}{b}"), unnamed());
    let error = builder.build().unwrap_err();
    assert!(
        matches!(&error, TopologyError::MissingSerde { node, what: "value" }
        if node == "fk-result"),
        "{error}"
    );
}

#[test]
fn tables_of_two_builders_are_refused() {
    let (one, other) = (StreamsBuilder::new(), StreamsBuilder::new());
    by_value(&bare(&one, "l"), &bare(&other, "o"), TableJoined::as_("fk"));
    let error = one.build().unwrap_err();
    assert!(matches!(error, TopologyError::ForeignStream { node } if node == "fk-result"));
}

#[test]
fn a_table_can_refer_to_itself() {
    let run = Run::new(|builder| {
        let l = bare(builder, "l");
        let joined = by_value(&l, &l, TableJoined::default());
        joined.to_stream().to("out", changes());
    });
    // a row that refers to another one, then that one
    run.check("l", "b", 1, &[]);
    run.pipe("l", "b", "c", 2);
    assert_eq!(run.out(), [("k".to_owned(), "b=c".to_owned(), 2)]);
    run.check("l", "k", 3, &[("k=k", 3)]);
}

#[test]
fn null_keys_are_dropped_before() {
    let builder = StreamsBuilder::new();
    let source = |topic| {
        let consumed = Consumed::with(string(), string());
        builder.table(topic, consumed, Materialized::default())
    };
    let joined = by_value(&source("l"), &source("o"), TableJoined::default());
    joined.filter(|_, _| true, stored("kept"));
    let driver = TopologyTestDriver::new(builder.build().unwrap(), DriverConfig::default());
    let driver = driver.unwrap();
    for topic in ["l", "o"] {
        let mut input = driver.create_input_topic(topic, optional(string()), string()).unwrap();
        input.pipe_input_at(None, "a".to_owned(), Timestamp(1)).unwrap();
    }
    assert_eq!(driver.counts().unwrap().1, 2);
}
