//! Processes of a test: the test's own program run again, with one of its tests as its body.

use std::io;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const POLL: Duration = Duration::from_millis(5);

/// A process that runs one ignored test of this program. Ended by SIGKILL with this value.
///
/// Its body is a test like
///
/// ```ignore
/// #[test]
/// #[ignore = "the body of a process that other tests start"]
/// fn relay_process() { .. std::env::var("RELAY_DATABASE") .. }
/// ```
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
}

impl Child {
    /// Starts the process: `test` is the full name, modules included.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn start(test: &str, variables: &[(&str, &str)]) -> io::Result<Self> {
        let process = Command::new(std::env::current_exe()?)
            .args(["--ignored", "--exact", test, "--nocapture", "--test-threads=1"])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { process })
    }

    /// Ends it by SIGKILL, wherever it is, and waits until it is gone.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }

    /// Whether it stands still: it was sent a SIGSTOP, or met a fail point that says `stop`.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn is_stopped(&self) -> io::Result<bool> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // the name before the state may hold anything
        Ok(stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
    }

    /// Returns how it ended, if it did.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits until it has ended, at most that long.
    ///
    /// # Errors
    /// If it takes longer.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("the process runs on after {timeout:?}")));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // it may have ended meanwhile
        let _ = self.kill();
    }
}
