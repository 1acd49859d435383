//! A backlog is drained: how fast it becomes visible, and what that takes.

use std::time::{Duration, Instant};

use tidemill::BoxError;

use crate::backlog;
use crate::process::Worker;
use crate::results::{Metric, Results};
use crate::run::Bench;
use crate::system::System;

/// The slowest system that is still worth waiting for, in events per second.
const RATE_MIN: u32 = 500;
const START_TIMEOUT: Duration = Duration::from_secs(60);
const WAIT: Duration = Duration::from_millis(20);

/// What is wanted of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// How fast it is.
    Rate,
    /// How much memory it takes.
    Memory,
}

/// Writes events, lets the system publish them, and checks what came.
pub(crate) fn measure(
    bench: &Bench<'_>,
    system: System,
    (name, events): (&str, u32),
    purpose: Purpose,
    results: &mut Results,
) -> Result<(), BoxError> {
    let (mut database, worker_options) = bench.prepare(system, name)?;
    let mut reader = bench.reader(system, &worker_options.topic, events)?;
    let before = if system.must_begin_first() {
        let mut worker = bench.start(system, &mut database, &worker_options)?;
        backlog::load(&mut database, system, 0..1, bench.options)?;
        bench.read_until(1, &mut reader, &mut worker, START_TIMEOUT)?;
        drop(worker);
        database.wait_until("SELECT count(*) = 0 FROM pg_stat_replication", START_TIMEOUT)?;
        1
    } else {
        0
    };
    backlog::load(&mut database, system, before..events, bench.options)?;
    let mut worker = Worker::start(system, &worker_options, bench.folder)?;
    let timeout = START_TIMEOUT + Duration::from_secs(u64::from(events / RATE_MIN));
    bench.read_until(before + 1, &mut reader, &mut worker, timeout)?;
    let (began, at_once) = (Instant::now(), reader.seen.distinct);
    bench.read_until(events, &mut reader, &mut worker, timeout)?;
    let last = Instant::now();
    if system.removes_rows() {
        let empty = "SELECT NOT EXISTS (SELECT FROM outbox)";
        database.wait_until(empty, timeout)?;
    }
    let empty = Instant::now();
    let rate = |end: Instant| {
        f64::from(events - at_once) / end.saturating_duration_since(began).as_secs_f64()
    };
    let rss = worker.peak_rss_mib()?;
    match purpose {
        Purpose::Rate => {
            results.add(Metric::Rate, rate(last));
            results.add(Metric::RateToEmpty, rate(empty));
            results.add(Metric::Cpu, worker.cpu_seconds()? / f64::from(events) * 1e6);
            results.add(Metric::Rss, rss);
        }
        Purpose::Memory => {
            results.add(Metric::LargeRate, rate(empty));
            results.add(Metric::LargeRss, rss);
        }
    }
    drop(worker);
    // what came twice comes after what came last
    reader.read(WAIT)?;
    results.verified(&format!("drain of {events}"), &reader.seen);
    bench.clean(system, database, &worker_options)
}
