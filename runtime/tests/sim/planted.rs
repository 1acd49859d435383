//! A mistake that users make: a processor that keeps state outside its store. Every test with one
//! process and no failure passes; the simulation finds it.

use std::collections::BTreeMap;

use tidemill::BoxError;
use tidemill::processor::{Processor, ProcessorContext};
use tidemill::record::Record;
use tidemill::serdes::{i64, string};
use tidemill::simulation::{Faults, Inputs, Simulation, SimulationError};
use tidemill::topology::{Consumed, Produced, Topology, TopologyError};

/// Counts in a field: what it knows is gone with the process, and is not rolled back with an
/// aborted transaction.
#[derive(Default)]
struct Forgetful {
    counts: BTreeMap<String, i64>,
}

impl Processor<String, i64, String, i64> for Forgetful {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
        record: Record<String, i64>,
    ) -> Result<(), BoxError> {
        let count = self.counts.entry(record.key.clone()).or_default();
        *count += 1;
        let count = *count;
        context.forward(record.with_value(count))
    }
}

fn topology() -> Result<Topology, TopologyError> {
    let mut topology = Topology::new();
    topology.add_source("source", Consumed::with(string(), i64()), &["visits"])?;
    topology.add_processor("count", Forgetful::default, &["source"])?;
    topology.add_sink("sink", "counts", Produced::with(string(), i64()), &["count"])?;
    Ok(topology)
}

fn simulate(seed: u64, faults: Faults) -> Result<(), SimulationError> {
    let visits = (0..80).map(|n| (format!("user-{}", n % 5), n));
    let inputs = Inputs::new().topic("visits", &string(), &i64(), visits);
    Simulation::new(topology).workers(2).faults(faults).seed(seed).run(inputs).map(drop)
}

#[test]
fn state_outside_of_a_store_is_found() {
    simulate(0, Faults::none()).expect("without faults it seems to work");
    let found = (0..20).find_map(|seed| simulate(seed, Faults::all()).err());
    let error = found.expect("20 seeds are enough to see the mistake");
    assert_eq!(error.violated(), Some("outputs are those of a run without faults"), "{error}");
    assert!(error.to_string().contains("replay: run it with .seed("), "{error}");
}
