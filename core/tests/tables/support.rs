//! A driver with topics of strings, and what comes out of it.

use std::sync::Arc;

use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{KTable, Materialized, StreamsBuilder};
use tidemill_core::errors::LogAndContinue;
use tidemill_core::record::Timestamp;
use tidemill_core::serdes::{optional, string};
use tidemill_core::topology::{Consumed, Produced};

pub(crate) type Table = KTable<String, String>;

pub(crate) fn table(builder: &StreamsBuilder, topic: &str, caching: bool) -> Table {
    let materialized = Materialized::as_(topic);
    let materialized = if caching { materialized } else { materialized.with_caching_disabled() };
    builder.table(topic, Consumed::with(string(), string()), materialized)
}

/// A table that has a store only if somebody needs it.
pub(crate) fn bare(builder: &StreamsBuilder, topic: &str) -> Table {
    builder.table(topic, Consumed::with(string(), string()), Materialized::default())
}

pub(crate) fn unnamed() -> Materialized<String, String> {
    Materialized::default()
}

pub(crate) fn stored(name: &str) -> Materialized<String, String> {
    Materialized::as_(name)
        .with_key_serde(string())
        .with_value_serde(string())
        .with_caching_disabled()
}

pub(crate) fn changes() -> Produced<String, Option<String>> {
    Produced::with(string(), optional(string()))
}

/// Value (`-` is null) and timestamp.
pub(crate) type Out = (String, i64);

pub(crate) struct Run {
    pub(crate) driver: TopologyTestDriver,
}

impl Run {
    pub(crate) fn new(build: impl FnOnce(&StreamsBuilder)) -> Self {
        let builder = StreamsBuilder::new();
        build(&builder);
        let mut config = DriverConfig::default();
        config.handlers.processing = Arc::new(LogAndContinue);
        let driver = TopologyTestDriver::new(builder.build().unwrap(), config).unwrap();
        Self { driver }
    }

    /// Pipes a record; `-` is null, as key and as value.
    pub(crate) fn pipe(&self, topic: &str, key: &str, value: &str, at: i64) {
        let text = |text: &str| (text != "-").then(|| text.to_owned());
        let (keys, values) = (optional(string()), optional(string()));
        let mut input = self.driver.create_input_topic(topic, keys, values).unwrap();
        input.pipe_input_at(text(key), text(value), Timestamp(at)).unwrap();
    }

    /// Returns what came out since the last look: key, value and timestamp.
    pub(crate) fn out(&self) -> Vec<(String, String, i64)> {
        let (keys, values) = (string(), optional(string()));
        let mut output = self.driver.create_output_topic("out", keys, values).unwrap();
        let records = output.read_records_to_list().unwrap();
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        records.into_iter().map(|r| (r.key, text(r.value), r.timestamp.0)).collect()
    }

    /// Pipes a record of key `k` and compares what comes out of it.
    pub(crate) fn check(&self, topic: &str, value: &str, at: i64, expected: &[(&str, i64)]) {
        self.pipe(topic, "k", value, at);
        let seen: Vec<Out> = self.out().into_iter().map(|(_, value, at)| (value, at)).collect();
        let expected: Vec<Out> = expected.iter().map(|(v, at)| ((*v).to_owned(), *at)).collect();
        assert_eq!(seen, expected, "{topic}: {value} at {at}");
    }

    pub(crate) fn stored(&self, store: &str, key: &str) -> Option<Out> {
        let store = self.driver.timestamped_key_value_store::<String, String>(store).unwrap();
        let found = store.get(&key.to_owned()).unwrap();
        found.map(|found| (found.value, found.timestamp.0))
    }
}
