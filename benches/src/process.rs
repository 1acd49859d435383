//! A worker process: started, listened to, stopped by its pid.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tidemill::BoxError;

use crate::interrupt;

const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const LOG_LINES: usize = 15;

/// A line of a worker's standard output; see benches/java/README.md.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    pub(crate) event: String,
    #[serde(default)]
    pub(crate) state: Option<String>,
    #[serde(default)]
    pub(crate) restored: Option<u64>,
    #[serde(default)]
    pub(crate) restore_ms: Option<u64>,
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// A worker process. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    started: Instant,
    events: Receiver<(Instant, Event)>,
    log: PathBuf,
}

impl Worker {
    /// Starts it; what it logs goes to a file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self, BoxError> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log)?);
        let started = Instant::now();
        let mut child = command
            .spawn()
            .map_err(|e| format!("could not start {}: {e}", command.get_program().display()))?;
        let output = child.stdout.take().expect("it was piped");
        let (sender, events) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Ok(event) = serde_json::from_str(&line) {
                    // The harness may have lost interest; the pipe is emptied all the same.
                    let _ = sender.send((Instant::now(), event));
                }
            }
        });
        Ok(Self { child, started, events, log: log.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Returns an event that is there, if any.
    pub(crate) fn event(&self) -> Option<(Instant, Event)> {
        self.events.try_recv().ok()
    }

    /// Fails if the worker has ended, or the harness was asked to.
    pub(crate) fn check(&mut self) -> Result<(), BoxError> {
        interrupt::check()?;
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                Err(format!("the worker ended by itself ({status}):\n{}", self.told()).into())
            }
        }
    }

    /// The end of its log.
    fn told(&self) -> String {
        let errors: Vec<String> =
            self.events.try_iter().filter_map(|(_, event)| event.error).collect();
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("{}\n{}", errors.join("\n"), tail.join("\n"))
    }

    /// Stops it in order and waits.
    pub(crate) fn stop(mut self) -> Result<(), BoxError> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(format!("the worker stopped with {status}:\n{}", self.told()).into())
                };
            }
            interrupt::check()?;
            thread::sleep(Duration::from_millis(10));
        }
        Err(format!("the worker did not stop within {STOP_TIMEOUT:?}:\n{}", self.told()).into())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing to do about it if it has gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
