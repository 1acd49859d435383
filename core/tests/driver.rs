//! The test driver: what a user's test sees of a topology.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use std::time::Duration;

use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, DriverError, TopologyTestDriver};
use tidemill_core::processor::{Processor, ProcessorContext, Punctuation, PunctuationType};
use tidemill_core::record::{Headers, Offset, Record, StreamTime, Timestamp};
use tidemill_core::serdes::{i64, optional, string};
use tidemill_core::store::{
    KeyValueStore, StoreError, TimestampedKeyValueStore, ValueAndTimestamp,
};
use tidemill_core::topology::{
    Consumed, Produced, Topology, TopologyError, key_value_store, timestamped_key_value_store,
};

/// Counts words in a timestamped store and forwards each count.
#[derive(Default)]
struct Count {
    store: Option<TimestampedKeyValueStore<String, i64>>,
}

impl Processor<String, String, String, i64> for Count {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result<(), BoxError> {
        self.store = Some(context.timestamped_key_value_store("counts")?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        let store = self.store.as_ref().expect("init was called");
        let before = store.get(&record.key)?.map_or(0, |stored| stored.value);
        let timestamp = record.timestamp;
        store.put(&record.key, ValueAndTimestamp { value: before + 1, timestamp })?;
        context.forward(record.with_value(before + 1))
    }
}

fn counting() -> Topology {
    let mut topology = Topology::new();
    topology
        .add_source("words", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("count", Count::default, &["words"]))
        .and_then(|t| t.add_sink("sink", "out", Produced::with(string(), i64()), &["count"]))
        .and_then(|t| {
            let store = timestamped_key_value_store("counts", string(), i64());
            t.add_state_store(store, &["count"])
        })
        .unwrap();
    topology
}

fn text(s: &str) -> String {
    s.to_owned()
}

#[test]
fn records_come_out_in_order_with_timestamp_and_headers() {
    let driver = TopologyTestDriver::new(counting(), DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    let mut output = driver.create_output_topic("out", string(), i64()).unwrap();
    let mut headers = Headers::new();
    headers.add("trace", Some(b"1".to_vec()));
    let record = Record::new(text("a"), text("x"), Timestamp(5)).with_headers(headers.clone());
    input.pipe_record(record).unwrap();
    input.pipe_input_at(text("b"), text("x"), Timestamp(6)).unwrap();
    input.pipe_input_at(text("a"), text("x"), Timestamp(7)).unwrap();

    assert_eq!(output.queue_size(), 3);
    let first = output.read_record().unwrap();
    assert_eq!(first, Record::new(text("a"), 1, Timestamp(5)).with_headers(headers));
    let rest = output.read_key_values_to_list().unwrap();
    assert_eq!(rest, [(text("b"), 1), (text("a"), 2)]);
    assert!(output.is_empty());
    assert!(matches!(output.read_record(), Err(DriverError::EmptyTopic(topic)) if topic == "out"));
    assert_eq!(driver.stream_time().unwrap().get(), Some(Timestamp(7)));
    assert_eq!(driver.counts().unwrap(), (3, 0));
}

#[test]
fn a_map_keeps_the_last_value_of_each_key() {
    let driver = TopologyTestDriver::new(counting(), DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    let mut output = driver.create_output_topic("out", string(), i64()).unwrap();
    input.pipe_key_values(["a", "b", "a"].map(|key| (text(key), text("x")))).unwrap();
    let map = output.read_key_values_to_map().unwrap();
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [(text("a"), 2), (text("b"), 1)]);
}

#[test]
fn every_changelog_record_is_there_in_order() {
    let driver = TopologyTestDriver::new(counting(), DriverConfig::new("app")).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    for (key, timestamp) in [("a", 10), ("b", 20), ("a", 15)] {
        input.pipe_input_at(text(key), text("x"), Timestamp(timestamp)).unwrap();
    }
    let log = driver.changelog("counts").unwrap();
    let seen: Vec<_> = log.iter().map(|r| (r.offset.0, r.timestamp.0, r.key.clone())).collect();
    let key = |s: &str| Some(s.as_bytes().to_vec());
    assert_eq!(seen, [(0, 10, key("a")), (1, 20, key("b")), (2, 15, key("a"))]);
    // the timestamp of a timestamped store is the record's, not a part of the value
    assert_eq!(log[2].value, Some(2_i64.to_be_bytes().to_vec()));
    assert_eq!(driver.produced_topic_names().unwrap(), ["app-counts-changelog", "out"]);
    // a changelog is a topic as any other
    let mut topic = driver.create_output_topic("app-counts-changelog", string(), i64()).unwrap();
    assert_eq!(topic.read_records_to_list().unwrap().len(), 3);
    assert_eq!(driver.changelog("counts").unwrap().len(), 3);
}

#[test]
fn stores_can_be_read_and_prepared() {
    let driver = TopologyTestDriver::new(counting(), DriverConfig::default()).unwrap();
    let store = driver.timestamped_key_value_store::<String, i64>("counts").unwrap();
    store.put(&text("a"), ValueAndTimestamp { value: 41, timestamp: Timestamp(1) }).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    let mut output = driver.create_output_topic("out", string(), i64()).unwrap();
    input.pipe_input_at(text("a"), text("x"), Timestamp(9)).unwrap();
    assert_eq!(output.read_value().unwrap(), 42);
    let stored = ValueAndTimestamp { value: 42, timestamp: Timestamp(9) };
    assert_eq!(store.get(&text("a")).unwrap(), Some(stored));
    let plain = driver.key_value_store::<String, i64>("counts").unwrap();
    assert_eq!(plain.get(&text("a")).unwrap(), Some(42));
    assert_eq!(driver.state_store_names().unwrap(), ["counts"]);
}

#[test]
fn mistakes_are_errors_that_name_what_would_have_been_right() {
    let driver = TopologyTestDriver::new(counting(), DriverConfig::default()).unwrap();
    let error = driver.create_input_topic("inn", string(), string()).unwrap_err().to_string();
    assert_eq!(error, "no source reads topic inn (sources read: in)");
    let mut output = driver.create_output_topic("ouch", string(), string()).unwrap();
    assert!(output.is_empty());
    let error = output.read_record().unwrap_err().to_string();
    assert_eq!(error, "nothing was ever written to topic ouch (written to: none)");
    let error = driver.key_value_store::<String, i64>("count").unwrap_err().to_string();
    assert_eq!(error, "the topology has no store count (stores: counts)");
    assert!(matches!(driver.changelog("x"), Err(DriverError::UnknownStore { .. })));
    let error = driver.key_value_store::<String, String>("counts").unwrap_err();
    assert!(matches!(error, DriverError::Store(StoreError::WrongType { .. })), "{error}");

    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    input.pipe_input(text("a"), text("x")).unwrap();
    let mut output = driver.create_output_topic("out", string(), string()).unwrap();
    let mut wrong = driver.create_output_topic("out", i64(), i64()).unwrap();
    assert!(matches!(wrong.read_record(), Err(DriverError::Serde { .. })));
    assert!(output.is_empty(), "an unreadable record counts as read");
    input.pipe_input(text("a"), text("x")).unwrap();
    output.read_record().unwrap();
}

#[test]
fn a_plain_store_has_no_timestamps() {
    let mut topology = Topology::new();
    topology.add_source("source", Consumed::with(string(), string()), &["in"]).unwrap();
    topology.add_processor("keep", Keep::default, &["source"]).unwrap();
    topology.add_state_store(key_value_store("last", string(), string()), &["keep"]).unwrap();
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    let error = driver.timestamped_key_value_store::<String, String>("last").unwrap_err();
    let expected = "store last is a key-value store, not a timestamped key-value store";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_empty_topology_and_an_illegal_application_id_are_refused() {
    let empty = TopologyTestDriver::new(Topology::new(), DriverConfig::default());
    assert!(matches!(empty, Err(DriverError::Topology(TopologyError::Empty))));
    let slash = TopologyTestDriver::new(counting(), DriverConfig::new("a/b"));
    assert!(matches!(slash, Err(DriverError::Topology(TopologyError::IllegalName(_)))));
}

/// Keeps the last value; forwards `(key, value)`; fails on `poison` after having done both.
#[derive(Default)]
struct Keep {
    store: Option<KeyValueStore<String, String>>,
}

impl Processor<String, String, String, String> for Keep {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result<(), BoxError> {
        self.store = Some(context.key_value_store("last")?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        let store = self.store.as_ref().expect("init was called");
        store.put(&record.key, record.value.clone())?;
        context.forward(record.clone())?;
        if record.value == "poison" {
            return Err("poisoned".into());
        }
        Ok(())
    }
}

#[test]
fn what_a_failed_record_did_is_rolled_back_and_the_driver_stops() {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("keep", Keep::default, &["source"]))
        .and_then(|t| t.add_sink("sink", "out", Produced::with(string(), string()), &["keep"]))
        .and_then(|t| t.add_state_store(key_value_store("last", string(), string()), &["keep"]))
        .unwrap();
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    let mut output = driver.create_output_topic("out", string(), string()).unwrap();
    input.pipe_input(text("a"), text("good")).unwrap();
    let error = input.pipe_input(text("b"), text("poison")).unwrap_err();
    let expected = "task 0_0, node keep: could not process record 1 of in-0: poisoned";
    assert_eq!(error.to_string(), expected);
    assert!(matches!(error, DriverError::Task(_)));

    assert_eq!(output.read_key_values_to_list().unwrap(), [(text("a"), text("good"))]);
    assert_eq!(driver.changelog("last").unwrap().len(), 1);
    let error = input.pipe_input(text("c"), text("good")).unwrap_err();
    assert!(matches!(&error, DriverError::Stopped(why) if why.contains("poisoned")), "{error}");
}

#[test]
fn a_topic_between_two_sub_topologies_is_fed_back_and_can_be_read() {
    let mut topology = Topology::new();
    let strings = || Consumed::with(string(), string());
    let to_strings = || Produced::with(string(), string());
    topology
        .add_source("first", strings(), &["in"])
        .and_then(|t| t.add_sink("to-middle", "middle", to_strings(), &["first"]))
        .and_then(|t| t.add_source("second", strings(), &["middle"]))
        .and_then(|t| t.add_sink("to-out", "out", to_strings(), &["second"]))
        .unwrap();
    assert_eq!(topology.sub_topologies().len(), 2);
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    let mut middle = driver.create_input_topic("middle", string(), string()).unwrap();
    input.pipe_input_at(text("a"), text("1"), Timestamp(3)).unwrap();
    middle.pipe_input_at(text("b"), text("2"), Timestamp(4)).unwrap();
    input.pipe_input_at(text("c"), text("3"), Timestamp(5)).unwrap();
    let mut output = driver.create_output_topic("out", string(), string()).unwrap();
    let expected = ["a", "b", "c"].into_iter().zip(["1", "2", "3"]);
    let expected: Vec<_> = expected.map(|(k, v)| (text(k), text(v))).collect();
    assert_eq!(output.read_key_values_to_list().unwrap(), expected);
    let mut between = driver.create_output_topic("middle", string(), string()).unwrap();
    assert_eq!(between.queue_size(), 2, "what the test itself piped is no output");
    assert_eq!(between.read_record().unwrap().timestamp, Timestamp(3));
}

#[test]
fn input_timestamps_start_at_the_wall_clock_and_advance_as_told() {
    let start = DriverConfig::default().with_initial_wall_clock_time(Timestamp(1_000));
    let driver = TopologyTestDriver::new(counting(), start).unwrap();
    let mut plain = driver.create_input_topic("in", string(), string()).unwrap();
    let stepping = driver.create_input_topic("in", string(), string()).unwrap();
    let mut stepping =
        stepping.with_start_timestamp(Timestamp(50)).with_auto_advance(Duration::from_millis(10));
    plain.pipe_input(text("p"), text("x")).unwrap();
    plain.pipe_input(text("p"), text("x")).unwrap();
    stepping.pipe_input(text("s"), text("x")).unwrap();
    stepping.pipe_input_at(text("s"), text("x"), Timestamp(7)).unwrap();
    stepping.pipe_input(text("s"), text("x")).unwrap();
    stepping.advance_time(Duration::from_secs(1));
    stepping.pipe_input(text("s"), text("x")).unwrap();
    let mut output = driver.create_output_topic("out", string(), i64()).unwrap();
    let records = output.read_records_to_list().unwrap();
    let times: Vec<_> = records.iter().map(|record| record.timestamp.0).collect();
    assert_eq!(times, [1_000, 1_000, 50, 7, 60, 1_070]);
}

#[test]
fn tombstones_reach_the_topology_where_null_is_legal() {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), optional(string())), &["in"])
        .and_then(|t| {
            let produced = Produced::with(string(), optional(string()));
            t.add_sink("sink", "out", produced, &["source"])
        })
        .unwrap();
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), optional(string())).unwrap();
    let mut output = driver.create_output_topic("out", string(), optional(string())).unwrap();
    input.pipe_input(text("a"), None).unwrap();
    input.pipe_input(text("a"), Some(text(""))).unwrap();
    assert_eq!(output.read_value().unwrap(), None);
    assert_eq!(output.read_value().unwrap(), Some(text("")));
}

