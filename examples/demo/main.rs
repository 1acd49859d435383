//! `demo`: a million transactions through two workers that are killed again and again, and the
//! proof that every balance is right.

mod run;

use std::process::ExitCode;

use clap::Parser;
use tidemill_examples::{report, role};

/// Runs the balances job with two worker processes, kills them while it runs, and verifies every
/// account and every dead letter against an independent computation.
#[derive(Debug, Parser)]
struct Arguments {
    /// Brokers to begin with, host:port. Without it the embedded broker is started for the run.
    #[arg(long, env = "TIDEMILL_TEST_KAFKA", value_name = "SERVERS")]
    bootstrap_servers: Option<String>,
    /// Records to generate, one in a thousand of them invalid.
    #[arg(long, default_value_t = 1_000_000)]
    transactions: u64,
    /// Accounts that they are spread over.
    #[arg(long, default_value_t = 10_000)]
    accounts: u64,
    /// Same seed, same transactions.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often a worker process is killed by SIGKILL.
    #[arg(long, default_value_t = 5)]
    kills: u32,
    /// Threads of each of the two worker processes.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Partitions of the topics.
    #[arg(long, default_value_t = 4)]
    partitions: u32,
}

fn main() -> ExitCode {
    if let Some(ended) = role::play() {
        return ended;
    }
    match run::run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::error("demo", &*error);
            ExitCode::FAILURE
        }
    }
}
