//! The simulation, over many seeds: whole clusters with faults, against independent oracles.
//!
//! | variable | meaning |
//! |---|---|
//! | `TIDEMILL_SIM_SEED` | run this seed alone, and tell what happened |
//! | `TIDEMILL_SIM_SEEDS` | how many seeds, instead of the number of each test run |
//! | `TIDEMILL_SIM_FIRST` | the first of them; default 0 |

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod bounds;
mod cases;
mod foreign_key;
#[cfg(feature = "mutations")]
mod mutants;
mod on_disk;
mod planted;
mod seeds;

use std::collections::BTreeMap;

use cases::{case, case_with_global_table};
use tidemill::simulation::{Report, SimulationError};

/// So many seeds belong to each run of the tests.
const SEEDS: u64 = 2_000;

/// Runs a seed, with the disk that belongs to it.
fn simulate(seed: u64) -> Result<Report, SimulationError> {
    let (simulation, inputs) = case(seed);
    if on_disk::is_chosen(seed) {
        return on_disk::run(simulation, inputs);
    }
    simulation.run(inputs)
}

fn run(seed: u64) -> Result<BTreeMap<String, u64>, String> {
    let report = simulate(seed).map_err(|error| error.to_string())?;
    let mut counts = report.counts().clone();
    if on_disk::is_chosen(seed) {
        counts.insert("runs with real databases".to_owned(), 1);
    }
    Ok(counts)
}

#[test]
fn everything_holds_whatever_fails() {
    if let Some(seed) = seeds::number("TIDEMILL_SIM_SEED") {
        match simulate(seed) {
            Ok(report) => {
                report.events().iter().for_each(|(at, what)| println!("{at:>14.3?}  {what}"));
                println!("{report}");
            }
            Err(error) => panic!("{error}"),
        }
        return;
    }
    let count = seeds::number("TIDEMILL_SIM_SEEDS").unwrap_or(SEEDS);
    let first = seeds::number("TIDEMILL_SIM_FIRST").unwrap_or(0);
    let summary = seeds::run(first, count, 10, run);
    for (name, count) in &summary.counts {
        println!("{count:>10}  {name}");
    }
    let failures: Vec<_> = summary.failures.iter().map(|(_, failure)| failure.as_str()).collect();
    assert!(failures.is_empty(), "{} failed:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// So many seeds of a topology with a global table.
const SEEDS_WITH_GLOBAL_TABLE: u64 = 300;

#[test]
fn inv_1_and_inv_4_hold_beside_a_global_table_whatever_fails() {
    let one = |seed| {
        let (simulation, inputs) = case_with_global_table(seed);
        let report = simulation.run(inputs).map_err(|error| error.to_string())?;
        Ok(report.counts().clone())
    };
    let summary = seeds::run(0, SEEDS_WITH_GLOBAL_TABLE, 10, one);
    let failures: Vec<_> = summary.failures.iter().map(|(_, failure)| failure.as_str()).collect();
    assert!(failures.is_empty(), "{} failed:\n\n{}", failures.len(), failures.join("\n\n"));
    let trace = |seed| {
        let (simulation, inputs) = case_with_global_table(seed);
        simulation.run(inputs).map(|report| report.trace_hash()).unwrap()
    };
    assert_eq!(trace(7), trace(7), "the global thread follows the seed as well");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed: u64| {
        let (simulation, inputs) = case(seed);
        let report = simulation.run(inputs).map_err(|error| error.to_string());
        report.map(|report| (report.trace_hash(), report.events().to_vec()))
    };
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 0..12 {
        let first = trace(seed).unwrap_or_else(|error| panic!("{error}"));
        let second = trace(seed).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(first, second, "seed {seed}");
        hashes.insert(first.0);
    }
    assert_eq!(hashes.len(), 12, "different seeds give different traces");
}
