//! Where a source record's timestamp comes from.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use std::sync::Arc;

use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{Materialized, StreamsBuilder};
use tidemill_core::errors::LogAndContinue;
use tidemill_core::record::Timestamp;
use tidemill_core::serdes::{i64, optional, string};
use tidemill_core::topology::{
    Consumed, FailOnInvalidTimestamp, LogAndSkipOnInvalidTimestamp, Produced, RecordTimes,
    TimestampExtractor, UsePartitionTimeOnInvalidTimestamp, WallclockTimestampExtractor,
};

/// Copies `in` to `out` with the timestamps that the extractor chooses.
fn run(extractor: impl TimestampExtractor<String, i64> + 'static) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    let consumed = Consumed::with(string(), i64()).with_timestamp_extractor(extractor);
    builder.stream("in", consumed).to("out", Produced::with(string(), i64()));
    let mut config = DriverConfig::default().with_initial_wall_clock_time(Timestamp(1_000));
    config.handlers.deserialization = Arc::new(LogAndContinue);
    TopologyTestDriver::new(builder.build().unwrap(), config).unwrap()
}

/// Pipes values at timestamps and returns the timestamps that come out.
fn times(driver: &TopologyTestDriver, records: &[(i64, i64)]) -> Vec<i64> {
    let mut input = driver.create_input_topic("in", string(), i64()).unwrap();
    for (value, at) in records {
        input.pipe_input_at("k".to_owned(), *value, Timestamp(*at)).unwrap();
    }
    let mut output = driver.create_output_topic("out", string(), i64()).unwrap();
    let records = output.read_records_to_list().unwrap();
    records.iter().map(|record| record.timestamp.0).collect()
}

#[test]
fn a_timestamp_can_come_from_the_value() {
    let of_value = |_: &String, value: &i64, _: &RecordTimes| Ok(Timestamp(*value));
    let driver = run(of_value);
    assert_eq!(times(&driver, &[(7, 100), (5, 101)]), [7, 5]);
    assert_eq!(driver.stream_time().unwrap().get(), Some(Timestamp(7)));
}

#[test]
fn a_negative_timestamp_skips_the_record() {
    let driver = run(LogAndSkipOnInvalidTimestamp);
    assert_eq!(times(&driver, &[(1, 100), (2, -1), (3, 90)]), [100, 90]);
    assert_eq!(driver.counts().unwrap().1, 1);
}

#[test]
fn a_missing_timestamp_is_an_error_unless_the_partition_has_one() {
    let driver = run(FailOnInvalidTimestamp);
    assert_eq!(times(&driver, &[(1, 100), (2, -1)]), [100]);
    let driver = run(UsePartitionTimeOnInvalidTimestamp);
    // the first of its partition has nobody to ask; then the largest counts, not the last
    assert_eq!(times(&driver, &[(1, -1), (2, 100), (3, 90), (4, -1)]), [100, 90, 100]);
    assert_eq!(driver.counts().unwrap().1, 1);
}

#[test]
fn the_wall_clock_is_that_of_the_turn() {
    let driver = run(WallclockTimestampExtractor);
    assert_eq!(times(&driver, &[(1, 5)]), [1_000]);
    driver.advance_wall_clock_time(std::time::Duration::from_millis(20)).unwrap();
    assert_eq!(times(&driver, &[(1, 5)]), [1_020]);
}

#[test]
fn an_extractor_that_fails_leaves_the_record_to_the_handler() {
    let refuse = |_: &String, value: &i64, times: &RecordTimes| {
        if *value == 13 { Err("unlucky".into()) } else { Ok(times.record) }
    };
    let driver = run(refuse);
    assert_eq!(times(&driver, &[(1, 1), (13, 2), (3, 3)]), [1, 3]);
    assert_eq!(driver.counts().unwrap().1, 1);
}

#[test]
fn a_table_asks_about_values_and_leaves_tombstones_their_own() {
    let builder = StreamsBuilder::new();
    let of_value = |_: &String, value: &i64, _: &RecordTimes| Ok(Timestamp(*value));
    let consumed = Consumed::with(string(), i64()).with_timestamp_extractor(of_value);
    let table = builder.table("in", consumed, Materialized::default());
    table.to_stream().to("out", Produced::with(string(), optional(i64())));
    let driver =
        TopologyTestDriver::new(builder.build().unwrap(), DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), optional(i64())).unwrap();
    for (value, at) in [(Some(7), 100), (None, 101)] {
        input.pipe_input_at("k".to_owned(), value, Timestamp(at)).unwrap();
    }
    let mut output = driver.create_output_topic("out", string(), optional(i64())).unwrap();
    let seen: Vec<_> =
        output.read_records_to_list().unwrap().iter().map(|r| (r.value, r.timestamp.0)).collect();
    assert_eq!(seen, [(Some(7), 7), (None, 101)]);
}
