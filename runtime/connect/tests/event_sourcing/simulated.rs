//! Whole clusters with faults, from seeds: at every moment events, states and answers are of the
//! same commands (ES2), versions have no gap, and nothing is sold twice.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::dsl::StreamsBuilder;
use tidemill::record::{OwnedRecord, Partition};
use tidemill::serdes::{json, string};
use tidemill::simulation::{Faults, Inputs, Simulation, View};
use tidemill::topology::{Produced, Topology, TopologyError};
use tidemill_connect::event_sourcing::{
    Command, Decider, EventEnvelope, EventSourced, EventSourcing, ExpectedVersion, Outcome, Reply,
    StoredStream, Stream, Upcasters, Version,
};
use uuid::Uuid;

use crate::stock::{Happened, Item, No, Stock, Want, reserve, ship};

const COMMANDS: &str = "commands";
const EVENTS: &str = "events";
const REPLIES: &str = "replies";
const STORE: &str = "items";
/// Clusters of each test run.
const SEEDS: u64 = 150;

type Answer = Reply<Happened, No>;
type Commands = Vec<(String, Command<Want>)>;

fn topology() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    builder
        .event_sourced::<Item>(COMMANDS, EVENTS, EventSourced::as_(STORE))
        .to(REPLIES, Produced::with(string(), json::<Answer>()));
    builder.build()
}

/// Some are sent twice, some expect a version that may be wrong, some must be refused.
fn commands(seed: u64, count: usize) -> Commands {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x0073_746f_636b);
    let mut all: Commands = Vec::new();
    for number in 0..count {
        if number > 0 && rng.u8(..10) == 0 {
            // somebody got no answer
            let again = all[rng.usize(..all.len())].clone();
            all.push(again);
            continue;
        }
        let item = format!("item-{}", rng.u8(..5));
        let order = format!("order-{}", rng.u8(..20));
        let want = match rng.u8(..3) {
            0 => Want::Receive(rng.i64(1..5)),
            1 => reserve(&order, rng.i64(1..4)),
            _ => ship(&order),
        };
        let mut command = Command::new(Uuid::from_u128(u128::from(number as u64) + 1), want);
        if rng.u8(..5) == 0 {
            let version = Version(rng.i64(0..8));
            command = command.expecting(ExpectedVersion::Exact(version));
        }
        all.push((item, command));
    }
    all
}

fn read<T: serde::de::DeserializeOwned>(record: &OwnedRecord) -> (String, T) {
    let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
    (key, serde_json::from_slice(record.value.as_deref().unwrap()).unwrap())
}

/// What has to be there after these commands, computed without the operator.
#[derive(Default)]
struct Expected {
    events: Vec<(String, Happened)>,
    accepted: Vec<bool>,
    stock: BTreeMap<String, (Version, Stock)>,
    answered: BTreeSet<(String, Uuid)>,
}

impl Expected {
    fn take(&mut self, item: String, command: &Command<Want>) {
        let (version, stock) = self.stock.entry(item.clone()).or_default();
        let known = self.answered.contains(&(item.clone(), command.id));
        let expected = match command.expected {
            ExpectedVersion::Exact(expected) => expected == *version,
            _ => true,
        };
        if known || !expected {
            self.accepted.push(false);
            return;
        }
        self.answered.insert((item.clone(), command.id));
        let decided = Item::decide(&command.command, stock);
        self.accepted.push(decided.is_ok());
        for event in decided.unwrap_or_default() {
            *stock = Item::evolve(stock.clone(), &event);
            *version = Version(version.0 + 1);
            self.events.push((item.clone(), event));
        }
    }
}

fn partition_holds(view: &View<'_>, partition: Partition) -> Result<(), String> {
    let done = view.committed_offset(COMMANDS, partition).unwrap_or(0);
    let mut expected = Expected::default();
    for record in view.records(COMMANDS, partition).filter(|record| record.offset.0 < done) {
        let (item, command) = read::<Command<Want>>(record);
        expected.take(item, &command);
    }
    let mut streams: BTreeMap<String, Stream<Stock>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    let mut events = Vec::new();
    for record in view.records(EVENTS, partition) {
        let (item, envelope) = read::<EventEnvelope>(record);
        if !ids.insert(envelope.event_id) {
            return Err(format!("event {} of {item} is there twice", envelope.event_id));
        }
        let version = envelope.version;
        let event = Upcasters::new().read::<Happened>(envelope).map_err(|e| e.to_string())?.event;
        let before = streams.remove(&item).unwrap_or_else(Stream::new::<Item>);
        let after = before.evolve::<Item>(&event);
        if after.version != version {
            return Err(format!("{item}: version {version} where {} is next", after.version));
        }
        if after.state.free < 0 {
            return Err(format!("{item} was oversold at version {version}"));
        }
        streams.insert(item.clone(), after);
        events.push((item, event));
    }
    if events != expected.events {
        let (found, wanted) = (events.len(), expected.events.len());
        return Err(format!("partition {partition}: {found} events, {wanted} expected"));
    }
    let replies: Vec<bool> = view
        .records(REPLIES, partition)
        .map(|record| read::<Answer>(record).1)
        .map(|reply| !reply.repeated && matches!(reply.outcome, Outcome::Accepted { .. }))
        .collect();
    if replies != expected.accepted {
        return Err(format!("partition {partition}: answers {replies:?}"));
    }
    let stored: BTreeMap<String, Stream<Stock>> = view
        .store(STORE, partition)
        .into_iter()
        .map(|(key, value)| {
            let stored: StoredStream<Stock> = serde_json::from_slice(&value).unwrap();
            let stream = Stream { version: stored.version, state: stored.state };
            (String::from_utf8(key).unwrap(), stream)
        })
        .filter(|(_, stream)| stream.version > Version::NONE)
        .collect();
    if stored != streams {
        return Err(format!("partition {partition}: states {stored:?}, folds {streams:?}"));
    }
    Ok(())
}

fn holds(view: &View<'_>) -> Result<(), String> {
    view.partitions(COMMANDS).try_for_each(|partition| partition_holds(view, partition))
}

#[test]
fn es2_events_states_and_answers_are_of_the_same_commands_whatever_fails() {
    let first = std::env::var("TIDEMILL_SIM_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = first.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for seed in seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let commands = commands(seed, rng.usize(50..150));
        let inputs = Inputs::new().topic(COMMANDS, &string(), &json(), commands);
        let report = Simulation::new(topology)
            .seed(seed)
            .workers(rng.usize(1..4))
            .partitions(rng.u32(1..4))
            .faults(Faults::all())
            .compare_with_undisturbed_run(false)
            .invariant("ES2: events, states and answers", holds)
            .replay_with("TIDEMILL_SIM_SEED={seed} cargo test event_sourcing es2_events")
            .run(inputs)
            .unwrap_or_else(|error| panic!("{error}"));
        for (name, count) in report.counts() {
            *counts.entry(name.clone()).or_default() += count;
        }
    }
    for (name, count) in counts {
        println!("{count:>10}  {name}");
    }
}
