//! `simulate`: a topology of your own under every fault, in one thread, from a seed.
//!
//! It finds the mistake in one topology, tells how to see it again, and shows that the mended one
//! holds under hundreds of seeds. Needs no broker and no disk.

mod run;
mod visits;

use std::process::ExitCode;

use clap::Parser;
use tidemill_examples::report;

/// Counts visits in simulated clusters whose processes, network, disks and broker fail. One
/// topology has a mistake, which is found; the mended one holds.
#[derive(Debug, Parser)]
struct Arguments {
    /// Seeds that the mended topology has to pass.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// Run this seed alone, and tell what happened.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: the topology with the mistake.
    #[arg(long, requires = "seed")]
    planted: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.seed {
        Some(seed) => run::again(seed, arguments.planted),
        None => run::find_and_mend(arguments.seeds),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error("simulate", &*error);
            ExitCode::FAILURE
        }
    }
}
