//! End-to-end latency at a fixed load: from the instant a record was due to be sent to the instant
//! a read_committed consumer has the first output that includes it.
//!
//! Accounts are used in turn, so the number of transactions in an output tells which input it is
//! the first output of. The clock starts when a record was *due*: a load that falls behind its
//! schedule makes latencies longer, never shorter.

use std::thread;
use std::time::{Duration, Instant};

use tidemill::BoxError;

use crate::host;
use crate::load::{Loader, due_after};
use crate::outcome::OutputReader;
use crate::process::Worker;

/// How long outputs may take after the last record was sent.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
const READY_TIMEOUT: Duration = Duration::from_secs(90);
const WAIT: Duration = Duration::from_millis(20);

/// The load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rate: u32,
    pub(crate) warm_up_seconds: u64,
    pub(crate) seconds: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// CPU seconds of the worker for each million records of the measured time.
    pub(crate) cpu_per_million: f64,
}

/// Sends one record to each account, waits until all of them are out, and then the load; reads the
/// outputs meanwhile.
pub(crate) fn measure(
    worker: &mut Worker,
    loader: &mut Loader,
    reader: &mut OutputReader,
    load: Load,
) -> Result<Latency, BoxError> {
    let accounts = reader.ledger.accounts.len() as u64;
    loader.fill(0..accounts)?;
    let begun = Instant::now();
    while reader.ledger.transactions() < accounts {
        worker.check()?;
        if begun.elapsed() > READY_TIMEOUT {
            return Err(format!("no output of every account within {READY_TIMEOUT:?}").into());
        }
        reader.read(WAIT, &mut |_, _, _| {})?;
    }
    let warm_up = load.warm_up_seconds * u64::from(load.rate);
    let measured = load.seconds * u64::from(load.rate);
    let schedule = Schedule { start: Instant::now(), accounts, warm_up, measured, rate: load.rate };
    let last = accounts + warm_up + measured;
    thread::scope(|scope| {
        let pace = scope.spawn(|| loader.pace(accounts..last, schedule.start, load.rate));
        let taken = take(worker, reader, &schedule, last);
        let paced = pace.join().map_err(|_| "the load died")?;
        let taken = taken?;
        paced?;
        Ok(taken)
    })
}

struct Schedule {
    start: Instant,
    accounts: u64,
    warm_up: u64,
    measured: u64,
    rate: u32,
}

impl Schedule {
    fn due(&self, records: u64) -> Instant {
        self.start + due_after(records, self.rate)
    }
}

fn take(
    worker: &mut Worker,
    reader: &mut OutputReader,
    schedule: &Schedule,
    last: u64,
) -> Result<Latency, BoxError> {
    let mut latencies: Vec<f64> = Vec::with_capacity(usize::try_from(schedule.measured)?);
    let begin = schedule.due(schedule.warm_up);
    let end = schedule.due(schedule.warm_up + schedule.measured);
    let (mut cpu_begin, mut cpu_end) = (None, None);
    while reader.ledger.transactions() < last {
        worker.check()?;
        let now = Instant::now();
        if cpu_begin.is_none() && now >= begin {
            cpu_begin = Some(host::cpu_seconds(worker.pid())?);
        }
        if cpu_end.is_none() && now >= end {
            cpu_end = Some(host::cpu_seconds(worker.pid())?);
        }
        if now > end + DRAIN_TIMEOUT {
            let missing = last - reader.ledger.transactions();
            return Err(format!("{missing} records have no output after {DRAIN_TIMEOUT:?}").into());
        }
        reader.read(WAIT, &mut |account, before, after| {
            let now = Instant::now();
            for turn in before..after {
                let number = turn * schedule.accounts + u64::from(account);
                let Some(record) = number.checked_sub(schedule.accounts) else { continue };
                if record >= schedule.warm_up {
                    let due = schedule.due(record);
                    latencies.push(now.saturating_duration_since(due).as_secs_f64() * 1e3);
                }
            }
        })?;
    }
    let cpu_end = cpu_end.map_or_else(|| host::cpu_seconds(worker.pid()), Ok)?;
    let used = cpu_end - cpu_begin.unwrap_or(cpu_end);
    latencies.sort_unstable_by(f64::total_cmp);
    let at = |permille: usize| {
        latencies.get((latencies.len() * permille / 1_000).min(latencies.len().saturating_sub(1)))
    };
    let of = |permille| at(permille).copied().unwrap_or(f64::NAN);
    Ok(Latency {
        p50_ms: of(500),
        p99_ms: of(990),
        max_ms: of(1_000),
        cpu_per_million: used / f64::from(u32::try_from(schedule.measured)?) * 1e6,
    })
}
