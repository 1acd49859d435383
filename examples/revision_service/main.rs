//! `revision_service`: gives out revisions over HTTP, backed by PostgreSQL, until SIGTERM.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use tidemill::BoxError;
use tidemill_connect::revision::service::{RevisionService, RevisionServiceConfig};
use tidemill_examples::report;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Gives out increasing numbers of 64 bits, none twice, whatever is killed.
///
/// curl -X POST 127.0.0.1:7070/v1/revisions -d '{"count": 3}'
#[derive(Debug, Parser)]
#[command(name = "revision_service")]
struct Arguments {
    /// The database: `host=127.0.0.1 user=me dbname=shop`. In the environment, its password is not
    /// seen in the list of processes.
    #[arg(long, env = "TIDEMILL_DATABASE", hide_env_values = true, value_name = "CONNECTION")]
    database: String,
    /// Names the counter; all instances of one name share it.
    #[arg(long, default_value = "revisions")]
    name: String,
    /// Where to listen. Everybody who reaches it can use up numbers.
    #[arg(long, default_value = "127.0.0.1:7070", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Take that many numbers in advance. The order then holds within this instance only.
    #[arg(long, default_value_t = 0)]
    block: u32,
    /// Take the counter over, above this number, after its database was restored or promoted; then
    /// end.
    #[arg(long, value_name = "NUMBER")]
    adopt_above: Option<i64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error("revision_service", &*error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BoxError> {
    // the text may have a password: what is wrong with it is told without it
    let database = arguments.database.parse().map_err(|_| "--database is no connection string")?;
    let config = RevisionServiceConfig::new(database, &arguments.name)
        .with_listen(arguments.listen)
        .with_block(arguments.block);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(above) = arguments.adopt_above {
            let last = RevisionService::adopt(&config, above).await?;
            report::line(format_args!("the counter {} goes on above {last}", arguments.name));
            return Ok(());
        }
        let service = RevisionService::start(&config).await?;
        report::line(format_args!("answers on http://{}", service.address()));
        let mut terminated = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminated.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        service.stop().await;
        Ok(())
    })
}
