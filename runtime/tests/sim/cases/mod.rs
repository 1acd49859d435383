//! The standing topologies, each with an oracle of its own: a few lines that compute from committed
//! inputs what has to be there, without any of Tidemill.

pub(crate) mod counts;
pub(crate) mod globals;
pub(crate) mod ledger;
pub(crate) mod operations;

use std::fmt::Debug;

use tidemill::record::{OwnedRecord, Partition};
use tidemill::simulation::{Faults, Inputs, Simulation, View};

/// One run: which topology, how large, all from the seed.
pub(crate) fn case(seed: u64) -> (Simulation, Inputs) {
    // not the numbers that the simulation itself draws
    let mut rng = fastrand::Rng::with_seed(seed.rotate_left(17) ^ 0x6361_7365);
    let records = rng.i64(60..200);
    let (simulation, inputs) = match seed % 4 {
        0 => {
            let simulation = Simulation::new(ledger::topology);
            (simulation.invariant("INV-1: balances", ledger::holds), ledger::inputs(records))
        }
        1 => {
            let simulation = Simulation::new(ledger::repartitioned);
            let name = "INV-1: balances behind a repartition topic";
            (simulation.invariant(name, ledger::holds_repartitioned), ledger::inputs(records))
        }
        2 => {
            let simulation = Simulation::new(operations::topology);
            let simulation = simulation.invariant("INV-1: operations", operations::holds);
            (simulation, operations::inputs(records))
        }
        _ => {
            let simulation = Simulation::new(counts::topology);
            (simulation.invariant("INV-1: counts", counts::holds), counts::inputs(records))
        }
    };
    let simulation = simulation
        .seed(seed)
        .workers(rng.usize(1..4))
        .partitions(rng.u32(1..4))
        .faults(Faults::all())
        .compare_with_undisturbed_run(false)
        .replay_with("make sim SEED={seed}");
    (simulation, inputs)
}

/// A run of the topology with a global table. Not one of [`case`], whose numbers stand for the same
/// runs for ever.
pub(crate) fn case_with_global_table(seed: u64) -> (Simulation, Inputs) {
    let mut rng = fastrand::Rng::with_seed(seed.rotate_left(17) ^ 0x676c_6f62);
    let records = rng.i64(60..200);
    let simulation = Simulation::new(globals::topology)
        .invariant("INV-1: orders", globals::holds)
        .seed(seed)
        .workers(rng.usize(1..4))
        .partitions(rng.u32(1..4))
        .faults(Faults::all())
        .compare_with_undisturbed_run(false);
    (simulation, globals::inputs(seed, records))
}

/// The committed records of an input partition that the application has committed as read.
pub(crate) fn below<'a>(
    view: &View<'a>,
    topic: &str,
    partition: Partition,
) -> impl Iterator<Item = &'a OwnedRecord> {
    let offset = view.committed_offset(topic, partition).unwrap_or(0);
    view.records(topic, partition).filter(move |record| record.offset.0 < offset)
}

/// Fails with the first place that differs.
pub(crate) fn fail_unless_equal<T: PartialEq + Debug>(
    what: &str,
    found: &[T],
    expected: &[T],
) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let same = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let (number, of) = (found.len(), expected.len());
    Err(format!(
        "{what}: {number} instead of {of}, from number {same} on {:?} instead of {:?}",
        found.iter().skip(same).take(3).collect::<Vec<_>>(),
        expected.iter().skip(same).take(3).collect::<Vec<_>>(),
    ))
}

pub(crate) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn text_of(bytes: &Option<Vec<u8>>) -> String {
    text(bytes.clone().unwrap())
}

pub(crate) fn i64_of(bytes: &Option<Vec<u8>>) -> i64 {
    i64::from_be_bytes(bytes.clone().unwrap().try_into().unwrap())
}
