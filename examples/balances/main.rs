//! `balances`: keeps account balances of a topic of transactions, exactly once, until SIGTERM.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::client::ClientConfig;
use tidemill::config::ExceptionPolicy;
use tidemill::{BoxError, Config, Tidemill};
use tidemill_examples::cluster::Cluster;
use tidemill_examples::{balances, report};
use tracing_subscriber::EnvFilter;

/// Keeps account balances of a topic of transactions, exactly once.
///
/// Every other option of Tidemill can be set in a TOML file or by environment variables, see
/// docs/CONFIGURATION.md. RUST_LOG sets what is logged.
#[derive(Debug, Parser)]
struct Arguments {
    /// Brokers to begin with, host:port, separated by commas.
    #[arg(long, value_name = "SERVERS")]
    bootstrap_servers: String,
    /// Names the application: its group, its internal topics, its folder under the state directory.
    #[arg(long, value_name = "ID")]
    application_id: String,
    /// Folder of the local state.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// Threads that process records.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Topic of transactions.
    #[arg(long, value_name = "TOPIC", default_value = "transactions")]
    input: String,
    /// Topic for balances.
    #[arg(long, value_name = "TOPIC", default_value = "balances")]
    output: String,
    /// Topic for records that are no valid transactions.
    #[arg(long, value_name = "TOPIC", default_value = "transactions-dlq")]
    dead_letters: String,
    /// Create the three topics with so many partitions if they do not exist.
    #[arg(long, value_name = "PARTITIONS")]
    create_topics: Option<u32>,
    /// Time between commits in milliseconds [default: 100].
    #[arg(long, value_name = "MS")]
    commit_interval_ms: Option<u64>,
    /// A TOML file with more options.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The input's key is the account already: no repartition topic.
    #[arg(long)]
    no_repartition: bool,
}

impl Arguments {
    /// The command line wins over the environment, which wins over the file.
    fn config(&self) -> Config {
        let mut config = Config::new(&*self.application_id, &*self.bootstrap_servers)
            .with_deserialization_exception_handler(ExceptionPolicy::DeadLetterQueue)
            .with_processing_exception_handler(ExceptionPolicy::DeadLetterQueue);
        if let Some(file) = &self.config {
            config = config.apply_toml_file(file);
        }
        config = config
            .apply_env(environment())
            .with_application_id(&*self.application_id)
            .with_bootstrap_servers(&*self.bootstrap_servers)
            .with_state_dir(&*self.state_dir)
            .with_num_stream_threads(self.workers)
            .with_dead_letter_queue_topic(&*self.dead_letters);
        match self.commit_interval_ms {
            Some(interval) => config.with_commit_interval(Duration::from_millis(interval)),
            None => config,
        }
    }
}

/// The variables that are texts; the configuration's all are.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,tidemill=info,tidemill_core=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error("balances", &*error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BoxError> {
    let config = arguments.config();
    config.validate()?;
    if let Some(partitions) = arguments.create_topics {
        let topics = [&*arguments.input, &*arguments.output, &*arguments.dead_letters];
        let admin = ClientConfig::from(&config.admin_properties("create-topics"));
        Cluster::connect(admin)?.create_topics(&topics, partitions)?;
    }
    let keyed = arguments.no_repartition;
    let topology = balances::topology(&arguments.input, &arguments.output, keyed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { Tidemill::new(topology, config)?.run().await })?;
    Ok(())
}
