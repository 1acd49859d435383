//! A running balance for each account: the k-th output of an account is the sum of its first k
//! amounts. Read directly, or through a repartition topic.

use std::collections::BTreeMap;

use tidemill::BoxError;
use tidemill::dsl::{Repartitioned, StreamsBuilder};
use tidemill::processor::{Processor, ProcessorContext};
use tidemill::record::{OwnedRecord, Partition, Record};
use tidemill::serdes;
use tidemill::simulation::{Inputs, View};
use tidemill::store::{TimestampedKeyValueStore, ValueAndTimestamp};
use tidemill::topology::{
    Consumed, Produced, Topology, TopologyError, timestamped_key_value_store,
};

use super::{below, fail_unless_equal, i64_of};

pub(crate) const INPUT: &str = "transactions";
const OUTPUT: &str = "balances";
const STORE: &str = "ledger";

/// Account, sum and count after each transaction.
type Balances = Vec<(String, String)>;

pub(crate) fn topology() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    let consumed = Consumed::with(serdes::string(), serdes::i64());
    topology.add_source("source", consumed, &[INPUT])?;
    add_ledger(&mut topology, "source")?;
    Ok(topology)
}

pub(crate) fn repartitioned() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let repartitioned = Repartitioned::with(serdes::string(), serdes::i64());
    let _ = builder
        .stream(INPUT, Consumed::with(serdes::string(), serdes::i64()))
        .select_key(|_, amount| account_of(*amount))
        .repartition(repartitioned.with_name("by-account"));
    let mut topology = builder.build()?;
    add_ledger(&mut topology, "by-account-repartition-source")?;
    Ok(topology)
}

fn add_ledger(topology: &mut Topology, parent: &str) -> Result<(), TopologyError> {
    topology.add_processor("ledger", Ledger::default, &[parent])?;
    let produced = Produced::with(serdes::string(), serdes::string());
    topology.add_sink("sink", OUTPUT, produced, &["ledger"])?;
    let store = timestamped_key_value_store(STORE, serdes::string(), serdes::string());
    topology.add_state_store(store, &["ledger"])?;
    Ok(())
}

fn account_of(amount: i64) -> String {
    format!("account-{}", amount % 7)
}

/// Every amount occurs once, so that each can be followed.
pub(crate) fn inputs(records: i64) -> Inputs {
    let amounts = (0..records).map(|n| (format!("account-{}", n % 11), n));
    Inputs::new().topic(INPUT, &serdes::string(), &serdes::i64(), amounts)
}

#[derive(Default)]
struct Ledger {
    store: Option<TimestampedKeyValueStore<String, String>>,
}

/// The balance after one more transaction, as text.
fn after(balance: Option<&str>, amount: i64) -> String {
    let parts = balance.and_then(|text| text.split_once('/'));
    let (sum, count) = parts.unwrap_or(("0", "0"));
    let (sum, count): (i64, i64) = (sum.parse().unwrap(), count.parse().unwrap());
    format!("{}/{}", sum + amount, count + 1)
}

impl Processor<String, i64, String, String> for Ledger {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result<(), BoxError> {
        self.store = Some(context.timestamped_key_value_store(STORE)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, i64>,
    ) -> Result<(), BoxError> {
        let store = self.store.as_ref().unwrap();
        let before = store.get(&record.key)?.map(|found| found.value);
        let balance = after(before.as_deref(), record.value);
        let entry = ValueAndTimestamp { value: balance.clone(), timestamp: record.timestamp };
        store.put(&record.key, entry)?;
        context.forward(record.with_value(balance))
    }
}

/// The balances after these transactions.
fn run<'a>(input: impl Iterator<Item = &'a OwnedRecord>) -> (Balances, BTreeMap<String, String>) {
    let mut contents: BTreeMap<String, String> = BTreeMap::new();
    let mut outputs = Vec::new();
    for record in input {
        let account = super::text_of(&record.key);
        let balance = after(contents.get(&account).map(String::as_str), i64_of(&record.value));
        contents.insert(account.clone(), balance.clone());
        outputs.push((account, balance));
    }
    (outputs, contents)
}

/// At every moment outputs, store and offsets are of the same transactions (INV-1).
pub(crate) fn holds(view: &View<'_>) -> Result<(), String> {
    follows(view, INPUT)
}

fn follows(view: &View<'_>, input: &str) -> Result<(), String> {
    for partition in view.partitions(input) {
        let (outputs, contents) = run(below(view, input, partition));
        let found: Balances = view
            .records(OUTPUT, partition)
            .map(|one| (super::text_of(&one.key), super::text_of(&one.value)))
            .collect();
        fail_unless_equal(&format!("outputs of partition {partition}"), &found, &outputs)?;
        let stored: BTreeMap<String, String> = view
            .store(STORE, partition)
            .into_iter()
            .map(|(key, value)| (super::text(key), super::text(value)))
            .collect();
        let found: Vec<_> = stored.into_iter().collect();
        let expected: Vec<_> = contents.into_iter().collect();
        fail_unless_equal(&format!("store of partition {partition}"), &found, &expected)?;
    }
    Ok(())
}

/// The same, and every transaction is once in the repartition topic, in order.
pub(crate) fn holds_repartitioned(view: &View<'_>) -> Result<(), String> {
    let between = view.internal_topic("by-account-repartition");
    let mut passed: Vec<i64> = Vec::new();
    let mut last: BTreeMap<(Partition, Partition), i64> = BTreeMap::new();
    let mut origin: BTreeMap<i64, Partition> = BTreeMap::new();
    let mut expected: Vec<i64> = Vec::new();
    for partition in view.partitions(INPUT) {
        for record in below(view, INPUT, partition) {
            let amount = i64_of(&record.value);
            origin.insert(amount, partition);
            expected.push(amount);
        }
    }
    for partition in view.partitions(&between) {
        for record in view.records(&between, partition) {
            let amount = i64_of(&record.value);
            passed.push(amount);
            let Some(from) = origin.get(&amount) else { continue };
            let before = last.insert((*from, partition), amount);
            if before.is_some_and(|before| before >= amount) {
                return Err(format!("{amount} of partition {from} came after {before:?}"));
            }
        }
    }
    passed.sort_unstable();
    expected.sort_unstable();
    fail_unless_equal("records of the repartition topic", &passed, &expected)?;
    follows(view, &between)
}
