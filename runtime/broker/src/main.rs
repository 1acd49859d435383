//! `tidemill-broker`: the broker as a program, and a way to disturb one that runs.
//!
//! ```console
//! $ tidemill-broker --listen 127.0.0.1:9092 --data-dir ./data --control 127.0.0.1:9093
//! 127.0.0.1:9092
//! $ tidemill-broker fault --control 127.0.0.1:9093 add api=EndTxn nth=2 then=drop-reply
//! $ tidemill-broker fault --control 127.0.0.1:9093 list
//! api=EndTxn nth=2 then=drop-reply matched=0 fired=0
//! ```
//!
//! It prints one line when it is ready: its address. SIGTERM and SIGINT stop it.

use std::error::Error;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tidemill_broker::engine::EngineConfig;
use tidemill_broker::fault::{Faults, Rule};
use tidemill_broker::server::{Server, ServerConfig, Stopper, ask};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A single-node Kafka broker for development and tests. Production is Apache Kafka.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Debug, Args)]
struct Serve {
    /// Where clients connect; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Keeps the data here, so that it outlives the process
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Opens a port where faults can be asked for
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// Lets other machines in: there is no authentication
    #[arg(long)]
    allow_remote: bool,
    /// A setting by Kafka's name, as in `auto.create.topics.enable=true`; can be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    config: Vec<String>,
    /// What goes wrong from the start, as in `api=EndTxn nth=2 then=drop-reply`; can be repeated
    #[arg(long, value_name = "RULE")]
    fault: Vec<Rule>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists, adds and clears what goes wrong in a broker that runs with --control
    Fault {
        /// The broker's control port
        #[arg(long, value_name = "ADDRESS")]
        control: SocketAddr,
        /// add RULE.. | seed N [rare|normal|fierce] | list | fired | clear
        #[arg(required = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = Options::parse();
    let done = match options.command {
        Some(Command::Fault { control, words }) => fault(control, &words),
        None => serve(options.serve),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Serve) -> Result<(), Box<dyn Error>> {
    let mut faults = Faults::plan();
    options.fault.into_iter().for_each(|rule| faults.add(rule));
    let mut engine = EngineConfig::default();
    for setting in &options.config {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        engine.set(name.trim(), value.trim())?;
    }
    let server = Server::start(ServerConfig {
        listen: options.listen,
        data_dir: options.data_dir,
        control: options.control,
        allow_remote: options.allow_remote,
        engine,
        faults,
    })?;
    stop_on_signal(server.stopper())?;
    line(server.bootstrap_servers());
    server.wait()?;
    Ok(())
}

/// Stops the server when the process is asked to end.
fn stop_on_signal(stopper: Stopper) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        stopper.stop();
    })?;
    Ok(())
}

fn fault(control: SocketAddr, words: &[String]) -> Result<(), Box<dyn Error>> {
    for answer in ask(control, &format!("fault {}", words.join(" ")))? {
        line(answer);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the program's result")]
fn line(text: impl Display) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the program's error message")]
fn complain(error: &(dyn Error + 'static)) {
    eprintln!("tidemill-broker: {error}");
    let mut next = error.source();
    while let Some(cause) = next {
        eprintln!("  because: {cause}");
        next = cause.source();
    }
}