/// Forwards each punctuation's time and the stream time then.
struct Tick(PunctuationType);

impl Processor<String, String, i64, i64> for Tick {
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, i64, i64>) -> Result<(), BoxError> {
        context.schedule(Duration::from_millis(10), self.0);
        Ok(())
    }

    fn process(
        &mut self,
        _: &mut ProcessorContext<'_, '_, i64, i64>,
        _: Record<String, String>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    fn punctuate(
        &mut self,
        context: &mut ProcessorContext<'_, '_, i64, i64>,
        due: Punctuation,
    ) -> Result<(), BoxError> {
        assert!(context.record_metadata().is_none());
        let stream_time = context.current_stream_time().map_or(-1, |time| time.0);
        context.forward(Record::new(due.timestamp.0, stream_time, due.timestamp))
    }
}

#[test]
fn only_the_driver_moves_the_wall_clock() {
    let mut topology = Topology::new();
    let tick = || Tick(PunctuationType::WallClockTime);
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("tick", tick, &["source"]))
        .and_then(|t| t.add_sink("sink", "out", Produced::with(i64(), i64()), &["tick"]))
        .unwrap();
    let start = DriverConfig::default().with_initial_wall_clock_time(Timestamp(100));
    let driver = TopologyTestDriver::new(&topology, start).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    let mut output = driver.create_output_topic("out", i64(), i64()).unwrap();
    input.pipe_input_at(text("a"), text("x"), Timestamp(500)).unwrap();
    driver.advance_wall_clock_time(Duration::from_millis(9)).unwrap();
    assert!(output.is_empty());
    driver.advance_wall_clock_time(Duration::from_millis(1)).unwrap();
    assert_eq!(output.read_key_value().unwrap(), (110, 500));
    driver.advance_wall_clock_time(Duration::from_millis(35)).unwrap();
    assert_eq!(output.read_key_values_to_list().unwrap(), [(145, 500)], "missed ones become one");
    assert_eq!(driver.wall_clock_time().unwrap(), Timestamp(145));
    driver.advance_wall_clock_time(Duration::from_millis(5)).unwrap();
    assert_eq!(output.read_key_value().unwrap(), (150, 500), "the grid does not move");
}

