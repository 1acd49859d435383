//! One run: all systems, on one PostgreSQL and one broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill_connect::testing::{PgOptions, PgServer};
use tidemill_examples::cluster::Cluster;
use tidemill_examples::embedded::EmbeddedBroker;
use tidemill_examples::interrupt::Interrupt;

use crate::database::Database;
use crate::drain::{self, Purpose};
use crate::options::{BenchOptions, WorkerOptions};
use crate::process::Worker;
use crate::reader::Reader;
use crate::results::Results;
use crate::system::System;
use crate::{backlog, idle, latency, relay, say};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const READ_WAIT: Duration = Duration::from_millis(20);

/// What every measurement needs.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a BenchOptions,
    pub(crate) folder: &'a Path,
    servers: String,
    cluster: Cluster,
    postgres: PgServer,
    interrupt: Interrupt,
}

/// Measures, prints and saves. Returns whether every result was right.
pub(crate) fn run(options: &BenchOptions) -> Result<bool, BoxError> {
    let interrupt = Interrupt::catch()?;
    let folder = tempfile::Builder::new().prefix("tidemill-bench.").tempdir()?;
    let embedded = match options.bootstrap_servers {
        Some(_) => None,
        None => Some(EmbeddedBroker::start(&folder.path().join("broker"))?),
    };
    let given = options.bootstrap_servers.as_deref();
    let servers = embedded.as_ref().map(EmbeddedBroker::address).or(given).unwrap_or_default();
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let postgres = PgServer::start(PgOptions {
        settings: vec![
            setting("shared_preload_libraries", "pg_stat_statements"),
            setting("pg_stat_statements.track", "none"),
            setting("shared_buffers", "256MB"),
            setting("max_wal_size", "4GB"),
        ],
    })?;
    let cluster = Cluster::at(servers)?;
    let bench = Bench {
        options,
        folder: folder.path(),
        servers: servers.to_owned(),
        cluster,
        postgres,
        interrupt,
    };
    let mut results = Results::new();
    bench.measure(&mut results)?;
    let text = results.summary(&bench.conditions(embedded.is_some())?, options.smoke);
    print(&text)?;
    if let Some(folder) = results_folder(options) {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("connect.csv"), results.csv())?;
        std::fs::write(folder.join("connect.md"), text)?;
        say(&format!("saved in {}", folder.display()));
    }
    Ok(results.wrong.is_empty())
}

