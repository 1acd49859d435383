//! The command line, of the harness and of the workers that it starts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::system::System;

/// Measures outbox relays and change data capture against a plain at-least-once loop.
#[derive(Debug, Parser)]
#[command(name = "bench-connect", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) bench: BenchOptions,
}

/// What the harness calls itself with.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs one system until it is killed.
    #[command(hide = true)]
    Worker {
        system: System,
        #[command(flatten)]
        options: WorkerOptions,
    },
}

/// The flags of a worker.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerOptions {
    #[arg(long)]
    pub(crate) bootstrap_servers: String,
    /// What `tokio_postgres::Config` is parsed from.
    #[arg(long)]
    pub(crate) database: String,
    /// The topic of the events; names are derived from it.
    #[arg(long)]
    pub(crate) topic: String,
    /// Most records of a batch.
    #[arg(long)]
    pub(crate) batch: u32,
}

/// The flags of the harness.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchOptions {
    /// The broker, host:port. Without it the embedded broker is started for the run
    #[arg(long, env = "TIDEMILL_TEST_KAFKA")]
    pub(crate) bootstrap_servers: Option<String>,
    /// Small sizes: shows that everything works, in under 40 s. Its numbers mean little
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Events of the backlog whose drain is timed [default: 200000, smoke 10000]
    #[arg(long)]
    pub(crate) events: Option<u32>,
    /// Events of the large backlog, drained for its memory [default: 1000000, smoke 50000]; 0
    /// leaves it out. The aim is stated for 10000000
    #[arg(long)]
    pub(crate) backlog: Option<u32>,
    /// Most events of a batch, of every system
    #[arg(long, default_value_t = 1_000)]
    pub(crate) batch: u32,
    /// Bytes of an event's payload, at least 12
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(12..=100_000))]
    pub(crate) payload_bytes: u32,
    /// Aggregates that the events are spread over
    #[arg(long, default_value_t = 1_000)]
    pub(crate) aggregates: u32,
    /// Partitions of the topics
    #[arg(long, default_value_t = 4)]
    pub(crate) partitions: u32,
    /// Measures everything but the large backlog so many times; the summary shows medians
    /// [default: 5, smoke 1]
    #[arg(long)]
    pub(crate) rounds: Option<u32>,
    /// Events per second while latency is measured
    #[arg(long, default_value_t = 200)]
    pub(crate) rate: u32,
    /// Seconds of that [default: 8, smoke 2]; 0 leaves latency out
    #[arg(long)]
    pub(crate) latency_seconds: Option<u32>,
    /// Seconds of watching what an idle system asks of the database [default: 5, smoke 2]
    #[arg(long)]
    pub(crate) idle_seconds: Option<u32>,
    /// What to measure
    #[arg(long, value_delimiter = ',', default_values_t = System::ALL)]
    pub(crate) systems: Vec<System>,
    /// Folder for connect.csv and connect.md. Default: a new one in `benches/results`; smoke: none
    #[arg(long)]
    pub(crate) results: Option<PathBuf>,
}

impl BenchOptions {
    pub(crate) fn events(&self) -> u32 {
        self.events.unwrap_or(if self.smoke { 10_000 } else { 200_000 })
    }

    pub(crate) fn backlog(&self) -> u32 {
        self.backlog.unwrap_or(if self.smoke { 50_000 } else { 1_000_000 })
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.smoke { 1 } else { 5 }).max(1)
    }

    pub(crate) fn latency_seconds(&self) -> u32 {
        self.latency_seconds.unwrap_or(if self.smoke { 2 } else { 8 })
    }

    pub(crate) fn idle_seconds(&self) -> u32 {
        self.idle_seconds.unwrap_or(if self.smoke { 2 } else { 5 })
    }
}
