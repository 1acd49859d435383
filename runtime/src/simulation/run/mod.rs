//! One run: a cluster, its faults, its healing, and what came of it.

mod audit;
mod broker;
mod cluster;
mod director;
mod heal;
pub(super) mod machine;
mod plan;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use tidemill_broker::engine::EngineConfig;
use tidemill_broker::fault;
use tidemill_core::topology::{SubTopology, TopicName, TopologyError};

use super::faults::Faults;
use super::fiber::{ProcessId, Scheduler};
use super::inputs::Inputs;
use super::observe::{Observer, View};
use super::storage::Disks;
use super::world::Surroundings;
use super::{Invariant, START, Violated};
use crate::client::embedded::{Latency, Network};
use crate::config::Config;
use broker::Operator;
use cluster::Cluster;
use machine::{Equipment, MakeTopology};
use plan::Plan;

/// No run takes longer, whatever its plan: a bound for the scheduler.
const LIMIT: Duration = Duration::from_secs(4 * 3_600);

/// What a run is made of.
pub(super) struct Setup {
    pub(super) topology: MakeTopology,
    pub(super) config: Config,
    pub(super) machines: usize,
    pub(super) partitions: i32,
    pub(super) faults: Faults,
    pub(super) seed: u64,
    pub(super) inputs: Rc<Inputs>,
    pub(super) run_on: Duration,
    pub(super) invariants: Rc<[Invariant]>,
}

/// What came of a run.
pub(super) struct Ran {
    pub(super) observer: Observer,
    pub(super) application_id: String,
    pub(super) trace_hash: u64,
    pub(super) steps: u64,
    pub(super) time: Duration,
    pub(super) counts: BTreeMap<String, u64>,
    pub(super) held: BTreeMap<&'static str, u64>,
    pub(super) story: Vec<(Duration, String)>,
    pub(super) subs: Vec<SubTopology>,
    pub(super) outcome: Result<(), Violated>,
}

impl Ran {
    pub(super) fn view(&self) -> View<'_> {
        View { observer: &self.observer, application_id: &self.application_id, is_final: true }
    }
}

/// Topics of the user: those that are read, and those that are only written.
struct Topics {
    sources: Vec<String>,
    all: BTreeSet<String>,
}

impl Topics {
    fn of(subs: &[SubTopology], inputs: &Inputs, application_id: &str) -> Self {
        let resolve = |topic: &TopicName| topic.resolve(application_id);
        let external = |topic: &&TopicName| !matches!(topic, TopicName::Internal(_));
        let read = || subs.iter().flat_map(|sub| sub.source_topics.iter().map(|(topic, _)| topic));
        let written = subs.iter().flat_map(|sub| &sub.sink_topics);
        let all = read().chain(written).filter(external).map(resolve);
        let all = all.chain(inputs.records.iter().map(|record| record.topic.clone())).collect();
        Self { sources: read().map(resolve).collect(), all }
    }
}

impl Setup {
    /// Runs it, all in this thread.
    pub(super) fn run<D: Disks>(
        self,
        disks: impl FnOnce(&Scheduler, &Rc<Surroundings>) -> D,
    ) -> Result<Ran, TopologyError> {
        let scheduler = Scheduler::new(self.seed);
        let mut rng = Rng::with_seed(self.seed ^ 0x7469_6465_6d69_6c6c);
        let records = self.inputs.records.len();
        let plan = Plan::draw(&mut rng, self.faults, self.machines, records, self.config);
        let engine = EngineConfig { group_min_session_timeout_ms: 500, ..EngineConfig::default() };
        let network = Network::new(&scheduler, engine, START, Latency::default());
        let subs = (self.topology)()?.sub_topologies();
        let application_id = plan.config.application_id.clone();
        let topics = Topics::of(&subs, &self.inputs, &application_id);
        let operator = Operator(network.clone());
        topics.all.iter().for_each(|topic| operator.create(topic, self.partitions));
        let surroundings = Rc::new(Surroundings::new(START));
        let config = plan.config.clone();
        let topology = self.topology;
        let equipment = Equipment {
            network: network.clone(),
            disks: disks(&scheduler, &surroundings),
            surroundings: Rc::clone(&surroundings),
            topology,
            config,
        };
        let cluster = Cluster {
            machines: Vec::new(),
            equipment: Rc::new(equipment),
            operator,
            observer: watch_deletions(&network, &application_id),
            subs: subs.clone(),
            invariants: self.invariants,
            rng,
            plan,
            story: Vec::new(),
            counts: BTreeMap::new(),
        };
        let (cluster, outcome) =
            drive(&scheduler, cluster, topics.sources, self.inputs, (self.partitions, self.run_on));
        let mut ran = Ran {
            trace_hash: scheduler.trace_hash(),
            steps: scheduler.steps(),
            time: scheduler.now(),
            counts: BTreeMap::new(),
            held: surroundings.bounds.borrow().most().collect(),
            story: Vec::new(),
            observer: Observer::default(),
            application_id,
            subs,
            outcome,
        };
        if let Some(cluster) = cluster {
            ran.counts = counts(&cluster, &surroundings);
            (ran.observer, ran.story) = (cluster.observer.take(), cluster.story);
        }
        Ok(ran)
    }
}

