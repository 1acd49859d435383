//! Does the simulation notice if a guard is missing? Each is taken out in turn.

use tidemill::simulation::Guard;

use crate::cases::case;
use crate::seeds::number;

/// Each guard with a seed that finds it missing; `docs/TESTING.md` has the same table.
const FOUND: &[(Guard, u64)] = &[
    (Guard::GroupMetadata, 6),
    (Guard::RestoreToHighWatermark, 305),
    (Guard::DropOverlay, 1),
    (Guard::Rewind, 1),
    (Guard::ReplaceProducer, 36),
    (Guard::SequenceCheck, 27),
];

/// Runs a seed without a guard; returns what was found.
fn without(guard: Guard, seed: u64) -> Option<String> {
    let (simulation, inputs) = case(seed);
    simulation.without_guard(guard).run(inputs).err().map(|error| error.to_string())
}

#[test]
fn every_guard_is_missed() {
    for (guard, seed) in FOUND {
        assert!(without(*guard, *seed).is_some(), "nobody misses {guard:?} with seed {seed}");
    }
}

/// An end of a transaction that goes astray ends the next one only if the producer is the same.
#[test]
fn inv_6_a_transaction_is_torn_without_the_replacement_of_the_producer() {
    let (_, seed) = FOUND.iter().find(|(guard, _)| *guard == Guard::ReplaceProducer).unwrap();
    let error = without(Guard::ReplaceProducer, *seed).unwrap();
    assert!(error.contains("Torn"), "something else was found: {error}");
}

/// Looks for seeds: `TIDEMILL_SIM_SEEDS=5000 cargo test .. -- --ignored find_seeds --nocapture`.
#[test]
#[ignore = "a tool: it finds the seeds of the table"]
fn find_seeds_that_miss_each_guard() {
    let (first, count) = (number("TIDEMILL_SIM_FIRST"), number("TIDEMILL_SIM_SEEDS"));
    let (first, count) = (first.unwrap_or(0), count.unwrap_or(2_000));
    for guard in FOUND.iter().map(|(guard, _)| *guard) {
        let mut seeds = first..first + count;
        let found = seeds.find_map(|seed| Some((seed, without(guard, seed)?)));
        match found {
            Some((seed, error)) => {
                let text: String = error.chars().take(2_000).collect();
                println!("{guard:?}: seed {seed}: {text}\n");
            }
            None => println!("{guard:?}: none of {count} seeds\n"),
        }
    }
}
