//! From the return of the service's commit to the instant at which a read_committed consumer has
//! the event, at a modest rate.

use std::thread;
use std::time::{Duration, Instant};

use tidemill::BoxError;

use crate::database::Database;
use crate::results::{Metric, Results};
use crate::run::Bench;
use crate::system::System;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Events before those that count, the first of them before all others: connections are made,
/// statements prepared.
const WARM_UP: u32 = 20;

/// Writes events one by one and notes when each came.
pub(crate) fn measure(
    bench: &Bench<'_>,
    system: System,
    name: &str,
    results: &mut Results,
) -> Result<(), BoxError> {
    let options = bench.options;
    let events = WARM_UP + options.rate * options.latency_seconds();
    let (mut database, worker_options) = bench.prepare(system, name)?;
    let mut reader = bench.reader(system, &worker_options.topic, events)?;
    let mut worker = bench.start(system, &mut database, &worker_options)?;
    let insert = system.insert(options.aggregates, options.payload_bytes);
    database.batch(&format!("{insert}(0, 0) AS i"))?;
    bench.read_until(1, &mut reader, &mut worker, TIMEOUT)?;
    let url = database.url.clone();
    let rate = options.rate;
    let writer = thread::spawn(move || write(&url, &insert, events, rate));
    let timeout = TIMEOUT + Duration::from_secs(u64::from(options.latency_seconds()));
    bench.read_until(events, &mut reader, &mut worker, timeout)?;
    let committed = writer.join().map_err(|_| "the writer died")??;
    let counted = committed.iter().zip(&reader.seen.at).skip(usize::try_from(WARM_UP)?);
    let mut latencies: Vec<f64> = counted
        .filter_map(|(committed, seen)| {
            // it may be seen before the service has the answer to its commit
            Some((*seen)?.saturating_duration_since(*committed).as_secs_f64() * 1e3)
        })
        .collect();
    latencies.sort_unstable_by(f64::total_cmp);
    let at = |permille: usize| {
        let place = (latencies.len() * permille / 1_000).min(latencies.len().saturating_sub(1));
        latencies.get(place).copied().unwrap_or(f64::NAN)
    };
    results.add(Metric::LatencyP50, at(500));
    results.add(Metric::LatencyP99, at(990));
    results.add(Metric::LatencyMax, at(1_000));
    drop(worker);
    results.verified("latency", &reader.seen);
    bench.clean(system, database, &worker_options)
}

/// Writes all events but the first, and returns when each was committed.
fn write(url: &str, insert: &str, events: u32, rate: u32) -> Result<Vec<Instant>, BoxError> {
    let mut database = Database::open(url)?;
    let insert = format!("{insert}($1::int, $1::int) AS i");
    let statement = database.run(async |client| Ok(client.prepare(&insert).await?))?;
    let start = Instant::now();
    let mut committed = Vec::with_capacity(usize::try_from(events)?);
    committed.push(start);
    for number in 1..events {
        let due = start + Duration::from_secs(u64::from(number)) / rate.max(1);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let number = i32::try_from(number)?;
        database.run(async |client| Ok(client.execute(&statement, &[&number]).await?))?;
        committed.push(Instant::now());
    }
    Ok(committed)
}
