//! A driver with two streams of strings that are joined, and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{JoinWindows, KStream, StreamJoined, StreamsBuilder};
use tidemill_core::errors::LogAndContinue;
use tidemill_core::record::Timestamp;
use tidemill_core::serdes::{optional, string};
use tidemill_core::topology::{Consumed, Produced};

pub(crate) type Text = Option<String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Inner,
    Left,
    Outer,
}

pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn within(difference: u64, grace: u64) -> JoinWindows {
    JoinWindows::of_time_difference_and_grace(millis(difference), millis(grace))
}

/// A stream of texts that may be null, as keys may.
pub(crate) fn stream(builder: &StreamsBuilder, topic: &str) -> KStream<Text, Text> {
    builder.stream(topic, Consumed::with(optional(string()), optional(string())))
}

pub(crate) fn texts() -> StreamJoined<Text, Text, Text> {
    StreamJoined::with(optional(string()), optional(string()), optional(string()))
}

/// Joins two streams into values like `l1+o1`; `_` is nothing.
pub(crate) fn join(
    kind: Kind,
    (l, o): (&KStream<Text, Text>, &KStream<Text, Text>),
    windows: JoinWindows,
) -> KStream<Text, Text> {
    fn text(value: Option<&Text>) -> &str {
        value.map_or("_", |value| value.as_deref().unwrap_or("null"))
    }
    fn both(l: Option<&Text>, o: Option<&Text>) -> Text {
        Some(format!("{}+{}", text(l), text(o)))
    }
    match kind {
        Kind::Inner => l.join_stream(o, |l, o| both(Some(l), Some(o)), windows, texts()),
        Kind::Left => l.left_join_stream(o, |l, o| both(Some(l), o), windows, texts()),
        Kind::Outer => l.outer_join_stream(o, both, windows, texts()),
    }
}

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

    /// Joins the topics `l` and `o` into `out`.
    pub(crate) fn of(kind: Kind, windows: JoinWindows) -> Self {
        Self::new(|builder| {
            let sides = (&stream(builder, "l"), &stream(builder, "o"));
            join(kind, sides, windows)
                .to("out", Produced::with(optional(string()), optional(string())));
        })
    }

    /// Pipes a record; `-` is null, as key and as value.
    pub(crate) fn pipe(&self, topic: &str, key: &str, value: &str, at: i64) {
        let text = |text: &str| (text != "-").then(|| text.to_owned());
        let serde = optional(string());
        let mut input = self.driver.create_input_topic(topic, serde, serde).unwrap();
        input.pipe_input_at(text(key), text(value), Timestamp(at)).unwrap();
    }

    /// Returns what came out since the last look: value and timestamp.
    pub(crate) fn out(&self) -> Vec<(String, i64)> {
        let serde = optional(string());
        let mut output = self.driver.create_output_topic("out", serde, serde).unwrap();
        let records = output.read_records_to_list().unwrap();
        records.into_iter().map(|r| (r.value.unwrap_or_default(), r.timestamp.0)).collect()
    }

    /// Pipes a record of key `k` and compares what comes out of it.
    pub(crate) fn check(&self, topic: &str, value: &str, at: i64, expected: &[(&str, i64)]) {
        self.pipe(topic, "k", value, at);
        let expected: Vec<_> = expected.iter().map(|(v, at)| ((*v).to_owned(), *at)).collect();
        assert_eq!(self.out(), expected, "{topic}: {value} at {at}");
    }
}
