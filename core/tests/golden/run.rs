//! Runs a scenario on Tidemill's test driver and compares it with the vector.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, DriverError, TopologyTestDriver};
use tidemill_core::dsl::{TopologyConfig, TopologyOptimization};
use tidemill_core::errors::LogAndContinue;
use tidemill_core::record::{Header, Headers, Record, Timestamp};
use tidemill_core::serdes::{bytes, optional};

use crate::data::{Datum, escaped, unescaped};
use crate::files::{Scenario, Step, Vector};
use crate::joins;
use crate::operator::Operator;
use crate::suppressions::Buffers;
use crate::topology::{BuildError, Ready, build};
use crate::window_stores;

type Raw = Record<Option<Vec<u8>>, Option<Vec<u8>>>;

/// Makes the topology of a scenario and what the driver is to be told.
pub(crate) fn prepare(scenario: &Scenario) -> Result<(Ready, DriverConfig), BuildError> {
    let mut config = DriverConfig::new("golden");
    let options = Operator::new(&scenario.config);
    let mut topology = TopologyConfig::new();
    if options.flag("optimize") == Some(true) {
        topology = topology.with_optimization(TopologyOptimization::ALL);
        let of_itself = |of: &Map<String, Value>| {
            of.get("op").is_some_and(|op| op == "join_stream") && of.get("from") == of.get("with")
        };
        if scenario.topology.iter().any(of_itself) {
            return Err(BuildError::NotBuilt("self_join".to_owned()));
        }
    }
    if options.flag("skip_what_cannot_be_read") == Some(true) {
        config.handlers.deserialization = Arc::new(LogAndContinue);
    }
    if options.flag("skip_what_fails") == Some(true) {
        config.handlers.processing = Arc::new(LogAndContinue);
    }
    options.check_all_read()?;
    Ok((build(&scenario.topology, topology)?, config))
}

/// How a scenario went.
pub(crate) enum Outcome {
    /// Byte for byte.
    Same,
    /// Byte for byte but for changelogs: of several writes of a key in one commit, which Kafka
    /// Streams logs each where a store has no cache, Tidemill logs the last. See the README.
    Coalesced,
    /// The first difference.
    Different(String),
}

/// Runs the scenario.
pub(crate) fn outcome(scenario: &Scenario, vector: &Vector) -> Outcome {
    let mut coalesced = false;
    match difference(scenario, vector, &mut coalesced) {
        Ok(None) if coalesced => Outcome::Coalesced,
        Ok(None) => Outcome::Same,
        Ok(Some(text)) => Outcome::Different(text),
        Err(error) => Outcome::Different(error.to_string()),
    }
}

fn difference(
    scenario: &Scenario,
    vector: &Vector,
    coalesced: &mut bool,
) -> Result<Option<String>, BoxError> {
    let (ready, config) = prepare(scenario)?;
    let buffers = Buffers::of(&scenario.topology);
    let describe = ready.topology.describe().to_string();
    if let Some(text) = unequal("describe()", &vector.describe.join("\n"), &describe) {
        return Ok(Some(text));
    }
    let driver = TopologyTestDriver::new(&ready.topology, config)?;
    let mut expected = vector.steps.iter();
    let mut compare = |what: &str| {
        let found = caught(&driver)?;
        let expected = expected.next().ok_or("the vector has fewer steps")?;
        let expected = buffers.with_wall_clock(expected, driver.wall_clock_time()?);
        let found = buffers.in_their_order(&expected, found);
        let accepted = last_writes(&expected, &found);
        *coalesced |= accepted != expected;
        Ok::<_, BoxError>(unequal(what, &pretty(&accepted), &pretty(&found)))
    };
    if let Some(text) = compare("before the first step")? {
        return Ok(Some(text));
    }
    for (number, step) in (1..).zip(&scenario.steps) {
        match take(&driver, &ready, step)? {
            Err(_) if step.fails && vector.failed => return Ok(None),
            Err(error) => return Ok(Some(format!("step {number} failed: {error}"))),
            Ok(()) if step.fails => return Ok(Some(format!("step {number} did not fail"))),
            Ok(()) => {}
        }
        if let Some(text) = compare(&format!("step {number}"))? {
            return Ok(Some(text));
        }
    }
    let found = stores(&driver, &buffers)?;
    let newest = scenario.steps.iter().map(|step| step.at).max().unwrap_or(0);
    let expected = window_stores::comparable(&vector.stores, &found, &scenario.topology, newest);
    Ok(unequal("stores", &pretty(&expected), &pretty(&found)))
}

