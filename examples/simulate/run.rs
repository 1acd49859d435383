//! Looks for the mistake, sees it again, and runs the mended topology.

use indicatif::{ProgressBar, ProgressStyle};
use tidemill::BoxError;
use tidemill::simulation::{Faults, Simulation, SimulationError};
use tidemill_examples::report;

use crate::visits;

/// So many seeds are tried on the topology with the mistake. The first few find it.
const TRIES: u64 = 50;
const INVARIANT: &str = "each visit counts once";
/// How this very program is run again.
const COMMAND: &str =
    "cargo run --release -p tidemill-examples --features simulation --bin simulate --";

fn simulation(planted: bool, seed: u64) -> Simulation {
    let (topology, flag): (fn() -> _, _) =
        if planted { (visits::planted, " --planted") } else { (visits::mended, "") };
    Simulation::new(topology)
        .workers(3)
        .faults(Faults::all())
        .seed(seed)
        .invariant(INVARIANT, visits::each_visit_counts_once)
        .replay_with(format!("{COMMAND} --seed {{seed}}{flag}"))
}

/// Runs one seed, and tells what happened.
pub(crate) fn again(seed: u64, planted: bool) -> Result<(), BoxError> {
    let told = simulation(planted, seed).run(visits::inputs())?;
    for (at, what) in told.events() {
        report::line(format_args!("{at:>14.3?}  {what}"));
    }
    report::line(&told);
    Ok(())
}

/// Finds the mistake, and runs so many seeds of the mended topology.
pub(crate) fn find_and_mend(seeds: u64) -> Result<(), BoxError> {
    let calm = simulation(true, 0).workers(1).faults(Faults::none()).run(visits::inputs())?;
    report::line(format_args!(
        "The count is kept in a field of the processor. In one process, without faults, it seems \
         right:\n  {calm}\n"
    ));
    let (seed, found) = (0..TRIES)
        .find_map(|seed| Some((seed, simulation(true, seed).run(visits::inputs()).err()?)))
        .ok_or_else(|| format!("{TRIES} seeds did not find the mistake"))?;
    report::line(format_args!("With faults seed {seed} finds it:\n{found}\n"));
    let second = simulation(true, seed).run(visits::inputs()).err();
    let (first, second) = (violation(&found)?, second.as_ref().map(violation).transpose()?);
    if Some(&first) != second.as_ref() {
        return Err(format!("the same seed gave {first:?} and {second:?}").into());
    }
    if first.0 != INVARIANT {
        return Err(format!("{} was violated, not {INVARIANT}", first.0).into());
    }
    report::line(format_args!("The same seed once more: the same trace, {:016x}.\n", first.1));

    report::line(format_args!("The count is kept in a store: {seeds} seeds."));
    let bar = ProgressBar::new(seeds);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed}")?);
    let (mut faults, mut simulated) = (0, std::time::Duration::ZERO);
    for seed in 0..seeds {
        let held = simulation(false, seed).run(visits::inputs())?;
        faults += held.events().len();
        simulated += held.simulated_time();
        bar.inc(1);
    }
    bar.finish_and_clear();
    report::line(format_args!(
        "{} events in {} simulated minutes",
        report::grouped(u64::try_from(faults)?),
        report::grouped(simulated.as_secs() / 60),
    ));
    report::line(format_args!("VERDICT: the mistake was found, the mended topology holds"));
    Ok(())
}

/// What was violated, and the hash of the run.
fn violation(error: &SimulationError) -> Result<(String, u64), BoxError> {
    match error {
        SimulationError::Violation { invariant, trace_hash, .. } => {
            Ok((invariant.clone(), *trace_hash))
        }
        other => Err(other.to_string().into()),
    }
}
