//! What is compared, and how each system is started.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use tidemill::BoxError;

use crate::outcome::Meaning;

/// A system that does the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum System {
    /// librdkafka without state: one output for each record.
    Raw,
    /// librdkafka without state: one output for each account and commit, as a record cache gives.
    RawLast,
    Tidemill,
    KafkaStreams,
}

impl System {
    pub(crate) const ALL: [Self; 4] =
        [Self::Raw, Self::RawLast, Self::Tidemill, Self::KafkaStreams];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::RawLast => "raw-last",
            Self::Tidemill => "tidemill",
            Self::KafkaStreams => "kafka-streams",
        }
    }

    /// Whether there is state to restore.
    pub(crate) fn has_state(self) -> bool {
        matches!(self, Self::Tidemill | Self::KafkaStreams)
    }

    /// Whether its latency is measured: to follow a record, each has to have an output, or the
    /// output has to count.
    pub(crate) fn has_latency(self) -> bool {
        self != Self::RawLast
    }

    /// What its output records say.
    pub(crate) fn meaning(self) -> Meaning {
        if self.has_state() { Meaning::Balance } else { Meaning::Change }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A form of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Job {
    /// The input's key is the account: one sub-topology.
    Keyed,
    /// The input has no key: a repartition topic between two sub-topologies.
    Repartition,
}

impl Job {
    pub(crate) const ALL: [Self; 2] = [Self::Keyed, Self::Repartition];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keyed => "keyed",
            Self::Repartition => "repartition",
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The flags of one start of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) bootstrap_servers: String,
    pub(crate) application_id: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) input: String,
    pub(crate) output: String,
    pub(crate) job: Job,
    pub(crate) commit_interval_ms: u64,
    /// The one core that it may use, if there is only one.
    pub(crate) core: Option<usize>,
}

/// Knows the command of each system. The Rust ones are this program.
#[derive(Debug)]
pub(crate) struct Programs {
    java: Option<Vec<String>>,
    this: PathBuf,
}

impl Programs {
    /// Builds the Java program if it is among the systems.
    pub(crate) fn prepare(systems: &[System]) -> Result<Self, BoxError> {
        let java = systems.contains(&System::KafkaStreams).then(java_command).transpose()?;
        Ok(Self { java, this: std::env::current_exe()? })
    }

    /// Returns the command that becomes the worker: its pid is the worker's.
    pub(crate) fn command(&self, system: System, start: &Start) -> Command {
        let mut words = Vec::new();
        if let Some(core) = start.core {
            words.extend(["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
        }
        match (&self.java, system) {
            (Some(java), System::KafkaStreams) => words.extend(java.iter().cloned()),
            _ => {
                let this = self.this.to_string_lossy().into_owned();
                words.extend([this, "worker".to_owned(), system.to_string()]);
            }
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["--bootstrap-servers", &start.bootstrap_servers]);
        command.args(["--application-id", &start.application_id]);
        command.arg("--state-dir").arg(&start.state_dir);
        command.args(["--input", &start.input, "--output", &start.output]);
        command.args(["--commit-interval-ms", &start.commit_interval_ms.to_string()]);
        if start.job == Job::Repartition {
            command.arg("--repartition");
        }
        if system == System::KafkaStreams {
            // A member without a name does not leave when it closes, and its successor waits for
            // the session time-out.
            command.args(["--set", "group.instance.id=w1"]);
        }
        command
    }
}

/// The Java virtual machine itself, so that its start time is not the script's.
fn java_command() -> Result<Vec<String>, BoxError> {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("java/build");
    let built =
        Command::new(&build).output().map_err(|e| format!("could not run java/build: {e}"))?;
    if !built.status.success() {
        return Err(format!(
            "benches/java/build failed: {}",
            String::from_utf8_lossy(&built.stderr).trim()
        )
        .into());
    }
    let classpath = String::from_utf8(built.stdout)?.trim().to_owned();
    let java = std::env::var_os("JAVA_HOME")
        .map(|home| Path::new(&home).join("bin/java"))
        .filter(|java| java.exists())
        .map_or_else(|| "java".to_owned(), |java| java.to_string_lossy().into_owned());
    let flags = std::env::var("TIDEMILL_BENCH_JAVA_FLAGS")
        .unwrap_or_else(|_| "-Xmx1g -XX:+UseG1GC".to_owned());
    let mut command = vec![java];
    command.extend(flags.split_whitespace().map(str::to_owned));
    command.extend(["-cp".to_owned(), classpath, "tidemill.bench.BalancesBench".to_owned()]);
    Ok(command)
}