/// Takes a step; the outer error is one of the scenario's.
fn take(
    driver: &TopologyTestDriver,
    ready: &Ready,
    step: &Step,
) -> Result<Result<(), DriverError>, BoxError> {
    if let Some(by) = step.advance {
        return Ok(driver.advance_wall_clock_time(Duration::from_millis(by)));
    }
    let (key, value) = ready.types.get(&step.topic).ok_or("no source reads the topic")?;
    let header = |(key, value): &(String, Option<String>)| {
        let value = value.as_deref().map(unescaped).transpose()?;
        Ok::<_, BoxError>(Header { key: key.clone(), value })
    };
    let record = Record {
        key: key.input(&step.key)?,
        value: value.input(&step.value)?,
        timestamp: Timestamp(step.at),
        headers: step.headers.iter().map(header).collect::<Result<Headers, _>>()?,
    };
    let raw = optional(bytes());
    Ok(driver.create_input_topic(&step.topic, raw, raw)?.pipe_record(record))
}

/// Returns what was written since the last call, by topic.
fn caught(driver: &TopologyTestDriver) -> Result<Map<String, Value>, BoxError> {
    let mut topics = Map::new();
    for topic in driver.produced_topic_names()? {
        let raw = optional(bytes());
        let mut output = driver.create_output_topic(&topic, raw, raw)?;
        let records: Vec<Value> = output.read_records_to_list()?.iter().map(line).collect();
        if !records.is_empty() {
            topics.insert(topic, records.into());
        }
    }
    Ok(topics)
}

fn line(record: &Raw) -> Value {
    let mut cells = vec![
        escaped(record.key.as_deref()),
        escaped(record.value.as_deref()),
        record.timestamp.0.into(),
    ];
    let header = |header: &Header| json!([header.key, escaped(header.value.as_deref())]);
    let headers: Vec<Value> = record.headers.iter().map(header).collect();
    if !headers.is_empty() {
        cells.push(headers.into());
    }
    cells.into()
}

/// Returns the contents of all stores.
fn stores(driver: &TopologyTestDriver, buffers: &Buffers) -> Result<Map<String, Value>, BoxError> {
    let mut stores = Map::new();
    // nobody else reads the buffer of a suppression: the vectors don't have it
    for name in driver.state_store_names()?.into_iter().filter(|name| !buffers.has(name)) {
        let lines = match contents::<Datum>(driver, &name) {
            Ok(lines) => lines,
            // a store of counts, of windows, or one that Kafka Streams does not show either
            Err(_) => match contents::<i64>(driver, &name) {
                Ok(lines) => lines,
                Err(_) => match window_stores::contents(driver, &name)
                    .or_else(|_| joins::kept(driver, &name))
                {
                    Ok(lines) => lines,
                    Err(_) => continue,
                },
            },
        };
        stores.insert(name, lines.into());
    }
    Ok(stores)
}

fn contents<V: crate::data::Nullable>(
    driver: &TopologyTestDriver,
    name: &str,
) -> Result<Vec<Value>, BoxError> {
    let mut lines = Vec::new();
    if let Ok(table) = driver.timestamped_key_value_store::<Datum, V>(name) {
        for entry in table.range(..)? {
            let (key, value) = entry?;
            let found = table.get(&key)?.ok_or("a scan found what a look-up does not")?;
            lines.push(json!([key.escaped(), value.datum().escaped(), found.timestamp.0]));
        }
        return Ok(lines);
    }
    for entry in driver.key_value_store::<Datum, V>(name)?.all()? {
        let (key, value) = entry?;
        lines.push(json!([key.escaped(), value.datum().escaped()]));
    }
    Ok(lines)
}

/// Leaves the last record of each key in the changelogs that differ.
fn last_writes(topics: &Map<String, Value>, found: &Map<String, Value>) -> Map<String, Value> {
    let mut topics = topics.clone();
    for (topic, records) in &mut topics {
        if !topic.ends_with("-changelog") || found.get(topic) == Some(records) {
            continue;
        }
        let Some(records) = records.as_array_mut() else { continue };
        let keys: Vec<Value> = records.iter().map(|record| record[0].clone()).collect();
        let mut rest = &*keys;
        records.retain(|record| {
            rest = &rest[1..];
            !rest.contains(&record[0])
        });
    }
    topics
}

/// Writes topics or stores with one record a line.
fn pretty(topics: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (topic, records) in topics {
        text.push_str(&format!("  {topic}\n"));
        for record in records.as_array().into_iter().flatten() {
            text.push_str(&format!("    {record}\n"));
        }
    }
    text
}

fn unequal(what: &str, theirs: &str, ours: &str) -> Option<String> {
    let text = || format!("{what}\n Kafka Streams:\n{theirs} Tidemill:\n{ours}");
    (theirs != ours).then(text)
}
