//! The run: load, plan, faults, drain, verdict.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidemill::BoxError;
use tidemill_examples::audit::Audit;
use tidemill_examples::cluster::Cluster;
use tidemill_examples::generate::{Generator, Load};
use tidemill_examples::interrupt::Interrupt;
use tidemill_examples::job::Job;
use tidemill_examples::lag::{LagWatch, Progress};
use tidemill_examples::processes::WorkerProcess;
use tidemill_examples::report;
use tidemill_examples::witness::Witness;

use super::Arguments;
use super::broker::Broker;
use super::faults::Chaos;
use super::plan::{Fault, plan};
use super::verdict;

const PARTITIONS: u32 = 4;
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const DRAINED_WITHIN: Duration = Duration::from_secs(120);
/// Short times, so that a zombie is given up soon. A broker takes sessions from 6 s on.
///
/// Transactions outlive a restart of the broker, though. Kafka 4.4 loses the markers of a
/// transaction that times out while the only replica of its partitions is fenced ("Couldn't find
/// leader endpoint .. likely deleted already and hence can be skipped"): its records are then
/// neither committed nor aborted for ever, and no reader of committed records gets past them.
const SETTINGS: &str = "\
session.timeout.ms = 6000
heartbeat.interval.ms = 1500
transaction.timeout.ms = 20000
";

/// Runs the faults; returns whether everything was as it must be.
pub(super) fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    if !cfg!(feature = "failpoints") {
        let build = "chaos needs workers with fail points: run `make chaos`, or build with \
                     `--features failpoints`";
        return Err(build.into());
    }
    let interrupt = Interrupt::catch()?;
    let folder = TempDir::with_prefix("tidemill-chaos.")?;
    let broker = match (&arguments.bootstrap_servers, &arguments.kafka_dir) {
        (Some(servers), Some(dir)) => Some(Broker::running(dir, servers)),
        (Some(_), None) => None,
        (None, _) => Some(Broker::embedded(&folder.path().join("broker"))?),
    };
    let servers = broker.as_ref().map(Broker::address).or(arguments.bootstrap_servers.as_deref());
    let servers = servers.ok_or("no broker")?.to_owned();
    let kind = broker.as_ref().map_or("Kafka", Broker::kind);
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let mut random = fastrand::Rng::with_seed(seed);
    let plan = plan(arguments.kills, broker.is_some(), &mut random);
    let job = Job::unique("chaos", PARTITIONS);
    let (kills, rate) = (arguments.kills, arguments.rate);
    report::line(format_args!(
        "seed {seed}: {} faults, {kills} of them kills, at {rate} transactions per second\n\
         application {}, {kind} at {servers}",
        plan.len(),
        job.application_id,
    ));
    if broker.is_none() {
        report::line("the broker is not ours: no broker restarts (see --kafka-dir)");
    }
    let cluster = Arc::new(Cluster::at(&servers)?);
    job.create_topics(&cluster)?;
    let began = Instant::now();
    let mut chaos = Chaos {
        workers: workers(&servers, &job, &folder)?,
        watch: LagWatch::new(&cluster, &job)?,
        cluster: Arc::clone(&cluster),
        job: &job,
        broker,
        random,
        interrupt,
        began,
        deadline: began + Duration::from_secs(60 * arguments.minutes_max),
        armed: None,
        since: (began, Progress::default()),
        coming_back: false,
        fired: Vec::new(),
        audited: Audit::default(),
        audits: 0,
        clean_stops: 0,
        back_after: Vec::new(),
        problems: Vec::new(),
    };
    let outcome = work(arguments, seed, &mut chaos, &plan);
    if !matches!(outcome, Ok(true)) {
        let kept = folder.keep();
        report::line(format_args!(
            "state and logs of the workers are kept in {}\n\
             the same faults again: --kills {kills} --seed {seed}",
            kept.display()
        ));
    }
    outcome
}

fn workers(servers: &str, job: &Job, folder: &TempDir) -> Result<[WorkerProcess; 2], BoxError> {
    let settings = folder.path().join("settings.toml");
    std::fs::write(&settings, SETTINGS)?;
    let more = ["--config".to_owned(), settings.display().to_string()];
    let worker = |name| WorkerProcess::new(name, (servers, job), folder.path(), &more);
    Ok([worker("worker-1")?, worker("worker-2")?])
}

fn work(
    arguments: &Arguments,
    seed: u64,
    chaos: &mut Chaos<'_>,
    plan: &[Fault],
) -> Result<bool, BoxError> {
    let cluster = Arc::clone(&chaos.cluster);
    let load = Load {
        topic: chaos.job.input.clone(),
        partitions: PARTITIONS,
        transactions: u64::MAX,
        accounts: arguments.accounts,
        seed,
        rate: Some(arguments.rate),
    };
    let mut load = Generator::start(&cluster, load)?;
    let witness = Witness::start(Arc::clone(&cluster), &chaos.job.output)?;
    chaos.start(0, None)?;
    chaos.start(1, None)?;
    chaos.settle()?;
    for (number, fault) in plan.iter().enumerate() {
        if load.is_finished() {
            load.finish()?;
            return Err("the load ended by itself".into());
        }
        chaos.inflict(*fault, plan.get(number + 1).copied())?;
    }
    chaos.settle()?;
    let sent = load.stop()?;
    drain(chaos)?;
    for worker in &mut chaos.workers {
        worker.stop(STOP_TIMEOUT)?;
    }
    chaos.say("lag 0; both workers ended with exit code 0 after SIGTERM; verifying");
    chaos.audit(0)?;
    chaos.audit(1)?;
    verdict::judge(chaos, plan, sent, witness)
}

fn drain(chaos: &mut Chaos<'_>) -> Result<(), BoxError> {
    let done = chaos.wait(DRAINED_WITHIN, |chaos| {
        for worker in &mut chaos.workers {
            worker.check_running()?;
        }
        Ok(chaos.watch.progress()?.is_done())
    })?;
    if done {
        return Ok(());
    }
    let left = chaos.watch.progress()?;
    let stuck = format!("or its partner did not work off the load, left is {left:?}");
    Err(chaos.workers[0].failure(&stuck))
}
