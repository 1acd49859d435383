//! `bench-connect`: the outbox relays and change data capture against the plain loop that most
//! services have (select, produce, flush, delete), in one run, side by side. README.md says what is
//! measured and how.
//!
//! The harness starts each system as a process of its own, so that its memory and CPU time are
//! nobody else's: this same program, `bench-connect worker <system> ..`.

mod backlog;
mod database;
mod drain;
mod idle;
mod latency;
mod options;
mod plain;
mod process;
mod reader;
mod relay;
mod results;
mod run;
mod system;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tidemill::BoxError;
use tracing_subscriber::EnvFilter;

use options::{Command, Options};

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
            say(&describe(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every result was right.
fn run(options: Options) -> Result<bool, BoxError> {
    match options.command {
        Some(Command::Worker { system, options }) => system.work(&options).map(|()| true),
        None => run::run(&options.bench),
    }
}

/// An error with its causes: what PostgreSQL said is one of them.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("error: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Writes a line for the person who waits. Standard output is for results.
fn say(line: &str) {
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{line}");
}
