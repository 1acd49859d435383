//! Workers as processes of their own: this test binary, run again for one "test" that is a worker.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use tidemill::topology::Topology;
use tidemill::{StreamThreadExceptionResponse, Tidemill};

use super::ledger::Spec;
use super::{unique, until};

const SPEC: &str = "TIDEMILL_TEST_WORKER";

/// The body of the other process.
#[test]
#[ignore = "a worker that other tests run as a process of its own"]
fn worker() {
    run_worker(Spec::topology);
}

/// Runs a topology made of the specification that the process was started with.
pub(crate) fn run_worker(topology: impl FnOnce(&Spec) -> Topology) {
    let spec = std::env::var(SPEC).expect("only tests run this, with a specification");
    let spec: Spec = serde_json::from_str(&spec).unwrap();
    tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let replace = spec.replace;
    let app = Tidemill::new(topology(&spec), spec.config()).unwrap();
    let app = app.with_uncaught_exception_handler(move |_| {
        if replace {
            StreamThreadExceptionResponse::ReplaceThread
        } else {
            StreamThreadExceptionResponse::ShutdownClient
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Err(error) = runtime.block_on(app.run()) {
        tracing::error!(%error, "the application failed");
        panic!("{error}");
    }
}

/// A process that is ended with the test.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a worker. `failpoint`: `<name>:<n>:<action>`.
    pub(crate) fn start(spec: &Spec, failpoint: Option<&str>) -> Self {
        Self::start_test("support::process::worker", spec, failpoint)
    }

    /// Starts a worker whose body is another test of this binary.
    pub(crate) fn start_test(test: &str, spec: &Spec, failpoint: Option<&str>) -> Self {
        let log = spec.state_dir.with_file_name(unique("worker")).with_extension("log");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "--nocapture", test])
            .env(SPEC, serde_json::to_string(spec).unwrap())
            .env_remove("TIDEMILL_TEST_FAILPOINT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        if let Some(failpoint) = failpoint {
            command.env("TIDEMILL_TEST_FAILPOINT", failpoint);
        }
        Self { child: command.spawn().unwrap(), log }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Returns how it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn until_ended(&mut self) -> ExitStatus {
        until("the process to end", || self.child.try_wait().unwrap())
    }

    /// Waits until its log has this text.
    pub(crate) fn until_logged(&mut self, text: &str) {
        until(&format!("'{text}' in the log"), || {
            let log = self.log();
            if log.contains(text) {
                return Some(());
            }
            assert_eq!(self.ended(), None, "it ended before it logged '{text}'");
            None
        });
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, e.g. `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.unwrap().success(), "could not send SIG{name}");
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it by SIGTERM; it has to end well.
    pub(crate) fn stop(&mut self) {
        self.signal("TERM");
        let status = self.until_ended();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "shown by the test harness when the test fails")]
    fn drop(&mut self) {
        // a stopped process is killed, too; one that ended is only collected
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of process {}:\n{}", self.id(), self.log());
        }
    }
}
