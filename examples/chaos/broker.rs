//! The broker of a run: killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tidemill::BoxError;
use tidemill_examples::embedded::EmbeddedBroker;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/kafka/kafka");

/// A broker that may be restarted.
#[derive(Debug)]
pub(super) enum Broker {
    /// An Apache Kafka that `runtime/kafka/kafka` started.
    Kafka { dir: PathBuf, address: String },
    /// A process of this run.
    Embedded(EmbeddedBroker),
}

impl Broker {
    /// Takes a broker that runs.
    pub(super) fn running(dir: &Path, address: &str) -> Self {
        Self::Kafka { dir: dir.to_owned(), address: address.to_owned() }
    }

    /// Starts one.
    pub(super) fn embedded(folder: &Path) -> Result<Self, BoxError> {
        Ok(Self::Embedded(EmbeddedBroker::start(folder)?))
    }

    pub(super) fn address(&self) -> &str {
        match self {
            Self::Kafka { address, .. } => address,
            Self::Embedded(broker) => broker.address(),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Kafka { .. } => "Kafka",
            Self::Embedded(_) => "embedded broker",
        }
    }

    /// Ends it by SIGKILL and starts it again in the same folder, on the same port.
    pub(super) fn restart(&mut self) -> Result<(), BoxError> {
        match self {
            Self::Kafka { dir, .. } => {
                script("kill", &[dir])?;
                script("start", &[Path::new("--dir"), dir])
            }
            Self::Embedded(broker) => broker.restart(),
        }
    }
}

fn script(command: &str, arguments: &[&Path]) -> Result<(), BoxError> {
    let script = std::env::var("TIDEMILL_TEST_BROKER").unwrap_or_else(|_| SCRIPT.to_owned());
    let mut call = Command::new(&script);
    let called = call.arg(command).args(arguments).stdin(Stdio::null()).output();
    let output = called.map_err(|error| format!("could not run {script}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{script} {command} ended with {}: {said}", output.status).into())
}
