//! `chaos`: the balances job under random kills, zombies and broker restarts, audited after each.

mod broker;
mod faults;
mod plan;
mod run;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tidemill_examples::{report, role};

/// Runs the balances job under continuous load and random faults, audits the local state after each
/// kill, and verifies at the end what came out.
///
/// Ends with an error if anything is not as it must be, or if a kind of fault that was planned
/// never happened.
#[derive(Debug, Parser)]
struct Arguments {
    /// Brokers to begin with, host:port. Without it the embedded broker is started for the run.
    #[arg(long, env = "TIDEMILL_TEST_KAFKA", value_name = "SERVERS")]
    bootstrap_servers: Option<String>,
    /// The folder of an Apache Kafka, as `runtime/kafka/kafka` made it. Without it a broker that
    /// was given is not restarted.
    #[arg(long, env = "TIDEMILL_TEST_KAFKA_DIR", value_name = "DIR")]
    kafka_dir: Option<PathBuf>,
    /// How often a worker process is killed: by SIGKILL from outside or at a named place of the
    /// commit protocol. Zombies and broker restarts come on top.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Same seed, same faults in the same order. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Transactions per second while the faults happen.
    #[arg(long, default_value_t = 3_000)]
    rate: u64,
    /// Accounts that they are spread over.
    #[arg(long, default_value_t = 2_000)]
    accounts: u64,
    /// The run fails if it takes longer.
    #[arg(long, default_value_t = 30, value_name = "MINUTES")]
    minutes_max: u64,
}

fn main() -> ExitCode {
    if let Some(ended) = role::play() {
        return ended;
    }
    match run::run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::error("chaos", &*error);
            ExitCode::FAILURE
        }
    }
}