#[test]
fn a_closed_driver_takes_nothing_and_still_shows_what_it_wrote() {
    let driver = TopologyTestDriver::new(counting(), DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    let mut output = driver.create_output_topic("out", string(), i64()).unwrap();
    assert_eq!(driver.stream_time().unwrap(), StreamTime::UNKNOWN);
    input.pipe_input(text("a"), text("x")).unwrap();
    driver.close();
    assert!(matches!(input.pipe_input(text("a"), text("x")), Err(DriverError::Closed)));
    assert_eq!(output.read_key_value().unwrap(), (text("a"), 1));
}

#[test]
fn a_driver_is_refused_to_its_own_topology() {
    use std::cell::RefCell;
    use tidemill_core::driver::TestInputTopic;

    type Input = TestInputTopic<String, String>;
    thread_local! {
        static INPUT: RefCell<Option<Input>> = const { RefCell::new(None) };
    }
    struct Recursive;
    impl Processor<String, String, (), ()> for Recursive {
        fn process(
            &mut self,
            _: &mut ProcessorContext<'_, '_, (), ()>,
            record: Record<String, String>,
        ) -> Result<(), BoxError> {
            INPUT.with_borrow_mut(|input| {
                let input = input.as_mut().expect("put there below");
                let error = input.pipe_input(record.key, record.value).unwrap_err();
                assert!(matches!(error, DriverError::Busy));
            });
            Ok(())
        }
    }
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("recursive", || Recursive, &["source"]))
        .unwrap();
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    INPUT.set(Some(driver.create_input_topic("in", string(), string()).unwrap()));
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    input.pipe_input(text("a"), text("x")).unwrap();
    assert_eq!(driver.counts().unwrap(), (1, 0));
    INPUT.set(None);
}

#[test]
fn a_plain_store_starts_its_changelog_at_offset_zero() {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("keep", Keep::default, &["source"]))
        .and_then(|t| t.add_state_store(key_value_store("last", string(), string()), &["keep"]))
        .unwrap();
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    assert!(driver.changelog("last").unwrap().is_empty());
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    input.pipe_input_at(text("a"), text("x"), Timestamp(77)).unwrap();
    let log = driver.changelog("last").unwrap();
    assert_eq!((log[0].offset, log[0].timestamp), (Offset::ZERO, Timestamp(77)));
}
