//! Seeds that keep their state in real RocksDB databases, in a folder that is deleted afterwards.

use tidemill::simulation::{Inputs, Report, Simulation, SimulationError};

/// One seed of so many has real databases.
const ONE_OF: u64 = 50;

/// Whether a seed is one of them. They fall on each of the topologies in turn.
pub(crate) fn is_chosen(seed: u64) -> bool {
    seed % ONE_OF == (seed / ONE_OF) % 4
}

/// Runs a simulation with real databases.
pub(crate) fn run(simulation: Simulation, inputs: Inputs) -> Result<Report, SimulationError> {
    let folder = tempfile::tempdir().unwrap();
    simulation.on_disk(folder.path()).run(inputs)
}

#[test]
fn each_topology_has_seeds_with_real_databases() {
    let topologies: std::collections::BTreeSet<_> =
        (0..400).filter(|seed| is_chosen(*seed)).map(|seed| seed % 4).collect();
    assert_eq!(topologies.len(), 4);
}

#[test]
fn real_databases_give_the_same_trace_too() {
    let trace = |seed: u64| {
        let (simulation, inputs) = crate::cases::case(seed);
        let report = run(simulation, inputs).unwrap_or_else(|error| panic!("{error}"));
        (report.trace_hash(), report.events().to_vec())
    };
    for seed in 0..4 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}
