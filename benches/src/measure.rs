//! Measures one system on one job: the pre-filled topic, the restore, the fixed load.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tidemill::BoxError;

use crate::cluster::Cluster;
use crate::host::{self, Pinning};
use crate::latency::{self, Load};
use crate::load::Loader;
use crate::options::BenchOptions;
use crate::outcome::OutputReader;
use crate::process::Worker;
use crate::progress::Follower;
use crate::report::{Metric, Results};
use crate::system::{Job, Programs, Start, System};
use crate::transactions::{Ledger, Spread, Transactions};

/// The slowest system that is still worth waiting for, in records per second.
const RATE_MIN: u64 = 10_000;
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// With less, the broker spends its time on 2,000 produce requests a second and as many fetches,
/// and the queue for it is all that is measured.
const LOAD_LINGER: Duration = Duration::from_millis(10);
const FILL_LINGER: Duration = Duration::from_millis(50);

/// What every measurement needs.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a BenchOptions,
    pub(crate) cluster: Cluster,
    pub(crate) programs: Programs,
    pub(crate) broker: Option<u32>,
    pub(crate) pinning: Pinning,
    pub(crate) folder: PathBuf,
}

/// The pre-filled input of a job, shared by the systems.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) topic: String,
    pub(crate) job: Job,
    pub(crate) expected: Ledger,
}

