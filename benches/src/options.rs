//! The command line, of the harness and of the workers that it starts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::system::{Job, System};

/// Measures the balances job on a raw client loop, on Tidemill and on Kafka Streams.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) bench: BenchOptions,
}

/// What the harness calls itself with.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs one system until SIGTERM; takes the flags of benches/java/run.
    #[command(hide = true)]
    Worker {
        system: WorkerSystem,
        #[command(flatten)]
        options: WorkerOptions,
    },
}

/// The systems that are this program.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WorkerSystem {
    Raw,
    RawLast,
    Tidemill,
}

/// The flags of a worker.
#[derive(Debug, Args)]
pub(crate) struct WorkerOptions {
    #[arg(long)]
    pub(crate) bootstrap_servers: String,
    #[arg(long)]
    pub(crate) application_id: String,
    #[arg(long)]
    pub(crate) state_dir: PathBuf,
    #[arg(long, default_value = "transactions")]
    pub(crate) input: String,
    #[arg(long, default_value = "balances")]
    pub(crate) output: String,
    /// Re-key by account through a repartition topic; without it the input's key is the account.
    #[arg(long)]
    pub(crate) repartition: bool,
    #[arg(long, default_value_t = 100)]
    pub(crate) commit_interval_ms: u64,
}

/// The flags of the harness.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchOptions {
    /// The broker, host:port
    #[arg(long, env = "TIDEMILL_TEST_KAFKA", default_value = "")]
    pub(crate) bootstrap_servers: String,
    /// The broker's folder, to measure and pin the process whose pid is in it
    #[arg(long, env = "TIDEMILL_TEST_KAFKA_DIR")]
    pub(crate) broker_dir: Option<PathBuf>,
    /// The script that started the broker, which tells what kind it is
    #[arg(long, env = "TIDEMILL_TEST_BROKER", hide = true)]
    pub(crate) broker_script: Option<PathBuf>,
    /// Small sizes: shows that everything works, in under 3 minutes. Its numbers mean little
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Records in the pre-filled topic [default: 5000000, smoke 200000]
    #[arg(long)]
    pub(crate) records: Option<u64>,
    /// Accounts that they are spread over
    #[arg(long, default_value_t = 10_000)]
    pub(crate) accounts: u32,
    /// Partitions of every topic
    #[arg(long, default_value_t = 4)]
    pub(crate) partitions: u32,
    /// Measures everything so many times; the summary shows medians
    #[arg(long, default_value_t = 1)]
    pub(crate) rounds: u32,
    /// Seconds of fixed load whose latency counts [default: 30, smoke 5]; 0 leaves latency out
    #[arg(long)]
    pub(crate) load_seconds: Option<u64>,
    /// Seconds of the same load before them [default: 15, smoke 2]
    #[arg(long)]
    pub(crate) warm_up_seconds: Option<u64>,
    /// Records per second of the fixed load
    #[arg(long, default_value_t = 10_000)]
    pub(crate) load_rate: u32,
    /// Commit interval of every system
    #[arg(long, default_value_t = 100)]
    pub(crate) commit_interval_ms: u64,
    /// Seed of the transactions
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// What to measure
    #[arg(long, value_delimiter = ',', default_values_t = System::ALL)]
    pub(crate) systems: Vec<System>,
    /// On which jobs
    #[arg(long, value_delimiter = ',', default_values_t = Job::ALL)]
    pub(crate) jobs: Vec<Job>,
    /// Workers on the last core, broker and harness on the others; auto: if there are two
    #[arg(long, default_value = "auto")]
    pub(crate) pin: Pin,
    /// Folder for raw.csv and summary.md. Default: a new one in `benches/results`; smoke: none
    #[arg(long)]
    pub(crate) results: Option<PathBuf>,
}

/// Whether to pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pin {
    Auto,
    On,
    Off,
}

impl BenchOptions {
    /// Whether the given broker is an embedded one.
    pub(crate) fn embedded(&self) -> bool {
        self.broker_script.as_deref().is_some_and(|script| script.ends_with("broker/broker"))
    }

    pub(crate) fn records(&self) -> u64 {
        self.records.unwrap_or(if self.smoke { 200_000 } else { 5_000_000 })
    }

    pub(crate) fn load_seconds(&self) -> u64 {
        self.load_seconds.unwrap_or(if self.smoke { 5 } else { 30 })
    }

    pub(crate) fn warm_up_seconds(&self) -> u64 {
        self.warm_up_seconds.unwrap_or(if self.smoke { 2 } else { 15 })
    }
}
