//! Topologies from `in` to `out`, and a driver around them.
//!
//! A value is text that begins with its revision, as in `3 cheap`; a tombstone may have one in the
//! header `revision`.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{Deduplicated, KStream, RevisionOrder, StreamsBuilder};
use tidemill_core::errors::{DeadLetterQueue, LogAndContinue, ProcessingExceptionHandler};
use tidemill_core::record::{Headers, Record, Timestamp};
use tidemill_core::serdes::{Optional, StringSerde, optional, string};
use tidemill_core::topology::{Consumed, Produced, Topology};

pub(crate) type Text = Option<String>;
pub(crate) type Stream = KStream<Text, Text>;

pub(crate) fn texts() -> Optional<StringSerde> {
    optional(string())
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn text(text: &str) -> Text {
    Some(text.to_owned())
}

/// The revision of a test's record.
pub(crate) fn revision(record: &Record<Text, Text>) -> Result<Option<i64>, BoxError> {
    let header = record.headers.last("revision").and_then(|header| header.value.clone());
    let header = header.map(String::from_utf8).transpose()?;
    let Some(text) = header.as_ref().or(record.value.as_ref()) else { return Ok(None) };
    let number = text.split(' ').next().unwrap_or_default();
    Ok(if number == "?" { None } else { Some(number.parse()?) })
}

pub(crate) fn deduplicated() -> Deduplicated<Text, Text> {
    Deduplicated::with(texts(), texts())
}

pub(crate) fn from_one() -> RevisionOrder<Text, Text> {
    RevisionOrder::starting_at(1, texts(), texts())
}

pub(crate) fn topology(build: impl FnOnce(Stream) -> Stream) -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream("in", Consumed::with(texts(), texts()));
    build(stream).to("out", Produced::with(texts(), texts()));
    builder.build().unwrap()
}

/// A driver that counts and drops what fails.
pub(crate) struct Run {
    pub(crate) driver: TopologyTestDriver,
}

impl Run {
    pub(crate) fn new(topology: &Topology) -> Self {
        Self::with(topology, LogAndContinue)
    }

    pub(crate) fn dead_lettering(topology: &Topology) -> Self {
        Self::with(topology, DeadLetterQueue("dead".to_owned()))
    }

    fn with(topology: &Topology, handler: impl ProcessingExceptionHandler + 'static) -> Self {
        let mut config = DriverConfig::default();
        config.handlers.processing = Arc::new(handler);
        Self { driver: TopologyTestDriver::new(topology, config).unwrap() }
    }

    /// Pipes a record and returns what comes out of it, as `value@timestamp`.
    pub(crate) fn send(&self, key: &str, value: Option<&str>, at: i64) -> Vec<String> {
        self.send_record(key, value, at, None)
    }

    /// As `send`, for a tombstone whose revision is in a header.
    pub(crate) fn delete(&self, key: &str, revision: i64, at: i64) -> Vec<String> {
        self.send_record(key, None, at, Some(revision))
    }

    fn send_record(
        &self,
        key: &str,
        value: Option<&str>,
        at: i64,
        revision: Option<i64>,
    ) -> Vec<String> {
        let mut headers = Headers::new();
        if let Some(revision) = revision {
            headers.add("revision", Some(revision.to_string().into_bytes()));
        }
        let (key, value) = ((!key.is_empty()).then(|| key.to_owned()), value.map(str::to_owned));
        let record = Record::new(key.clone(), value, Timestamp(at)).with_headers(headers);
        let mut input = self.driver.create_input_topic("in", texts(), texts()).unwrap();
        input.pipe_record(record).unwrap();
        let records = self.read("out");
        assert!(records.iter().all(|record| record.key == key), "the key changed");
        let shown = |record: &Record<Text, Text>| {
            format!("{}@{}", record.value.as_deref().unwrap_or("deleted"), record.timestamp)
        };
        records.iter().map(shown).collect()
    }

    pub(crate) fn read(&self, topic: &str) -> Vec<Record<Text, Text>> {
        let mut output = self.driver.create_output_topic(topic, texts(), texts()).unwrap();
        output.read_records_to_list().unwrap()
    }

    /// Ignored and dropped records.
    pub(crate) fn uncounted(&self) -> (u64, u64) {
        (self.driver.ignored().unwrap(), self.driver.counts().unwrap().1)
    }

    /// Entries of a store, the expiry index included: what its changelog leaves behind.
    pub(crate) fn entries(&self, store: &str) -> usize {
        let mut live = std::collections::BTreeMap::new();
        for record in self.driver.changelog(store).unwrap() {
            match record.value {
                Some(value) => live.insert(record.key, value),
                None => live.remove(&record.key),
            };
        }
        live.len()
    }
}
