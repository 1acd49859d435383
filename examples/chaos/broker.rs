//! The broker, as `runtime/kafka/kafka` runs it: killed and started again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tidemill::BoxError;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/kafka/kafka");

/// A broker that may be restarted.
#[derive(Debug)]
pub(super) struct Broker {
    dir: PathBuf,
    address: String,
    /// It was started for this run, which stops it.
    own: bool,
}

impl Broker {
    /// Takes a broker that runs.
    pub(super) fn running(dir: &Path, address: &str) -> Self {
        Self { dir: dir.to_owned(), address: address.to_owned(), own: false }
    }

    /// Starts one.
    pub(super) fn start() -> Result<Self, BoxError> {
        let dir = tempfile::Builder::new().prefix("tidemill-kafka.").tempdir()?.keep();
        script("start", &[Path::new("--dir"), &dir])?;
        let address = std::fs::read_to_string(dir.join("bootstrap"))?.trim().to_owned();
        Ok(Self { dir, address, own: true })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Ends it by SIGKILL and starts it again in the same folder, on the same port.
    pub(super) fn restart(&self) -> Result<(), BoxError> {
        script("kill", &[&self.dir])?;
        script("start", &[Path::new("--dir"), &self.dir])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.own {
            // nothing more can be done about it
            let _ = script("stop", &[&self.dir]);
        }
    }
}

fn script(command: &str, arguments: &[&Path]) -> Result<(), BoxError> {
    let mut call = Command::new(SCRIPT);
    let called = call.arg(command).args(arguments).stdin(Stdio::null()).output();
    let output = called.map_err(|error| format!("could not run {SCRIPT}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{SCRIPT} {command} ended with {}: {said}", output.status).into())
}
