//! The program `balances`, which is also what the demo and the chaos runner start as their workers.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidemill::client::ClientConfig;
use tidemill::config::ExceptionPolicy;
use tidemill::{BoxError, Config, Tidemill};
use tracing_subscriber::EnvFilter;

use crate::cluster::Cluster;
use crate::embedded::EmbeddedBroker;
use crate::{balances, report};

/// Partitions of topics on a broker that is there for this program alone.
const EMBEDDED_PARTITIONS: u32 = 4;

/// Keeps account balances of a topic of transactions, exactly once.
///
/// Every other option of Tidemill can be set in a TOML file or by environment variables, see
/// docs/CONFIGURATION.md. RUST_LOG sets what is logged.
#[derive(Debug, Parser)]
#[command(name = "balances")]
struct Arguments {
    /// Brokers to begin with, host:port, separated by commas. Without it the embedded broker is
    /// started, with its data in the state directory and the topics created.
    #[arg(long, value_name = "SERVERS")]
    bootstrap_servers: Option<String>,
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
    fn config(&self, servers: &str) -> Config {
        let mut config = Config::new(&*self.application_id, servers)
            .with_deserialization_exception_handler(ExceptionPolicy::DeadLetterQueue)
            .with_processing_exception_handler(ExceptionPolicy::DeadLetterQueue);
        if let Some(file) = &self.config {
            config = config.apply_toml_file(file);
        }
        config = config
            .apply_env(environment())
            .with_application_id(&*self.application_id)
            .with_bootstrap_servers(servers)
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

/// Runs the program with these arguments, its name first, until SIGTERM.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = Arguments::parse_from(arguments);
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
    let broker = match arguments.bootstrap_servers {
        Some(_) => None,
        None => Some(EmbeddedBroker::start(&arguments.state_dir.join("broker"))?),
    };
    let given = arguments.bootstrap_servers.as_deref();
    let servers = broker.as_ref().map(EmbeddedBroker::address).or(given).unwrap_or_default();
    if broker.is_some() {
        tracing::info!(servers, "started the embedded broker, which is for development alone");
    }
    let config = arguments.config(servers);
    config.validate()?;
    let of_embedded = broker.as_ref().map(|_| EMBEDDED_PARTITIONS);
    if let Some(partitions) = arguments.create_topics.or(of_embedded) {
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
