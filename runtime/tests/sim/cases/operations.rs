//! A store under get, put and delete, and punctuations of both clocks that tell what is in it.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::BoxError;
use tidemill::processor::{
    Processor, ProcessorContext, Punctuation, PunctuationHandle, PunctuationType,
};
use tidemill::record::{Partition, Record};
use tidemill::serdes;
use tidemill::simulation::{Inputs, View};
use tidemill::store::KeyValueStore;
use tidemill::topology::{Consumed, Produced, Topology, TopologyError, key_value_store};

use super::{below, fail_unless_equal, text, text_of};

const INPUT: &str = "operations";
const OUTPUT: &str = "answers";
const STORE: &str = "entries";
const COUNTERS: &str = "counters";
const OPERATIONS: &str = "operations";
const TICKS: &str = "ticks";

pub(crate) fn topology() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    let consumed = Consumed::with(serdes::string(), serdes::string());
    topology.add_source("source", consumed, &[INPUT])?;
    topology.add_processor("keeper", Keeper::default, &["source"])?;
    // to the partition of the task, whatever the key
    let produced = Produced::with(serdes::i64(), serdes::string()).with_stream_partitioner(
        |_: &str, key: &i64, _: &String, _| Some(Partition(i32::try_from(*key).unwrap())),
    );
    topology.add_sink("sink", OUTPUT, produced, &["keeper"])?;
    let entries = key_value_store(STORE, serdes::string(), serdes::string());
    topology.add_state_store(entries, &["keeper"])?;
    let counters = key_value_store(COUNTERS, serdes::string(), serdes::i64());
    topology.add_state_store(counters, &["keeper"])?;
    Ok(topology)
}

pub(crate) fn inputs(records: i64) -> Inputs {
    let operation = |n: i64| {
        let key = format!("key-{}", (n * 7) % 13);
        match n % 5 {
            0 | 1 => (key, format!("put {n}")),
            2 => (key, "delete".to_owned()),
            _ => (key, "get".to_owned()),
        }
    };
    let operations = (0..records).map(operation);
    Inputs::new().topic(INPUT, &serdes::string(), &serdes::string(), operations)
}

#[derive(Default)]
struct Keeper {
    entries: Option<KeyValueStore<String, String>>,
    counters: Option<KeyValueStore<String, i64>>,
    wall: Option<PunctuationHandle>,
}

impl Keeper {
    fn count(&self, counter: &str) -> Result<i64, BoxError> {
        let counters = self.counters.as_ref().unwrap();
        let counter = counter.to_owned();
        let next = counters.get(&counter)?.unwrap_or(0) + 1;
        counters.put(&counter, next)?;
        Ok(next)
    }
}

/// Fails unless reads and scans show what the task itself wrote, committed or not (INV-12).
fn see(
    entries: &KeyValueStore<String, String>,
    key: &String,
    expected: Option<&String>,
) -> Result<(), BoxError> {
    let found = entries.get(key)?;
    if found.as_ref() != expected {
        return Err(format!("INV-12: {key} is {found:?}, {expected:?} was written").into());
    }
    let all = entries.all()?.collect::<Result<Vec<_>, _>>()?;
    let scanned = all.iter().find(|(other, _)| other == key).map(|(_, value)| value);
    if scanned != expected {
        return Err(format!("INV-12: a scan has {key} as {scanned:?}, not {expected:?}").into());
    }
    Ok(())
}

impl Processor<String, String, i64, String> for Keeper {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, i64, String>,
    ) -> Result<(), BoxError> {
        self.entries = Some(context.key_value_store(STORE)?);
        self.counters = Some(context.key_value_store(COUNTERS)?);
        context.schedule(Duration::from_secs(30), PunctuationType::StreamTime);
        let wall = context.schedule(Duration::from_millis(900), PunctuationType::WallClockTime);
        self.wall = Some(wall);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, i64, String>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        let entries = self.entries.as_ref().unwrap();
        let expected = match record.value.split_once(' ') {
            Some((_, value)) => Some(value.to_owned()),
            None if record.value == "delete" => None,
            None => entries.get(&record.key)?,
        };
        let before = match record.value.split_once(' ') {
            Some((_, value)) => {
                let before = entries.get(&record.key)?;
                entries.put(&record.key, value.to_owned())?;
                before
            }
            None if record.value == "delete" => entries.delete(&record.key)?,
            None => entries.get(&record.key)?,
        };
        see(entries, &record.key, expected.as_ref())?;
        self.count(OPERATIONS)?;
        let answer = format!("{} {}: {before:?}", record.value, record.key);
        let partition = i64::from(context.task_id().partition.0);
        context.forward(Record::new(partition, answer, record.timestamp))
    }

    fn punctuate(
        &mut self,
        context: &mut ProcessorContext<'_, '_, i64, String>,
        punctuation: Punctuation,
    ) -> Result<(), BoxError> {
        let answer = if Some(punctuation.handle) == self.wall {
            format!("tick {}", self.count(TICKS)?)
        } else {
            let (entries, counters) =
                (self.entries.as_ref().unwrap(), self.counters.as_ref().unwrap());
            let live = entries.all()?.collect::<Result<Vec<_>, _>>()?.len();
            let operations = counters.get(&OPERATIONS.to_owned())?.unwrap_or(0);
            format!("{live} entries after {operations}")
        };
        let partition = i64::from(context.task_id().partition.0);
        context.forward(Record::new(partition, answer, punctuation.timestamp))
    }
}

/// Answers are those of the operations below the offset, in order; what punctuations told in
/// between was true there, and ticks are numbered without a gap.
pub(crate) fn holds(view: &View<'_>) -> Result<(), String> {
    for partition in view.partitions(INPUT) {
        let mut contents: BTreeMap<String, String> = BTreeMap::new();
        let mut operations = below(view, INPUT, partition);
        let (mut done, mut ticks) = (0, 0);
        for answer in view.records(OUTPUT, partition) {
            let found = text_of(&answer.value);
            let expected = if found.starts_with("tick ") {
                ticks += 1;
                format!("tick {ticks}")
            } else if found.contains(" entries after ") {
                format!("{} entries after {done}", contents.len())
            } else {
                let Some(operation) = operations.next() else {
                    return Err(format!("{found} in partition {partition} is one too many"));
                };
                done += 1;
                let (key, value) = (text_of(&operation.key), text_of(&operation.value));
                let before = match value.split_once(' ') {
                    Some((_, new)) => contents.insert(key.clone(), new.to_owned()),
                    None if value == "delete" => contents.remove(&key),
                    None => contents.get(&key).cloned(),
                };
                format!("{value} {key}: {before:?}")
            };
            let place = format!("answer at {} of partition {partition}", answer.offset);
            fail_unless_equal(&place, &[found], &[expected])?;
        }
        if let Some(operation) = operations.next() {
            let offset = operation.offset;
            return Err(format!("operation {offset} of partition {partition} has no answer"));
        }
        let stored: Vec<(String, String)> = view
            .store(STORE, partition)
            .into_iter()
            .map(|(key, value)| (text(key), text(value)))
            .collect();
        let expected: Vec<_> = contents.into_iter().collect();
        fail_unless_equal(&format!("store of partition {partition}"), &stored, &expected)?;
        let counters = view.store(COUNTERS, partition);
        let counter = |name: &str| {
            counters.get(name.as_bytes()).map_or(0, |bytes| super::i64_of(&Some(bytes.clone())))
        };
        let found = [counter(OPERATIONS), counter(TICKS)];
        fail_unless_equal(&format!("counters of partition {partition}"), &found, &[done, ticks])?;
    }
    Ok(())
}
