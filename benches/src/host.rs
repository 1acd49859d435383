//! What Linux tells about this machine and about processes: CPU time, memory, cores.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use tidemill::BoxError;

use crate::options::Pin;

/// CPU seconds, user and system, that a process has used. Resolution: 10 ms.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, BoxError> {
    // The unit is USER_HZ, 100 on every architecture that we build for.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; 11 fields lie between it and utime.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut times = fields.split_whitespace().skip(11);
    let mut next = || times.next().and_then(|ticks| ticks.parse::<u32>().ok());
    match (next(), next()) {
        (Some(user), Some(system)) => Ok((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND),
        _ => Err(format!("/proc/{pid}/stat has an unknown form").into()),
    }
}

/// The largest resident memory that a process has had, in MiB.
pub(crate) fn peak_rss_mib(pid: u32) -> Result<f64, BoxError> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|value| value.split_whitespace().next())
        .and_then(|kib| kib.parse::<u32>().ok());
    kib.map(|kib| f64::from(kib) / 1024.0).ok_or_else(|| format!("no VmHWM of {pid}").into())
}

/// This machine, without its name.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) cores: usize,
    /// E.g. `AMD EPYC`.
    pub(crate) cpu: String,
    pub(crate) load_average: f64,
}

impl Host {
    /// To be called before anything is pinned: the cores are those that this process may use.
    pub(crate) fn look() -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = text
            .lines()
            .find_map(|line| line.strip_prefix("model name"))
            .and_then(|line| line.split_once(':'))
            .map_or_else(|| "unknown CPU".to_owned(), |(_, model)| model.trim().to_owned());
        let cores = available_parallelism().map_or(1, usize::from);
        Self { cores, cpu, load_average: load_average() }
    }

    /// Names the kind of machine for a folder, e.g. `2x-amd-epyc`.
    pub(crate) fn kind(&self) -> String {
        let lower = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
        let words: String = self.cpu.chars().map(lower).collect();
        let words: Vec<&str> = words.split_whitespace().collect();
        format!("{}x-{}", self.cores, words.join("-"))
    }
}

/// The load average of the last minute: more than what we cause means foreign work.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// The pid of the broker in this folder.
pub(crate) fn broker_pid(dir: &Path) -> Option<u32> {
    std::fs::read_to_string(dir.join("pid")).ok()?.trim().parse().ok()
}

/// Who runs on which core.
#[derive(Debug)]
pub(crate) struct Pinning {
    cores: usize,
    broker: Option<u32>,
    /// The workers' core, if there is pinning.
    pub(crate) worker: Option<usize>,
}

impl Pinning {
    pub(crate) fn new(pin: Pin, cores: usize, broker: Option<u32>) -> Result<Self, BoxError> {
        let worker = match pin {
            Pin::Off => None,
            Pin::On if cores < 2 => return Err("--pin on needs two cores".into()),
            Pin::On => Some(cores - 1),
            // With more cores the choice is the user's.
            Pin::Auto => (cores == 2 && broker.is_some() && has_taskset()).then_some(1),
        };
        Ok(Self { cores, broker, worker })
    }

    /// Gives the last core to the workers and the others to harness and broker.
    pub(crate) fn pin(&self) -> Result<(), BoxError> {
        self.allow(self.worker.map(|last| format!("0-{}", last - 1)))
    }

    /// Lets everybody run everywhere.
    pub(crate) fn lift(&self) -> Result<(), BoxError> {
        self.allow(self.worker.map(|_| format!("0-{}", self.cores - 1)))
    }

    fn allow(&self, cores: Option<String>) -> Result<(), BoxError> {
        let Some(cores) = cores else { return Ok(()) };
        set_cores(&cores, std::process::id())?;
        self.broker.map_or(Ok(()), |broker| set_cores(&cores, broker))
    }
}

fn has_taskset() -> bool {
    Command::new("taskset").arg("--version").stdout(Stdio::null()).status().is_ok()
}

fn set_cores(cores: &str, pid: u32) -> Result<(), BoxError> {
    let status = Command::new("taskset")
        .args(["-a", "-c", "-p", cores, &pid.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("taskset refused process {pid}").into()) }
}
