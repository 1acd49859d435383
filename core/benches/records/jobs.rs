//! The jobs: what comes in, the topology, and the loop that does the same.

use tidemill_core::dsl::{Grouped, Joined, Materialized, StreamsBuilder};
use tidemill_core::serdes::{i64, optional, string};
use tidemill_core::topology::{Consumed, Produced, Topology};

use crate::by_hand;
use crate::side::{self, Message, Outcome};

/// Something to measure.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    /// The largest ratio that is aimed at.
    pub(crate) aim: Option<f64>,
    pub(crate) input: fn(usize) -> Vec<Message>,
    pub(crate) tidemill: fn(&[Message]) -> Outcome,
    pub(crate) by_hand: fn(&[Message]) -> Outcome,
}

pub(crate) const JOBS: &[Job] = &[
    Job {
        name: "filter-map",
        aim: Some(1.3),
        input: |records| numbers(records, 1_000),
        tidemill: |input| side::tidemill(&stateless(), input),
        by_hand: by_hand::stateless,
    },
    Job {
        name: "count-hot",
        aim: Some(1.5),
        input: |records| numbers(records, 10),
        tidemill: |input| side::tidemill(&count(), input),
        by_hand: by_hand::count,
    },
    Job {
        name: "count-cold",
        aim: None,
        input: |records| numbers(records, records),
        tidemill: |input| side::tidemill(&count(), input),
        by_hand: by_hand::count,
    },
    Job {
        name: "join-table",
        aim: None,
        input: joined,
        tidemill: |input| side::tidemill(&join(), input),
        by_hand: by_hand::join,
    },
];

/// Bytes for the rest of the program's life.
fn kept(bytes: &[u8]) -> &'static [u8] {
    Vec::leak(bytes.to_vec())
}

/// Keys in no order that a cache could guess.
fn keys(distinct: usize) -> impl Iterator<Item = &'static [u8]> {
    let keys: Vec<_> = (0..distinct).map(|n| kept(format!("account-{n:08}").as_bytes())).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        keys[(state >> 33) as usize % keys.len()]
    })
}

/// Numbers under so many keys.
fn numbers(records: usize, distinct: usize) -> Vec<Message> {
    let message = |(offset, key): (i64, &'static [u8])| Message {
        queue: 0,
        offset,
        timestamp: 1_700_000_000_000 + offset,
        key,
        value: kept(&offset.to_be_bytes()),
    };
    (0..records as i64).zip(keys(distinct)).map(message).collect()
}

/// First a table of 10,000 keys, then a stream with those keys.
fn joined(records: usize) -> Vec<Message> {
    const TABLE: usize = 10_000;
    let value = kept(b"a value of forty bytes or a little less");
    let mut keys = keys(TABLE);
    let message = |(number, queue, key): (i64, usize, &'static [u8])| {
        let offset = if queue == 1 { number } else { number - TABLE as i64 };
        Message { queue, offset, timestamp: 1_700_000_000_000 + number, key, value }
    };
    let table = (0..TABLE as i64).map(|n| (n, 1, kept(format!("account-{n:08}").as_bytes())));
    let stream = (TABLE as i64..records as i64).map(|n| (n, 0, keys.next().unwrap_or_default()));
    table.chain(stream).map(message).collect()
}

fn built(builder: StreamsBuilder) -> Topology {
    builder.build().expect("the topology is right")
}

fn stateless() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream("in", Consumed::with(string(), i64()))
        .filter(|_, value| value % 4 != 0)
        .map(|key, value| (key, value * 3))
        .to("out", Produced::with(string(), i64()));
    built(builder)
}

fn count() -> Topology {
    let builder = StreamsBuilder::new();
    builder
        .stream("in", Consumed::with(string(), i64()))
        .group_by_key(Grouped::with(string(), i64()))
        .count(Materialized::as_("counts"))
        .to_stream()
        .to("out", Produced::with(string(), optional(i64())));
    built(builder)
}

fn join() -> Topology {
    let builder = StreamsBuilder::new();
    let stream = builder.stream("in", Consumed::with(string(), string()));
    let table = builder.table("table", Consumed::with(string(), string()), Materialized::default());
    let join = |mut value: String, found: &String| {
        value.push_str(found);
        value
    };
    let joined = stream.join_table(&table, join, Joined::default());
    joined.to("out", Produced::with(string(), string()));
    built(builder)
}
