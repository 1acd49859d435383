//! What aggregations make of records, run by the test driver.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use std::sync::Arc;

use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{Grouped, KGroupedStream, KTable, Materialized, StreamsBuilder};
use tidemill_core::errors::LogAndContinue;
use tidemill_core::record::Timestamp;
use tidemill_core::serdes::{i64, optional, string};
use tidemill_core::topology::{Consumed, Produced, Topology};

type Key = Option<String>;
type Groups = KGroupedStream<Key, Option<i64>>;
type Table = KTable<Key, i64>;

/// A topology that aggregates the topic `in`; nulls may come.
fn topology(build: impl FnOnce(Groups) -> Table) -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream("in", Consumed::with(optional(string()), optional(i64())));
    let groups = stream.group_by_key(Grouped::with(optional(string()), optional(i64())));
    let out = Produced::with(optional(string()), optional(i64()));
    build(groups).to_stream().to("out", out);
    builder.build().unwrap()
}

struct Run {
    driver: TopologyTestDriver,
}

impl Run {
    fn new(build: impl FnOnce(Groups) -> Table) -> Self {
        let mut config = DriverConfig::default();
        config.handlers.processing = Arc::new(LogAndContinue);
        Self { driver: TopologyTestDriver::new(topology(build), config).unwrap() }
    }

    /// Pipes one record and compares what comes out of it: value and timestamp.
    fn check(&self, key: &str, value: Option<i64>, at: i64, expected: &[(Option<i64>, i64)]) {
        let key = (!key.is_empty()).then(|| key.to_owned());
        let (serde, values) = (optional(string()), optional(i64()));
        let mut input = self.driver.create_input_topic("in", serde, values).unwrap();
        input.pipe_input_at(key.clone(), value, Timestamp(at)).unwrap();
        let mut output = self.driver.create_output_topic("out", serde, values).unwrap();
        let records = output.read_records_to_list().unwrap();
        assert!(records.iter().all(|record| record.key == key));
        let seen: Vec<_> = records.iter().map(|r| (r.value, r.timestamp.0)).collect();
        assert_eq!(seen, expected, "{key:?} {value:?} at {at}");
    }

    fn stored(&self, store: &str, key: &str) -> Option<(i64, i64)> {
        let store = self.driver.timestamped_key_value_store::<Key, i64>(store).unwrap();
        let found = store.get(&Some(key.to_owned())).unwrap();
        found.map(|found| (found.value, found.timestamp.0))
    }
}

fn sums() -> Materialized<Key, i64> {
    Materialized::as_("sums").with_value_serde(i64())
}

/// Sums up; 0 deletes the key.
fn sum(groups: &Groups, materialized: Materialized<Key, i64>) -> Table {
    let add = |_: &Key, value: Option<i64>, total: i64| match value {
        Some(0) => None,
        value => Some(total + value.unwrap_or(0)),
    };
    groups.aggregate(|| 100, add, materialized)
}

#[test]
fn count_counts_the_records_of_each_key() {
    let run = Run::new(|groups| groups.count(Materialized::as_("counts")));
    run.check("a", Some(7), 1, &[(Some(1), 1)]);
    run.check("b", Some(7), 2, &[(Some(1), 2)]);
    run.check("a", Some(7), 3, &[(Some(2), 3)]);
    assert_eq!(run.stored("counts", "a"), Some((2, 3)));
}

#[test]
fn nulls_are_dropped_and_counted() {
    let run = Run::new(|groups| groups.count(Materialized::as_("counts")));
    run.check("", Some(1), 1, &[]);
    run.check("a", None, 2, &[]);
    run.check("a", Some(1), 3, &[(Some(1), 3)]);
    assert_eq!(run.driver.counts().unwrap().1, 2);
}

#[test]
fn the_timestamp_of_a_result_is_the_largest_of_its_records() {
    let run = Run::new(|groups| groups.count(Materialized::as_("counts")));
    run.check("a", Some(1), 10, &[(Some(1), 10)]);
    run.check("a", Some(1), 4, &[(Some(2), 10)]);
    run.check("a", Some(1), 12, &[(Some(3), 12)]);
    assert_eq!(run.stored("counts", "a"), Some((3, 12)));
}

#[test]
fn an_aggregate_begins_with_the_initial_value_and_none_deletes() {
    for materialized in [sums(), sums().with_caching_disabled()] {
        let run = Run::new(|groups| sum(&groups, materialized));
        run.check("a", Some(5), 20, &[(Some(105), 20)]);
        run.check("a", Some(3), 30, &[(Some(108), 30)]);
        run.check("a", Some(0), 40, &[(None, 40)]);
        assert_eq!(run.stored("sums", "a"), None);
        // a deleted key has no timestamp to remember
        run.check("a", Some(7), 12, &[(Some(107), 12)]);
        run.check("a", Some(1), 5, &[(Some(108), 12)]);
        let changelog = run.driver.changelog("sums").unwrap();
        let values: Vec<_> = changelog.iter().map(|r| (r.value.is_some(), r.timestamp.0)).collect();
        assert_eq!(values, [(true, 20), (true, 30), (false, 40), (true, 12), (true, 12)]);
    }
}

