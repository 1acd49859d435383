//! The embedded broker as a process of its own, for programs that were given no cluster: one node,
//! for development and tests. Killing a worker is real then, and so is killing the broker.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use clap::Parser;
use tidemill::BoxError;
use tidemill_broker::server::{Server, ServerConfig};
use tidemill_connect::testing::Port;

use crate::{report, role};

/// A running broker. It ends with this value, and by itself when this process has ended.
#[derive(Debug)]
pub struct EmbeddedBroker {
    folder: PathBuf,
    child: Child,
    port: Port,
    address: String,
}

impl EmbeddedBroker {
    /// Starts a broker, with its data and its log in this folder. What it acknowledged is there
    /// again when it is started in the same folder.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(folder: &Path) -> Result<Self, BoxError> {
        std::fs::create_dir_all(folder)?;
        let port = Port::reserve()?;
        let (child, address) = launch(folder, &port)?;
        Ok(Self { folder: folder.to_owned(), child, port, address })
    }

    /// Returns what clients are configured with: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends it by SIGKILL and starts it again in the same folder, on the same port.
    ///
    /// # Errors
    /// If it does not start again.
    pub fn restart(&mut self) -> Result<(), BoxError> {
        self.child.kill()?;
        self.child.wait()?;
        (self.child, self.address) = launch(&self.folder, &self.port)?;
        Ok(())
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        // it may have ended meanwhile
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the process and returns it with its address once it answers.
fn launch(folder: &Path, port: &Port) -> Result<(Child, String), BoxError> {
    let log_path = folder.join("broker.log");
    let log = OpenOptions::new().create(true).append(true).open(&log_path)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg(role::BROKER)
        .args(["--listen", &port.address().to_string(), "--data-dir"])
        .arg(folder.join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // a Ctrl-C in the terminal is for this program, which then ends its broker
        .process_group(0)
        .spawn()?;
    let mut address = String::new();
    let said = child.stdout.take().ok_or("the broker has no output")?;
    BufReader::new(said).read_line(&mut address)?;
    let address = address.trim().to_owned();
    if address.is_empty() {
        let status = child.wait()?;
        let log = std::fs::read_to_string(&log_path).unwrap_or_default();
        let why = log.lines().last().unwrap_or_default();
        return Err(format!("the embedded broker did not start ({status}): {why}").into());
    }
    Ok((child, address))
}

/// Flags of the process.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    listen: std::net::SocketAddr,
    #[arg(long)]
    data_dir: PathBuf,
}

/// The body of the process.
pub(crate) fn serve(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let name = OsString::from(role::BROKER);
    let arguments = Arguments::parse_from(std::iter::once(name).chain(arguments));
    tracing_subscriber::fmt()
        .with_env_filter("warn,tidemill_broker=info")
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    match serve_until_alone(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::error("broker", &*error);
            ExitCode::FAILURE
        }
    }
}

fn serve_until_alone(arguments: Arguments) -> Result<(), BoxError> {
    let Arguments { listen, data_dir } = arguments;
    let config = ServerConfig { listen, data_dir: Some(data_dir), ..ServerConfig::default() };
    let server = Server::start(config)?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", server.bootstrap_servers())?;
    output.flush()?;
    // nothing is ever written there: it ends when the process that started this one does
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(server.stop()?)
}
