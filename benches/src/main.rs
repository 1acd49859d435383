//! `bench`: the balances job on a raw librdkafka loop, on Tidemill and on Apache Kafka Streams, on
//! one broker in one run, side by side. README.md says what is measured and how.
//!
//! The harness starts each system as a process of its own, so that its CPU time and memory are
//! nobody else's. The Rust systems are this same program: `bench worker <system> ..`.

mod brokers;
mod cluster;
mod host;
mod interrupt;
mod latency;
mod load;
mod measure;
mod options;
mod outcome;
mod process;
mod progress;
mod raw;
mod report;
mod reporter;
mod run;
mod system;
mod tidemill_worker;
mod transactions;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tidemill::BoxError;
use tracing_subscriber::EnvFilter;

use options::{Command, Options, WorkerSystem};

fn main() -> ExitCode {
    // the embedded broker of a run is this same program
    if let Some(ended) = tidemill_examples::role::play() {
        return ended;
    }
    // librdkafka warns of every retry of a broker that has just started.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,librdkafka=error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    log.with_writer(std::io::stderr).init();
    match run(Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every result was right.
fn run(options: Options) -> Result<bool, BoxError> {
    match options.command {
        Some(Command::Worker { system, options }) => {
            match system {
                WorkerSystem::Raw => raw::run(&options, raw::Output::EachRecord)?,
                WorkerSystem::RawLast => raw::run(&options, raw::Output::EachAccountAndCommit)?,
                WorkerSystem::Tidemill => tidemill_worker::run(&options)?,
            }
            Ok(true)
        }
        None => run::run(&options.bench),
    }
}

/// Writes a line for the person who waits. Standard output is for results.
fn say(line: &str) {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}
