//! Worker processes: this program run again as `balances`, stopped and killed by its process id.

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tidemill::BoxError;

use crate::job::Job;
use crate::role;

const POLL: Duration = Duration::from_millis(10);
/// Lines of a worker's log that are shown when it failed.
const LOG_LINES_SHOWN: usize = 15;

/// A worker process that can be started again in the same state directory.
#[derive(Debug)]
pub struct WorkerProcess {
    name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    state_dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

impl WorkerProcess {
    /// Prepares a worker of a job. State and log are kept below `folder`.
    ///
    /// # Errors
    /// If the running program is not to be found.
    pub fn new(
        name: &str,
        (servers, job): (&str, &Job),
        folder: &Path,
        more: &[String],
    ) -> Result<Self, BoxError> {
        let state_dir = folder.join(name);
        let flags = [
            ("--bootstrap-servers", servers),
            ("--application-id", &job.application_id),
            ("--input", &job.input),
            ("--output", &job.output),
            ("--dead-letters", &job.dead_letters),
        ];
        let mut arguments = vec![role::WORKER.to_owned()];
        for (name, value) in flags {
            arguments.extend([name.to_owned(), value.to_owned()]);
        }
        arguments.extend(["--state-dir".to_owned(), state_dir.display().to_string()]);
        arguments.extend_from_slice(more);
        Ok(Self {
            name: name.to_owned(),
            binary: std::env::current_exe()?,
            arguments,
            state_dir,
            log: folder.join(format!("{name}.log")),
            child: None,
        })
    }

    /// Returns the worker's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the value of its `--state-dir`.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Returns the file that collects what it logs, over all its starts.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it, with these variables in its environment.
    ///
    /// # Errors
    /// If it runs already or can't be started.
    pub fn start(&mut self, variables: &[(&str, &str)]) -> Result<(), BoxError> {
        if self.child.is_some() {
            return Err(format!("worker {} runs already", self.name).into());
        }
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.binary)
            .args(&self.arguments)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("could not start {}: {error}", self.binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, signal: Signal) -> Result<(), BoxError> {
        let child = self.child.as_ref().ok_or("the worker does not run")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// Ends it by SIGKILL, wherever it is, and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended by itself.
    pub fn kill(&mut self) -> Result<(), BoxError> {
        self.check_running()?;
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to stop by SIGTERM and waits until it has.
    ///
    /// # Errors
    /// If it takes longer than `timeout`, or its exit status is not 0.
    pub fn stop(&mut self, timeout: Duration) -> Result<(), BoxError> {
        self.check_running()?;
        self.signal(Signal::TERM)?;
        match self.wait(timeout)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(self.failure(&format!("ended with {status} after SIGTERM"))),
            None => Err(self.failure(&format!("did not end within {timeout:?} of SIGTERM"))),
        }
    }

    /// Waits until it ends, at most that long. `None`: it still runs.
    ///
    /// # Errors
    /// If it does not run.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>, BoxError> {
        let deadline = Instant::now() + timeout;
        let child = self.child.as_mut().ok_or("the worker does not run")?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Returns true if it ended by SIGKILL, which no program does to itself but at a fail point.
    ///
    /// # Errors
    /// If it ended in another way.
    pub fn was_killed(&mut self) -> Result<bool, BoxError> {
        let Some(child) = self.child.as_mut() else { return Ok(false) };
        let Some(status) = child.try_wait()? else { return Ok(false) };
        self.child = None;
        if status.signal() == Some(Signal::KILL.as_raw()) {
            return Ok(true);
        }
        Err(self.failure(&format!("ended by itself with {status}")))
    }

    /// Returns true if it was stopped by SIGSTOP, as a fail point may do to it.
    ///
    /// # Errors
    /// If it does not run, or the system has no `/proc`.
    pub fn is_stopped(&mut self) -> Result<bool, BoxError> {
        self.check_running()?;
        let child = self.child.as_ref().ok_or("the worker does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
        // pid (name) state ..: the name may hold anything
        let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        Ok(state == Some('T'))
    }

    /// Checks that it runs.
    ///
    /// # Errors
    /// If it ended, with the end of its log.
    pub fn check_running(&mut self) -> Result<(), BoxError> {
        let child = self.child.as_mut().ok_or("the worker does not run")?;
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                self.child = None;
                Err(self.failure(&format!("ended by itself with {status}")))
            }
        }
    }

    /// Makes an error of what happened, with the end of the log.
    #[must_use]
    pub fn failure(&self, what: &str) -> BoxError {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
        let tail = lines[shown..].join("\n  | ");
        format!("worker {} {what}; {} ends with\n  | {tail}", self.name, self.log.display()).into()
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // it may have ended meanwhile
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
