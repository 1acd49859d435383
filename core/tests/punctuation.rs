//! Punctuations of a running topology.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use std::time::Duration;

use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, TestInputTopic, TestOutputTopic, TopologyTestDriver};
use tidemill_core::processor::{
    Processor, ProcessorContext, Punctuation, PunctuationHandle, PunctuationType,
};
use tidemill_core::record::{Record, Timestamp};
use tidemill_core::serdes::{i64, string};
use tidemill_core::store::KeyValueStore;
use tidemill_core::topology::{Consumed, Produced, Topology, key_value_store};

/// Counts records in a store and forwards the count at each punctuation, three times at most.
struct Report {
    kind: PunctuationType,
    handle: Option<PunctuationHandle>,
    store: Option<KeyValueStore<String, i64>>,
    left: u32,
}

impl Report {
    fn by(kind: PunctuationType) -> Self {
        Self { kind, handle: None, store: None, left: 3 }
    }
}

impl Processor<String, i64, String, i64> for Report {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result<(), BoxError> {
        self.handle = Some(context.schedule(Duration::from_millis(10), self.kind));
        self.store = Some(context.key_value_store("seen")?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
        record: Record<String, i64>,
    ) -> Result<(), BoxError> {
        assert!(context.record_metadata().is_some());
        let store = self.store.as_ref().expect("init was called");
        let seen = store.get(&record.key)?.unwrap_or(0);
        Ok(store.put(&record.key, seen + 1)?)
    }

    fn punctuate(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
        due: Punctuation,
    ) -> Result<(), BoxError> {
        assert_eq!(Some(due.handle), self.handle);
        assert!(context.record_metadata().is_none(), "no record is in process");
        let store = self.store.as_ref().expect("init was called");
        for entry in store.all()? {
            let (key, seen) = entry?;
            context.forward(Record::new(key, seen, due.timestamp))?;
        }
        self.left -= 1;
        if self.left == 0 {
            context.cancel(due.handle);
        }
        Ok(())
    }
}

type Topics = (TopologyTestDriver, TestInputTopic<String, i64>, TestOutputTopic<String, i64>);

fn reporting(kind: PunctuationType) -> Topics {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), i64()), &["in"])
        .and_then(|t| t.add_processor("report", move || Report::by(kind), &["source"]))
        .and_then(|t| t.add_sink("sink", "out", Produced::with(string(), i64()), &["report"]))
        .and_then(|t| t.add_state_store(key_value_store("seen", string(), i64()), &["report"]))
        .unwrap();
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    let input = driver.create_input_topic("in", string(), i64()).unwrap();
    let output = driver.create_output_topic("out", string(), i64()).unwrap();
    (driver, input, output)
}

/// Key, value and timestamp of all that was reported.
fn reported(output: &mut TestOutputTopic<String, i64>) -> Vec<(String, i64, i64)> {
    let records = output.read_records_to_list().unwrap();
    records.into_iter().map(|r| (r.key, r.value, r.timestamp.0)).collect()
}

fn a(count: i64, at: i64) -> (String, i64, i64) {
    ("a".to_owned(), count, at)
}

#[test]
fn stream_time_punctuations_follow_the_record_that_moved_the_time_and_see_its_writes() {
    let (_driver, mut input, mut output) = reporting(PunctuationType::StreamTime);
    let mut pipe = |at: i64| input.pipe_input_at("a".to_owned(), 0, Timestamp(at)).unwrap();
    pipe(3);
    assert_eq!(reported(&mut output), [a(1, 3)], "first as soon as stream time is known");
    pipe(9);
    assert_eq!(reported(&mut output), []);
    pipe(4);
    pipe(37);
    assert_eq!(reported(&mut output), [a(4, 37)], "missed instants are one call");
    pipe(39);
    pipe(40);
    assert_eq!(reported(&mut output), [a(6, 40)], "aligned to multiples of the interval");
}

#[test]
fn a_punctuation_that_cancels_itself_does_not_come_back() {
    let (_driver, mut input, mut output) = reporting(PunctuationType::StreamTime);
    for at in [0, 10, 20, 30, 40] {
        input.pipe_input_at("a".to_owned(), 0, Timestamp(at)).unwrap();
    }
    assert_eq!(reported(&mut output), [a(1, 0), a(2, 10), a(3, 20)]);
}

#[test]
fn wall_clock_punctuations_do_not_need_records() {
    let (driver, mut input, mut output) = reporting(PunctuationType::WallClockTime);
    input.pipe_input_at("a".to_owned(), 0, Timestamp(1_000_000)).unwrap();
    assert!(output.is_empty());
    for _ in 0..6 {
        driver.advance_wall_clock_time(Duration::from_millis(5)).unwrap();
    }
    assert_eq!(reported(&mut output), [a(1, 10), a(1, 20), a(1, 30)]);
    driver.advance_wall_clock_time(Duration::from_millis(10)).unwrap();
    assert!(output.is_empty(), "cancelled in the third call");
}