impl Bench<'_> {
    fn measure(&self, results: &mut Results) -> Result<(), BoxError> {
        let options = self.options;
        if let Some(first) = options.systems.first() {
            say("warming up");
            let mut ignored = Results::new();
            let events = options.events() / 10;
            drain::measure(self, *first, ("warm-up", events), Purpose::Rate, &mut ignored)?;
        }
        for round in 1..=options.rounds() {
            // not always the same one first
            let mut systems = options.systems.clone();
            let turn = usize::try_from(round - 1)? % systems.len().max(1);
            systems.rotate_left(turn);
            for system in systems {
                results.about(round, system);
                let from = results.rows.len();
                let name = format!("r{round}-{system}");
                let drained = (&*format!("{name}-drain"), options.events());
                drain::measure(self, system, drained, Purpose::Rate, results)?;
                if options.latency_seconds() > 0 {
                    latency::measure(self, system, &format!("{name}-latency"), results)?;
                }
                idle::measure(self, system, &format!("{name}-idle"), results)?;
                say(&format!("round {round}, {system}: {}", results.told(from)));
            }
        }
        for system in options.systems.iter().copied().filter(|_| options.backlog() > 0) {
            results.about(1, system);
            let from = results.rows.len();
            let large = (&*format!("large-{system}"), options.backlog());
            drain::measure(self, system, large, Purpose::Memory, results)?;
            say(&format!("large backlog, {system}: {}", results.told(from)));
        }
        Ok(())
    }

    /// Makes a database and a topic for one measurement.
    pub(crate) fn prepare(
        &self,
        system: System,
        name: &str,
    ) -> Result<(Database, WorkerOptions), BoxError> {
        let mut database = Database::create(&self.postgres, name)?;
        let options = WorkerOptions {
            bootstrap_servers: self.servers.clone(),
            database: database.url.clone(),
            topic: name.to_owned(),
            batch: self.options.batch,
        };
        self.cluster.create_topics(&[name], self.options.partitions)?;
        system.prepare(&mut database, &options)?;
        Ok((database, options))
    }

    pub(crate) fn reader(
        &self,
        system: System,
        topic: &str,
        events: u32,
    ) -> Result<Reader, BoxError> {
        let topic = (topic, self.options.partitions);
        Reader::new(&self.servers, topic, system, (events, self.options.aggregates))
    }

    /// Starts a system that has nothing to do yet, and waits until it would notice changes.
    pub(crate) fn start(
        &self,
        system: System,
        database: &mut Database,
        options: &WorkerOptions,
    ) -> Result<Worker, BoxError> {
        let worker = Worker::start(system, options, self.folder)?;
        if system.must_begin_first() {
            let streams = "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'";
            database.wait_until(streams, START_TIMEOUT)?;
        }
        Ok(worker)
    }

    /// Reads until so many events came.
    pub(crate) fn read_until(
        &self,
        events: u32,
        reader: &mut Reader,
        worker: &mut Worker,
        timeout: Duration,
    ) -> Result<(), BoxError> {
        let begun = Instant::now();
        while reader.seen.distinct < events {
            self.check(worker)?;
            if begun.elapsed() > timeout {
                let came = reader.seen.distinct;
                return Err(format!("{came} of {events} events came within {timeout:?}").into());
            }
            reader.read(READ_WAIT)?;
        }
        Ok(())
    }

    /// Fails if the worker has ended, or the harness was asked to.
    pub(crate) fn check(&self, worker: &mut Worker) -> Result<(), BoxError> {
        self.interrupt.check()?;
        worker.check()
    }

    /// Frees disk and page cache for the next one.
    pub(crate) fn clean(
        &self,
        system: System,
        database: Database,
        options: &WorkerOptions,
    ) -> Result<(), BoxError> {
        database.drop_it(&self.postgres)?;
        self.cluster.delete_topics(&[&options.topic])?;
        if system == System::Plain {
            return Ok(());
        }
        self.cluster.delete_topics(&[&relay::positions_topic(options)])
    }

    fn conditions(&self, embedded: bool) -> Result<Vec<String>, BoxError> {
        let options = self.options;
        let version = Command::new(self.postgres.binaries().join("postgres"))
            .arg("--version")
            .output()?
            .stdout;
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(vec![
            format!(
                "backlog of {} events (large: {}), {} bytes of payload, {} aggregates, {} events \
                 in a transaction, {} partitions; batches of at most {} events for every system; \
                 {} round(s), medians",
                options.events(),
                options.backlog(),
                options.payload_bytes,
                options.aggregates,
                backlog::PER_TRANSACTION,
                options.partitions,
                options.batch,
                options.rounds()
            ),
            format!(
                "latency at {} events/s for {} s, a transaction each; idle for {} s",
                options.rate,
                options.latency_seconds(),
                options.idle_seconds()
            ),
            format!("{cores} cores for harness, broker, PostgreSQL and the measured process"),
            format!(
                "{} with fsync=off; broker: {}",
                String::from_utf8_lossy(&version).trim(),
                if embedded { "the embedded one" } else { "a given one" }
            ),
        ])
    }
}

fn print(text: &str) -> Result<(), BoxError> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Smoke results are not kept unless a folder is given.
fn results_folder(options: &BenchOptions) -> Option<PathBuf> {
    if options.results.is_some() || options.smoke {
        return options.results.clone();
    }
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    (1..).map(|number| results.join(format!("connect-{number}"))).find(|folder| !folder.exists())
}
