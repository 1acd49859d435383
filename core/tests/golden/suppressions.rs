//! Tables whose changes are held back.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value};
use tidemill_core::BoxError;
use tidemill_core::dsl::{BufferBounds, BufferConfig, KTable, Suppressed, Windowed};
use tidemill_core::record::Timestamp;

use crate::data::{Datum, Nullable};
use crate::operator::Operator;
use crate::topology::Built;

pub(crate) fn add(operator: &Operator<'_>, from: Built) -> Result<Built, BoxError> {
    match from {
        Built::Table(from) => Ok(Built::Table(suppress(operator, &from)?)),
        Built::Counts(from) => Ok(Built::Counts(suppress(operator, &from)?)),
        _ => Err(operator.wrong("this takes a table")),
    }
}

fn suppress<V: Nullable>(
    operator: &Operator<'_>,
    from: &KTable<Datum, V>,
) -> Result<KTable<Datum, V>, BoxError> {
    if operator.text("until")? != "time_limit" {
        return Err(operator.wrong("only tables of windows have windows that close"));
    }
    let limit = operator.number("limit").unwrap_or_default();
    let limit = Duration::from_millis(limit);
    let suppressed = Suppressed::until_time_limit(limit, bounds(operator));
    Ok(from.suppress(match operator.name()? {
        Some(name) => suppressed.with_name(name),
        None => suppressed,
    }))
}

/// Until the windows close.
pub(crate) fn until_closed<V: Nullable>(
    operator: &Operator<'_>,
    from: &KTable<Windowed<Datum>, V>,
) -> Result<KTable<Windowed<Datum>, V>, BoxError> {
    if operator.text("until")? != "window_closes" {
        return Err(operator.wrong("no scenario limits the time of windows"));
    }
    let config = match operator.number("max_records") {
        Some(records) => BufferConfig::max_records(records).shut_down_when_full(),
        None => BufferConfig::unbounded(),
    };
    let suppressed = Suppressed::until_window_closes(config);
    Ok(from.suppress(match operator.name()? {
        Some(name) => suppressed.with_name(name),
        None => suppressed,
    }))
}

/// A buffer with a bound lets go early, one without never has to.
fn bounds(operator: &Operator<'_>) -> BufferBounds {
    let mut config = BufferConfig::max_records(u64::MAX);
    if let Some(records) = operator.number("max_records") {
        config = config.with_max_records(records);
    }
    if let Some(bytes) = operator.number("max_bytes") {
        config = config.with_max_bytes(bytes);
    }
    config.into()
}

/// The buffers of a scenario, and what is let pass of their changelogs.
pub(crate) struct Buffers(Vec<String>);

impl Buffers {
    pub(crate) fn of(operators: &[Map<String, Value>]) -> Self {
        let suppressions = operators.iter().filter(|operator| operator["op"] == "suppress");
        let name = |operator: &Map<String, Value>| {
            operator.get("name")?.as_str().map(|name| format!("{name}-store"))
        };
        let generated = "KTABLE-SUPPRESS-STATE-STORE-".to_owned();
        Self(suppressions.map(|operator| name(operator).unwrap_or(generated.clone())).collect())
    }

    /// Returns whether a store is the buffer of a suppression.
    pub(crate) fn has(&self, store: &str) -> bool {
        self.0.iter().any(|name| store.starts_with(&**name))
    }

    fn have_changelog(&self, topic: &str) -> bool {
        let store = topic.strip_prefix("golden-").and_then(|rest| rest.strip_suffix("-changelog"));
        store.is_some_and(|store| self.has(store))
    }

    /// Fills in the timestamps that Kafka Streams leaves to its producer.
    pub(crate) fn with_wall_clock(
        &self,
        topics: &Map<String, Value>,
        now: Timestamp,
    ) -> Map<String, Value> {
        let mut topics = topics.clone();
        for (_, records) in topics.iter_mut().filter(|(topic, _)| self.have_changelog(topic)) {
            for record in records.as_array_mut().into_iter().flatten() {
                assert!(record[2].is_null(), "a buffer is logged with the wall clock's time");
                record[2] = now.0.into();
            }
        }
        topics
    }

    /// Sorts the records of a commit in a buffer's changelog as Kafka Streams' are. Those come out
    /// of a hash set, each with another key, so that the order has no meaning.
    pub(crate) fn in_their_order(
        &self,
        expected: &Map<String, Value>,
        mut found: Map<String, Value>,
    ) -> Map<String, Value> {
        for (topic, records) in found.iter_mut().filter(|(topic, _)| self.have_changelog(topic)) {
            let theirs = expected.get(topic).and_then(Value::as_array);
            let keys: Vec<&Value> = theirs.into_iter().flatten().map(|record| &record[0]).collect();
            let distinct: BTreeSet<String> = keys.iter().map(ToString::to_string).collect();
            assert_eq!(distinct.len(), keys.len(), "a key is logged once");
            if let Some(records) = records.as_array_mut() {
                records.sort_by_key(|record| keys.iter().position(|key| **key == record[0]));
            }
        }
        found
    }
}
