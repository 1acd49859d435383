//! A stage for programs that show services with databases: an embedded broker and a throw-away
//! PostgreSQL, and *parts*, services that are processes of their own, so that killing one is real.
//!
//! A program with parts begins with [`main`]: it runs itself again for its broker and its parts.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tidemill::BoxError;
use tidemill::client::ClientConfig;
use tidemill_connect::testing::{PgOptions, PgServer};
use tracing_subscriber::EnvFilter;

use crate::cluster::Cluster;
use crate::embedded::EmbeddedBroker;
use crate::{report, role};

/// First argument of a process that is a part.
const PART: &str = "run-as-part";
const POLL: Duration = Duration::from_millis(5);
/// Lines of a part's log that are shown when it failed.
const LOG_LINES_SHOWN: usize = 15;

/// The body of a part: runs until its process is ended, or returns when its work is done.
pub type Body = fn(&Setting) -> Result<(), BoxError>;

/// Where a part finds the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `host:port` of the broker.
    pub kafka: String,
    /// What `tokio_postgres::Config` is parsed from.
    pub database: String,
    /// A folder for whatever the parts keep on disk.
    pub folder: PathBuf,
    /// What the program tells its parts beside that.
    pub options: BTreeMap<String, String>,
}

impl Setting {
    /// Returns the options of a Kafka client.
    #[must_use]
    pub fn clients(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &*self.kafka);
        config
    }

    /// Returns an option.
    ///
    /// # Errors
    /// If the part was not told.
    pub fn option(&self, name: &str) -> Result<&str, BoxError> {
        let option = self.options.get(name).map(String::as_str);
        option.ok_or_else(|| format!("the part was not told its {name}").into())
    }

    /// Adds an option.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.options.insert(name.to_owned(), value.to_string());
        self
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments =
            vec![self.kafka.clone(), self.database.clone(), self.folder.display().to_string()];
        for (name, value) in &self.options {
            arguments.push(format!("{name}={value}"));
        }
        arguments
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let (kafka, database) = (arguments.next()?, arguments.next()?);
        let folder = PathBuf::from(arguments.next()?);
        let option = |text: String| {
            let (name, value) = text.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let options = arguments.map(option).collect::<Option<_>>()?;
        Some(Self { kafka, database, folder, options })
    }
}

/// Runs a program: as the broker or one of the parts if its arguments say so, else its own body,
/// which returns whether what it verified is right.
pub fn main(
    program: &str,
    parts: &[(&str, Body)],
    body: impl FnOnce() -> Result<bool, BoxError>,
) -> ExitCode {
    if let Some(ended) = role::play() {
        return ended;
    }
    let mut arguments = std::env::args().skip(1);
    let outcome = if arguments.next().as_deref() == Some(PART) {
        play(parts, arguments).map(|()| true)
    } else {
        body()
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::error(program, &*error);
            ExitCode::FAILURE
        }
    }
}

fn play(
    parts: &[(&str, Body)],
    mut arguments: impl Iterator<Item = String>,
) -> Result<(), BoxError> {
    let name = arguments.next().unwrap_or_default();
    let (_, body) = parts.iter().find(|(part, _)| *part == name).ok_or("no part of that name")?;
    let setting = Setting::parse(arguments).ok_or("arguments of a part are missing")?;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    // nothing is ever written there: a part ends when the program that started it does
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    body(&setting)
}

/// The servers of a program.
#[derive(Debug)]
pub struct Stage {
    // in the order in which they go: the folder last
    broker: EmbeddedBroker,
    postgres: PgServer,
    setting: Setting,
    folder: TempDir,
}

impl Stage {
    /// Starts an embedded broker and a PostgreSQL with an empty database.
    ///
    /// # Errors
    /// If one of them does not start.
    pub fn set() -> Result<Self, BoxError> {
        Self::with_postgres(PgOptions::default())
    }

    /// The same, with settings for PostgreSQL.
    ///
    /// # Errors
    /// If one of them does not start.
    pub fn with_postgres(options: PgOptions) -> Result<Self, BoxError> {
        let folder = tempfile::Builder::new().prefix("tidemill-stage.").tempdir()?;
        let broker = EmbeddedBroker::start(&folder.path().join("broker"))?;
        let postgres = PgServer::start(options)?;
        let database = postgres.new_database("service")?;
        let setting = Setting {
            kafka: broker.address().to_owned(),
            database,
            folder: folder.path().to_owned(),
            options: BTreeMap::new(),
        };
        Ok(Self { broker, postgres, setting, folder })
    }

    /// Returns where everything is.
    #[must_use]
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Returns the folder, which goes with the stage.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the broker, to be killed.
    pub fn broker(&mut self) -> &mut EmbeddedBroker {
        &mut self.broker
    }

    /// Returns the database server, to be killed or given more databases.
    pub fn postgres(&mut self) -> &mut PgServer {
        &mut self.postgres
    }

    /// Connects to the broker.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn cluster(&self) -> Result<Cluster, BoxError> {
        Cluster::at(&self.setting.kafka)
    }

    /// Starts a part of the program; `name` finds its body, `log` names its log's file.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn part(&self, name: &str, log: &str, setting: &Setting) -> Result<Part, BoxError> {
        Part::start(name, &self.folder.path().join(format!("{log}.log")), setting)
    }
}

/// A service as a process of its own, ended by SIGKILL with this value.
#[derive(Debug)]
pub struct Part {
    name: String,
    log: PathBuf,
    setting: Setting,
    child: Child,
}

impl Part {
    fn start(name: &str, log: &Path, setting: &Setting) -> Result<Self, BoxError> {
        let child = launch(name, log, setting)?;
        Ok(Self { name: name.to_owned(), log: log.to_owned(), setting: setting.clone(), child })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends it by SIGKILL, wherever it is, and starts it again.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub fn kill_and_restart(&mut self) -> Result<(), BoxError> {
        self.kill()?;
        self.child = launch(&self.name, &self.log, &self.setting)?;
        Ok(())
    }

    /// Ends it by SIGKILL, wherever it is, and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub fn kill(&mut self) -> Result<(), BoxError> {
        self.check_running()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), BoxError> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Checks that it runs.
    ///
    /// # Errors
    /// If it ended, with the end of its log.
    pub fn check_running(&mut self) -> Result<(), BoxError> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.failure(&format!("ended by itself with {status}"))),
        }
    }

    /// Waits until it has done its work and ended by itself.
    ///
    /// # Errors
    /// If it takes longer than `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, BoxError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(self.failure(&format!("did not end within {timeout:?}")));
            }
            std::thread::sleep(POLL);
        }
    }

    fn failure(&self, what: &str) -> BoxError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n  | ");
        format!("part {} {what}; its log ends with\n  | {tail}", self.name).into()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // it may have ended meanwhile
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(name: &str, log: &Path, setting: &Setting) -> Result<Child, BoxError> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let child = Command::new(std::env::current_exe()?)
        .args([PART, name])
        .args(setting.arguments())
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(child)
}