/// Makes the observer, which looks at records before they are deleted, too.
fn watch_deletions(network: &Network, group: &str) -> Rc<RefCell<Observer>> {
    let observer = Rc::new(RefCell::new(Observer::default()));
    let (looking, group) = (Rc::clone(&observer), group.to_owned());
    network.before_deletion(move |engine| {
        // what it does not like it will not like the next time either
        drop(looking.borrow_mut().look(engine, &group));
    });
    observer
}

/// Has the director at work in a fiber of its own until it is done.
fn drive<D: Disks>(
    scheduler: &Scheduler,
    cluster: Cluster<D>,
    sources: Vec<String>,
    inputs: Rc<Inputs>,
    (partitions, run_on): (i32, Duration),
) -> (Option<Cluster<D>>, Result<(), Violated>) {
    let done = Rc::new(RefCell::new(None));
    let result = Rc::clone(&done);
    scheduler.spawn(ProcessId::WORLD, "director", move || {
        let mut cluster = cluster;
        let outcome = direct(&mut cluster, &sources, &inputs, (partitions, run_on));
        *result.borrow_mut() = Some((cluster, outcome));
    });
    let finished = scheduler.run_until(|| done.borrow().is_some(), LIMIT);
    let who = if finished { String::new() } else { scheduler.dump() };
    scheduler.end();
    let late = scheduler.take_panics().pop();
    match done.borrow_mut().take() {
        Some((cluster, outcome)) => (Some(cluster), outcome),
        None => {
            let detail = match late {
                Some((_, fiber, text)) => format!("{fiber} panicked: {text}"),
                None => format!("nobody can go on:\n{who}"),
            };
            (None, Err(Violated { invariant: "the simulation ends".to_owned(), detail }))
        }
    }
}

/// The life of a cluster.
fn direct<D: Disks>(
    cluster: &mut Cluster<D>,
    sources: &[String],
    inputs: &Rc<Inputs>,
    (partitions, run_on): (i32, Duration),
) -> Result<(), Violated> {
    let scheduler = cluster.scheduler().clone();
    for _ in 0..cluster.plan.machines {
        let machine = cluster.add_machine();
        cluster.machines[machine].start();
        let pause = Duration::from_millis(cluster.rng.u64(0..1_000));
        cluster.watch(pause)?;
    }
    if let Some((seed, intensity)) = cluster.plan.network {
        cluster.operator.0.set_faults(fault::Faults::seeded(seed, intensity));
    }
    let fed = feed(cluster, inputs, partitions);
    let faulty = cluster.plan.events.iter().any(|(_, weight)| *weight > 0);
    if faulty && cluster.plan.events.len() > 1 {
        cluster.disturb(scheduler.now() + cluster.plan.feeding)?;
    }
    cluster.end_faults()?;
    let deadline = scheduler.now() + Duration::from_secs(600);
    while !*fed.borrow() && scheduler.now() < deadline {
        cluster.watch(Duration::from_millis(200))?;
        cluster.revive(1_000)?;
    }
    if !*fed.borrow() {
        let detail = "the broker refuses one: is a timestamp more than an hour in the future?";
        let invariant = "all inputs can be sent".to_owned();
        return Err(Violated { invariant, detail: detail.to_owned() });
    }
    cluster.settle(sources, run_on)?;
    cluster.stop_all()?;
    cluster.ask(true)
}

/// Sends the inputs, one after the other, within the time that the plan gives them.
fn feed<D: Disks>(
    cluster: &mut Cluster<D>,
    inputs: &Rc<Inputs>,
    partitions: i32,
) -> Rc<RefCell<bool>> {
    let fed = Rc::new(RefCell::new(false));
    let (tell, scheduler) = (Rc::clone(&fed), cluster.scheduler().clone());
    let (operator, inputs) = (cluster.operator.clone(), Rc::clone(inputs));
    let count = u64::try_from(inputs.records.len()).unwrap_or(u64::MAX).max(1);
    let nanos = u64::try_from(cluster.plan.feeding.as_nanos()).unwrap_or(u64::MAX) / count;
    let mut rng = cluster.rng.fork();
    scheduler.clone().spawn(ProcessId::WORLD, "feeder", move || {
        for (number, record) in inputs.records.iter().enumerate() {
            // now a few at once, now a pause
            if rng.u8(..4) == 0 {
                scheduler.sleep(Duration::from_nanos(rng.u64(..=nanos.saturating_mul(8))));
            }
            let partition = record.partition_of(partitions, number);
            while !operator.send(&record.topic, partition, &record.record) {
                scheduler.sleep(Duration::from_millis(20));
            }
        }
        *tell.borrow_mut() = true;
    });
    fed
}

/// What happened, how often: events, faults of the network, steps passed.
fn counts<D: Disks>(cluster: &Cluster<D>, surroundings: &Surroundings) -> BTreeMap<String, u64> {
    let events = cluster.counts.iter().map(|(name, count)| ((*name).to_owned(), *count));
    let steps = surroundings.passed.borrow();
    let steps = steps.iter().map(|(name, count)| (format!("passed {name}"), *count));
    let mut counts: BTreeMap<String, u64> = events.chain(steps).collect();
    cluster.operator.0.with_faults(|faults| {
        for fired in faults.fired() {
            let name = format!("{:?}", fired.action);
            let name = name.split('(').next().unwrap_or_default();
            *counts.entry(format!("network {name}")).or_default() += 1;
        }
    });
    counts
}
