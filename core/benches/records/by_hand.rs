//! The loops written by hand, with the serdes of the topologies.

use std::collections::HashMap;

use tidemill_core::processor::{Collector, Outgoing, SinkTopic};
use tidemill_core::record::{Headers, Timestamp};
use tidemill_core::serdes::{Serde, i64, string};
use tidemill_core::store::StoreIndex;
use tidemill_core::topology::partition_for_key;

use crate::side::{self, Message, Outcome};

const OUT: SinkTopic = SinkTopic { index: 0, partitions: 8 };

/// Buffers for what goes out.
#[derive(Default)]
struct Writer {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Writer {
    fn write<V>(&mut self, key: &String, value: &V, values: &impl Serde<V>) {
        self.key.clear();
        self.value.clear();
        string().serialize("out", key, &mut self.key).expect("a text has bytes");
        values.serialize("out", value, &mut self.value).expect("a value has bytes");
    }

    fn send(&self, collector: &mut dyn Collector, timestamp: i64) {
        let sent = collector.send(Outgoing {
            topic: OUT,
            partition: Some(partition_for_key(&self.key, OUT.partitions)),
            key: Some(&self.key),
            value: Some(&self.value),
            timestamp: Timestamp(timestamp),
            headers: &Headers::new(),
        });
        sent.expect("everything is taken");
    }

    fn log(&self, collector: &mut dyn Collector, timestamp: i64) {
        let (time, headers) = (Timestamp(timestamp), Headers::new());
        let logged = collector.log(StoreIndex(0), &self.key, Some(&self.value), time, &headers);
        logged.expect("everything is taken");
    }
}

fn key(record: &Message) -> String {
    string().deserialize("in", Some(record.key)).expect("keys are texts")
}

fn number(record: &Message) -> i64 {
    i64().deserialize("in", Some(record.value)).expect("values are numbers")
}

fn text(record: &Message) -> String {
    string().deserialize("in", Some(record.value)).expect("values are texts")
}

pub(crate) fn stateless(input: &[Message]) -> Outcome {
    let work = |writer: &mut Writer, out: &mut dyn Collector, record: &Message| {
        let (key, value) = (key(record), number(record));
        if value % 4 != 0 {
            writer.write(&key, &(value * 3), &i64());
            writer.send(out, record.timestamp);
        }
    };
    side::by_hand(input, Writer::default(), work, |_, _| {})
}

#[derive(Default)]
struct Counting {
    /// Count and timestamp of the last change of each key, and whether it was sent.
    counts: HashMap<String, (i64, i64, bool)>,
    changed: Vec<String>,
    writer: Writer,
}

pub(crate) fn count(input: &[Message]) -> Outcome {
    let work = |state: &mut Counting, _: &mut dyn Collector, record: &Message| {
        let (key, _) = (key(record), number(record));
        match state.counts.get_mut(&key) {
            Some(found) => {
                let first = !std::mem::replace(&mut found.2, true);
                *found = (found.0 + 1, found.1.max(record.timestamp), true);
                if first {
                    state.changed.push(key);
                }
            }
            None => {
                state.counts.insert(key.clone(), (1, record.timestamp, true));
                state.changed.push(key);
            }
        }
    };
    let commit = |state: &mut Counting, out: &mut dyn Collector| {
        let Counting { counts, changed, writer } = state;
        for key in changed.drain(..) {
            let (count, timestamp, sent) = counts.get_mut(&key).expect("it was counted");
            *sent = false;
            writer.write(&key, count, &i64());
            writer.send(out, *timestamp);
            writer.log(out, *timestamp);
        }
    };
    side::by_hand(input, Counting::default(), work, commit)
}

#[derive(Default)]
struct Joining {
    table: HashMap<String, String>,
    changed: Vec<(String, i64)>,
    writer: Writer,
}

/// Queue 0 is the stream, queue 1 the table.
pub(crate) fn join(input: &[Message]) -> Outcome {
    let work = |state: &mut Joining, out: &mut dyn Collector, record: &Message| {
        let (key, value) = (key(record), text(record));
        if record.queue == 1 {
            state.changed.push((key.clone(), record.timestamp));
            state.table.insert(key, value);
        } else if let Some(found) = state.table.get(&key) {
            let mut joined = value;
            joined.push_str(found);
            state.writer.write(&key, &joined, &string());
            state.writer.send(out, record.timestamp);
        }
    };
    let commit = |state: &mut Joining, out: &mut dyn Collector| {
        for (key, timestamp) in state.changed.drain(..) {
            state.writer.write(&key, &state.table[&key], &string());
            state.writer.log(out, timestamp);
        }
    };
    side::by_hand(input, Joining::default(), work, commit)
}
