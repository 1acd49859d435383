//! What the services of the examples have in common: a connection that blocks, a topology that runs
//! until its process ends, and the plan by which processes are killed while there is work to do.

use std::time::{Duration, Instant};

use tidemill::topology::Topology;
use tidemill::{BoxError, Config, Tidemill};
use tidemill_connect::postgres::{Connection, connect};
use tokio::runtime::Runtime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::stage::{Part, Setting};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

/// A connection to a database whose calls block.
#[derive(Debug)]
pub struct Database {
    // goes before the runtime that drives it
    client: Connection,
    runtime: Runtime,
}

impl Database {
    /// Connects; `url` is what `tokio_postgres::Config` is parsed from.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn open(url: &str) -> Result<Self, BoxError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async { connect(&url.parse()?).await })?;
        Ok(Self { client, runtime })
    }

    /// Runs an asynchronous call on the connection.
    ///
    /// # Errors
    /// As the call.
    pub fn run<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Connection) -> Result<T, BoxError>,
    ) -> Result<T, BoxError> {
        let Self { client, runtime } = self;
        runtime.block_on(call(client))
    }

    /// Runs statements that take no parameters.
    ///
    /// # Errors
    /// As PostgreSQL says.
    pub fn batch(&mut self, statements: &str) -> Result<(), BoxError> {
        self.run(async |client| Ok(client.batch_execute(statements).await?))
    }

    /// Returns the rows of a query.
    ///
    /// # Errors
    /// As PostgreSQL says.
    pub fn rows(
        &mut self,
        query: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, BoxError> {
        self.run(async |client| Ok(client.query(query, parameters).await?))
    }

    /// Returns the number that a query without parameters yields.
    ///
    /// # Errors
    /// If it does not yield one, or as PostgreSQL says.
    pub fn number(&mut self, query: &str) -> Result<i64, BoxError> {
        self.run(async |client| Ok(client.query_one(query, &[]).await?.try_get(0)?))
    }
}

/// Runs a topology exactly once until the process is killed, with its state in the stage's folder.
///
/// # Errors
/// If it can't go on.
pub fn run_topology(
    setting: &Setting,
    application: &str,
    topology: Topology,
) -> Result<(), BoxError> {
    let config =
        Config::new(application, &*setting.kafka).with_state_dir(setting.folder.join(application));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(async { Tidemill::new(topology, config)?.run().await })?)
}

/// How often processes are killed, spread over a piece of work.
#[derive(Debug)]
pub struct Kills {
    planned: u32,
    done: u32,
    random: fastrand::Rng,
}

impl Kills {
    /// Plans so many.
    #[must_use]
    pub fn plan(planned: u32, seed: u64) -> Self {
        Self { planned, done: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// Returns how many were killed so far.
    #[must_use]
    pub fn done(&self) -> u32 {
        self.done
    }

    /// Kills parts by SIGKILL, one by one at random, and starts each again, until `progress` has
    /// come to `end`.
    ///
    /// # Errors
    /// If a part ended by itself, or the work takes too long.
    pub fn until_done(
        &mut self,
        parts: &mut [Part],
        end: u64,
        mut progress: impl FnMut() -> Result<u64, BoxError>,
    ) -> Result<(), BoxError> {
        let begun = Instant::now();
        let step = end / u64::from(self.planned + 1);
        loop {
            let now = progress()?;
            if now >= end {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{now} of {end} within {PATIENCE:?}").into());
            }
            for part in parts.iter_mut() {
                part.check_running()?;
            }
            if self.done < self.planned && now >= step * u64::from(self.done + 1) {
                // anywhere in what they do
                std::thread::sleep(Duration::from_micros(self.random.u64(0..5_000)));
                parts[self.random.usize(0..parts.len())].kill_and_restart()?;
                self.done += 1;
            } else {
                std::thread::sleep(POLL);
            }
        }
    }
}

/// Waits until `look` says yes, while the parts run.
///
/// # Errors
/// If a part ended by itself, or it takes too long.
pub fn wait_until(
    what: &str,
    parts: &mut [Part],
    mut look: impl FnMut() -> Result<bool, BoxError>,
) -> Result<(), BoxError> {
    let begun = Instant::now();
    while !look()? {
        for part in parts.iter_mut() {
            part.check_running()?;
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("waited {PATIENCE:?} in vain for {what}").into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