#[test]
fn reduce_takes_the_first_value_as_it_is() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream("in", Consumed::with(string(), string()));
    let groups = stream.group_by_key(Grouped::with(string(), string()));
    let table = groups.reduce(|before, next| before + &next, Materialized::default());
    table.to_stream().to("out", Produced::with(string(), optional(string())));
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::new(topology, DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    let pairs = [("a", "x"), ("b", "q"), ("a", "y")];
    input.pipe_key_values(pairs.map(|(k, v)| (k.to_owned(), v.to_owned()))).unwrap();
    let mut output = driver.create_output_topic("out", string(), string()).unwrap();
    let values: Vec<_> = (0..3).map(|_| output.read_value().unwrap()).collect();
    assert_eq!(values, ["x", "q", "xy"]);
}

#[test]
fn a_failed_aggregator_leaves_the_value_as_it_was() {
    let add = |_: &Key, value: Option<i64>, total: i64| -> Result<i64, BoxError> {
        match value {
            Some(value) if value >= 0 => Ok(total + value),
            _ => Err("negative".into()),
        }
    };
    let run = Run::new(|groups| groups.try_aggregate(|| 0, add, sums()));
    run.check("a", Some(5), 1, &[(Some(5), 1)]);
    run.check("a", Some(-1), 9, &[]);
    assert_eq!(run.stored("sums", "a"), Some((5, 1)));
    run.check("a", Some(2), 3, &[(Some(7), 3)]);
    assert_eq!(run.driver.counts().unwrap().1, 1);
}

#[test]
fn a_failed_reducer_leaves_the_value_as_it_was() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream("in", Consumed::with(string(), i64()));
    let groups = stream.group_by_key(Grouped::with(string(), i64()));
    let add = |a: i64, b: i64| a.checked_add(b).ok_or_else(|| BoxError::from("too large"));
    groups.try_reduce(add, Materialized::as_("sums"));
    let mut config = DriverConfig::default();
    config.handlers.processing = Arc::new(LogAndContinue);
    let driver = TopologyTestDriver::new(builder.build().unwrap(), config).unwrap();
    let mut input = driver.create_input_topic("in", string(), i64()).unwrap();
    input.pipe_key_values([1, i64::MAX, 2].map(|value| ("a".to_owned(), value))).unwrap();
    let sums = driver.timestamped_key_value_store::<String, i64>("sums").unwrap();
    assert_eq!(sums.get(&"a".to_owned()).unwrap().unwrap().value, 3);
}

#[test]
fn aggregations_of_a_changed_key_go_through_their_repartition_topic() {
    let builder = StreamsBuilder::new();
    let lines = builder.stream("in", Consumed::with(optional(string()), string()));
    let words =
        lines.flat_map_values(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let by_word = Grouped::with(string(), string()).with_name("by-word");
    let groups = words.group_by(|_, word| word.clone(), by_word);
    let counts = groups.count(Materialized::as_("counts"));
    counts.to_stream().to("counts-out", Produced::with(string(), optional(i64())));
    let longest =
        groups.reduce(|a, b| if a.len() < b.len() { b } else { a }, Materialized::default());
    longest.to_stream().to("longest-out", Produced::with(string(), optional(string())));
    let topology = builder.build().unwrap();
    let driver = TopologyTestDriver::new(topology, DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", optional(string()), string()).unwrap();
    input.pipe_input(None, "to be or not to be".to_owned()).unwrap();
    let mut topic =
        driver.create_output_topic("test-by-word-repartition", string(), string()).unwrap();
    let keys: Vec<_> = topic.read_key_values_to_list().unwrap().into_iter().map(|p| p.0).collect();
    assert_eq!(keys, ["to", "be", "or", "not", "to", "be"]);
    let mut out = driver.create_output_topic("counts-out", string(), i64()).unwrap();
    let last = out.read_key_values_to_map().unwrap();
    let expected = [("be", 2), ("not", 1), ("or", 1), ("to", 2)].map(|(k, n)| (k.to_owned(), n));
    assert_eq!(last, expected.into());
    let out = driver.create_output_topic("longest-out", string(), string()).unwrap();
    assert!(out.queue_size() >= 4);
}

#[test]
fn materialized_decides_on_caching_logging_and_names() {
    let spec = |materialized: Materialized<Key, i64>| {
        let topology = topology(|groups| groups.count(materialized));
        topology.sub_topologies()[0].stores[0].clone()
    };
    let default = spec(Materialized::default());
    assert_eq!(default.name, "KSTREAM-AGGREGATE-STATE-STORE-0000000001");
    assert!(default.caching && default.logging && default.changelog_config.is_empty());
    assert!(!spec(Materialized::default().with_caching_disabled()).caching);
    assert!(spec(sums().with_caching_disabled().with_caching_enabled()).caching);
    assert!(!spec(sums().with_logging_disabled()).logging);
    let config = [("min.compaction.lag.ms".to_owned(), "1".to_owned())];
    let logged = spec(sums().with_logging_enabled(config.clone().into()));
    assert_eq!((logged.name.as_str(), logged.changelog_config), ("sums", config.into()));
}
