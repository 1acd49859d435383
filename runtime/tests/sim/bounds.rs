//! Invariants that need inputs of their own: old timestamps, large values.

use std::collections::BTreeMap;

use tidemill::BoxError;
use tidemill::config::{ByteSize, Config};
use tidemill::processor::{Processor, ProcessorContext};
use tidemill::record::{Record, Timestamp};
use tidemill::serdes::{i64, string};
use tidemill::simulation::{Inputs, Simulation};
use tidemill::store::KeyValueStore;
use tidemill::topology::{Consumed, Produced, Topology, TopologyError, key_value_store};

use crate::cases::{case, ledger};

const BLOBS: &str = "blobs";
const STORE: &str = "newest";

/// Keeps the newest blob of each key, and tells the length of each.
#[derive(Default)]
struct Keeper {
    newest: Option<KeyValueStore<String, String>>,
}

impl Processor<String, String, String, i64> for Keeper {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
    ) -> Result<(), BoxError> {
        self.newest = Some(context.key_value_store(STORE)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        self.newest.as_ref().unwrap().put(&record.key, record.value.clone())?;
        let length = i64::try_from(record.value.len())?;
        context.forward(record.with_value(length))
    }
}

fn blobs() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology.add_source("source", Consumed::with(string(), string()), &[BLOBS])?;
    topology.add_processor("keeper", Keeper::default, &["source"])?;
    topology.add_sink("sink", "lengths", Produced::with(string(), i64()), &["keeper"])?;
    topology.add_state_store(key_value_store(STORE, string(), string()), &["keeper"])?;
    Ok(topology)
}

fn tight(config: Config, records: usize) -> Config {
    config
        .with_buffered_records_per_partition(records)
        .with_input_buffer_max(ByteSize::mib(1))
        .with_statestore_cache_max(ByteSize::mib(1))
        .with_restore_batch_max(ByteSize::kib(64))
}

#[test]
fn inv_11_buffers_overlays_and_restore_batches_stay_within_their_bounds() {
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..24 {
        let blob = |n: usize| (format!("key-{}", n * 7 % 61), "x".repeat(20_000 + n * 37 % 9_000));
        let inputs = Inputs::new().topic(BLOBS, &string(), &string(), (0..120).map(blob));
        // few records come near their number, many near their bytes
        let records = if seed % 2 == 0 { 7 } else { 1_000 };
        let config = |config| tight(config, records);
        let simulation = Simulation::new(blobs).config(config).partitions(2).seed(seed);
        let report = simulation.compare_with_undisturbed_run(false).run(inputs);
        let report = report.unwrap_or_else(|error| panic!("{error}"));
        for (what, percent) in report.most_held() {
            let most = most.entry(what).or_default();
            *most = percent.max(most).to_owned();
        }
    }
    assert_eq!(most.len(), 4, "{most:?}");
    // a bound that nothing comes near is not tested
    assert!(most.values().all(|percent| (40..=100).contains(percent)), "{most:?}");
}

#[test]
fn inv_9_committed_times_never_go_back_though_records_are_late() {
    for seed in 0..24 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut inputs = Inputs::new();
        for n in 0..100_i64 {
            // up to an hour late; within the retention of the topics
            let timestamp = Timestamp(1_767_225_600_000 + n * 1_000 - rng.i64(0..3_600_000));
            let key = Some(format!("account-{}", n % 7).into_bytes());
            let value = Some(n.to_be_bytes().to_vec());
            inputs = inputs.raw(ledger::INPUT, None, key, value, timestamp);
        }
        let simulation = Simulation::new(ledger::topology).seed(seed);
        let simulation = simulation.invariant("INV-1: balances", ledger::holds);
        let simulation = simulation.compare_with_undisturbed_run(false);
        simulation.run(inputs).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The processor of these seeds reads what it wrote at each record; their oracle compares every
/// view, in the middle of transactions too, with the inputs below the committed offset alone.
#[test]
fn inv_12_tasks_see_their_own_writes_and_views_see_none() {
    for seed in (2..160).step_by(4) {
        let (simulation, inputs) = case(seed);
        simulation.run(inputs).unwrap_or_else(|error| panic!("{error}"));
    }
}
