//! A worker process, killed with its value, and what Linux tells about it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tidemill::BoxError;

use crate::options::WorkerOptions;
use crate::system::System;

const LOG_LINES: usize = 15;

/// A system at work.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Starts it; what it logs goes to a file in `folder`.
    pub(crate) fn start(
        system: System,
        options: &WorkerOptions,
        folder: &Path,
    ) -> Result<Self, BoxError> {
        let log = folder.join(format!("{system}-{}.log", options.topic));
        let child = Command::new(std::env::current_exe()?)
            .args(["worker", &system.to_string()])
            .args(["--bootstrap-servers", &options.bootstrap_servers])
            .args(["--database", &options.database, "--topic", &options.topic])
            .args(["--batch", &options.batch.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        Ok(Self { child, log })
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), BoxError> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        Err(format!("the worker ended by itself ({status}):\n{tail}").into())
    }

    /// The largest resident memory that it has had, in MiB.
    pub(crate) fn peak_rss_mib(&self) -> Result<f64, BoxError> {
        let pid = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .and_then(|value| value.split_whitespace().next())
            .and_then(|kib| kib.parse::<u32>().ok());
        kib.map(|kib| f64::from(kib) / 1024.0).ok_or_else(|| format!("no VmHWM of {pid}").into())
    }

    /// CPU seconds, user and system, that it has used. Resolution: 10 ms.
    pub(crate) fn cpu_seconds(&self) -> Result<f64, BoxError> {
        // The unit is USER_HZ, 100 on every architecture that we build for.
        const TICKS_PER_SECOND: f64 = 100.0;
        let pid = self.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold spaces; 11 fields lie between it and utime.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut times = fields.split_whitespace().skip(11);
        let mut next = || times.next().and_then(|ticks| ticks.parse::<u32>().ok());
        match (next(), next()) {
            (Some(user), Some(system)) => {
                Ok((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
            }
            _ => Err(format!("/proc/{pid}/stat has an unknown form").into()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // it may have ended meanwhile
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
