//! What a system asks of the database while nothing happens, by PostgreSQL's own statistics.

use std::thread;
use std::time::Duration;

use tidemill::BoxError;

use crate::results::{Metric, Results};
use crate::run::Bench;
use crate::system::System;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Pollers that wait longer and longer are at their longest by then.
const SETTLED: Duration = Duration::from_secs(1);

/// Lets one event pass, and watches the database for some seconds.
pub(crate) fn measure(
    bench: &Bench<'_>,
    system: System,
    name: &str,
    results: &mut Results,
) -> Result<(), BoxError> {
    if !system.polls() {
        return Ok(());
    }
    let options = bench.options;
    let (mut database, worker_options) = bench.prepare(system, name)?;
    // for sessions that begin after this
    let this: String = database.row("SELECT quote_ident(current_database())", &[])?.try_get(0)?;
    database.batch(&format!(
        "CREATE EXTENSION pg_stat_statements;
         ALTER DATABASE {this} SET pg_stat_statements.track = 'all';
         ALTER DATABASE {this} SET pg_stat_statements.track_planning = on"
    ))?;
    let mut reader = bench.reader(system, &worker_options.topic, 1)?;
    let mut worker = bench.start(system, &mut database, &worker_options)?;
    let insert = system.insert(options.aggregates, options.payload_bytes);
    database.batch(&format!("{insert}(0, 0) AS i"))?;
    bench.read_until(1, &mut reader, &mut worker, TIMEOUT)?;
    database.wait_until("SELECT NOT EXISTS (SELECT FROM outbox)", TIMEOUT)?;
    thread::sleep(SETTLED);
    let seconds = options.idle_seconds();
    // this session began before tracking did: what it asks is not counted
    database.batch("SELECT pg_stat_statements_reset()")?;
    thread::sleep(Duration::from_secs(u64::from(seconds)));
    bench.check(&mut worker)?;
    let row = database.row(
        "SELECT coalesce(max(calls), 0)::float8,
                coalesce(sum(total_exec_time + total_plan_time), 0)::float8
           FROM pg_stat_statements
          WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        &[],
    )?;
    let (polls, millis): (f64, f64) = (row.try_get(0)?, row.try_get(1)?);
    results.add(Metric::IdlePolls, polls / f64::from(seconds));
    results.add(Metric::IdlePoll, millis / polls);
    results.add(Metric::IdleLoad, millis / f64::from(seconds) / 10.0);
    drop(worker);
    bench.clean(system, database, &worker_options)
}