impl Bench<'_> {
    fn transactions(&self) -> Transactions {
        Transactions::new(self.options.seed, self.options.accounts)
    }

    /// Makes the input of a job.
    pub(crate) fn fill(&self, job: Job, name: &str, records: u64) -> Result<Filled, BoxError> {
        let topic = format!("{name}-transactions");
        self.cluster.create(&topic)?;
        let input = (self.transactions(), Spread::Random);
        let mut loader = Loader::new(&self.cluster, &topic, job, input, FILL_LINGER)?;
        loader.fill(0..records)?;
        Ok(Filled { topic, job, expected: loader.expected })
    }

    fn start(&self, system: System, start: &Start) -> Result<Worker, BoxError> {
        let log = self.folder.join(format!("{}.log", start.application_id));
        Worker::start(self.programs.command(system, start), &log)
    }

    fn flags(&self, application: &str, input: &str, job: Job) -> Start {
        Start {
            bootstrap_servers: self.cluster.bootstrap_servers.clone(),
            application_id: application.to_owned(),
            state_dir: self.folder.join(application),
            input: input.to_owned(),
            output: format!("{application}-balances"),
            job,
            commit_interval_ms: self.options.commit_interval_ms,
            core: self.pinning.worker,
        }
    }

    /// Makes the topics that no system makes itself.
    fn prepare(&self, system: System, start: &Start) -> Result<Vec<String>, BoxError> {
        let mut topics = vec![start.output.clone()];
        self.cluster.create(&start.output)?;
        let between = between(&start.application_id);
        if start.job == Job::Repartition {
            if !system.has_state() {
                self.cluster.create(&between)?;
            }
            topics.push(between);
        }
        if system.has_state() {
            topics.push(format!("{}-balances-store-changelog", start.application_id));
        }
        Ok(topics)
    }

    /// Measures throughput, and restoring after the state was deleted.
    pub(crate) fn throughput(
        &self,
        system: System,
        filled: &Filled,
        application: &str,
        results: &mut Results,
    ) -> Result<(), BoxError> {
        let start = self.flags(application, &filled.topic, filled.job);
        let topics = self.prepare(system, &start)?;
        let mut worker = self.start(system, &start)?;
        let group = self.cluster.group(application)?;
        let between = between(application);
        let follower = Follower {
            cluster: &self.cluster,
            group: &group,
            input: &filled.topic,
            between: (filled.job == Job::Repartition).then_some(&between),
            broker: self.broker,
        };
        let records = filled.expected.transactions();
        let timeout = START_TIMEOUT + Duration::from_secs(records / RATE_MIN);
        let drained = follower.drain(&mut worker, records, timeout)?;
        results.add(Metric::PeakRss, host::peak_rss_mib(worker.pid())?);
        results.add_drained(&drained, records);
        drop(group);
        let outputs = self.verify(system, &start.output, &filled.expected, results)?;
        results.add(Metric::OutputRecords, outputs);
        worker.stop()?;
        if system.has_state() {
            self.restore(system, &start, results)?;
        }
        self.clean(&start, &topics)
    }

    /// Compares the output with what the input makes, and returns how many records it is.
    fn verify(
        &self,
        system: System,
        output: &str,
        expected: &Ledger,
        results: &mut Results,
    ) -> Result<f64, BoxError> {
        let accounts = self.options.accounts;
        let mut reader = OutputReader::new(&self.cluster, output, system.meaning(), accounts)?;
        reader.read_to(&self.cluster.ends(output)?)?;
        results.verified(&reader.ledger, expected);
        Ok(f64::from(u32::try_from(reader.records)?))
    }

    /// Deletes the state, starts the worker again and waits until its stores are whole.
    fn restore(
        &self,
        system: System,
        start: &Start,
        results: &mut Results,
    ) -> Result<(), BoxError> {
        std::fs::remove_dir_all(&start.state_dir)?;
        let mut worker = self.start(system, start)?;
        let began = Instant::now();
        let (mut running, mut ended, mut last) = (false, 0, None);
        while !running || ended < self.options.partitions {
            worker.check()?;
            if began.elapsed() > START_TIMEOUT + START_TIMEOUT {
                return Err("the stores were not restored in time".into());
            }
            let Some((at, event)) = worker.event() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            match event.event.as_str() {
                "state" => running = event.state.as_deref() == Some("RUNNING"),
                "restore_end" => {
                    ended += 1;
                    last = Some((at, event));
                }
                _ => {}
            }
        }
        let (at, event) = last.ok_or("nothing was restored")?;
        let restored = f64::from(u32::try_from(event.restored.unwrap_or(0))?);
        let millis = f64::from(u32::try_from(event.restore_ms.unwrap_or(0))?);
        results.add(Metric::RestoredRecords, restored);
        results.add(Metric::RestoreRate, restored / (millis.max(1.0) / 1e3));
        let since_start = at.saturating_duration_since(worker.started());
        results.add(Metric::RestoreReady, since_start.as_secs_f64() * 1e3);
        worker.stop()
    }

    /// Measures latency at the fixed load.
    pub(crate) fn latency(
        &self,
        system: System,
        job: Job,
        application: &str,
        results: &mut Results,
    ) -> Result<(), BoxError> {
        let input = format!("{application}-transactions");
        self.cluster.create(&input)?;
        // The load leaves both cores half idle; on one core broker and harness would wait for each
        // other, and that would be the latency.
        let start = Start { core: None, ..self.flags(application, &input, job) };
        self.pinning.lift()?;
        let mut topics = self.prepare(system, &start)?;
        let source = (self.transactions(), Spread::InTurn);
        let mut loader = Loader::new(&self.cluster, &input, job, source, LOAD_LINGER)?;
        let accounts = self.options.accounts;
        let mut reader =
            OutputReader::new(&self.cluster, &start.output, system.meaning(), accounts)?;
        let mut worker = self.start(system, &start)?;
        let load = Load {
            rate: self.options.load_rate,
            warm_up_seconds: self.options.warm_up_seconds(),
            seconds: self.options.load_seconds(),
        };
        let latency = latency::measure(&mut worker, &mut loader, &mut reader, load)?;
        results.add_latency(&latency);
        results.verified(&reader.ledger, &loader.expected);
        results.add(Metric::LoadPeakRss, host::peak_rss_mib(worker.pid())?);
        worker.stop()?;
        self.pinning.pin()?;
        topics.push(input);
        self.clean(&start, &topics)
    }

    /// Frees disk and page cache for the next one.
    fn clean(&self, start: &Start, topics: &[String]) -> Result<(), BoxError> {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.cluster.delete(&topics)?;
        remove(&start.state_dir)
    }
}

/// The repartition topic, as Kafka Streams names it.
pub(crate) fn between(application: &str) -> String {
    format!("{application}-balances-store-repartition")
}

/// A system without state makes no folder.
fn remove(dir: &Path) -> Result<(), BoxError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
