//! The builder of a simulation, and the comparison with a run without faults.

use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tidemill_core::record::Partition;
use tidemill_core::topology::{Topology, TopologyError};

use super::faults::Faults;
use super::inputs::Inputs;
use super::observe::View;
use super::report::Report;
use super::run::machine::MakeTopology;
use super::run::{Ran, Setup};
use super::storage::{Folder, MemoryDisks, RealDisks};
use super::{Invariant, SimulationError, Violated};
use crate::config::Config;

/// The application id of simulations, unless the configuration has another one.
const APPLICATION_ID: &str = "simulated";

/// A simulation to be run: a topology, a cluster, faults and a seed.
#[derive(Clone)]
#[must_use = "nothing happens before it is run"]
pub struct Simulation {
    topology: MakeTopology,
    config: Config,
    workers: usize,
    partitions: u32,
    faults: Faults,
    seed: u64,
    invariants: Vec<Invariant>,
    compare: bool,
    run_on: Duration,
    folder: Option<PathBuf>,
    replay: String,
    #[cfg(feature = "mutations")]
    removed: Option<crate::mutation::Guard>,
}

impl Simulation {
    /// Simulates the topology that the closure makes. It is called once for each process that is
    /// started.
    pub fn new(topology: impl Fn() -> Result<Topology, TopologyError> + 'static) -> Self {
        Self {
            topology: Rc::new(topology),
            config: Config::new(APPLICATION_ID, "simulated:9092"),
            workers: 2,
            partitions: 3,
            faults: Faults::all(),
            seed: 0,
            invariants: Vec::new(),
            compare: true,
            run_on: Duration::ZERO,
            folder: None,
            replay: "run it with .seed({seed})".to_owned(),
            #[cfg(feature = "mutations")]
            removed: None,
        }
    }

    /// Sets how many processes there are at first. Default: 2.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Sets how many partitions the topics have that the topology does not make itself. Default: 3.
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions.max(1);
        self
    }

    /// Sets what may go wrong. Default: [`Faults::all`].
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Sets the seed, from which everything follows. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Changes the configuration. Intervals and time-outs of commits, transactions, sessions and
    /// polls, the number of threads and static membership are chosen by the seed.
    pub fn config(mut self, change: impl FnOnce(Config) -> Config) -> Self {
        self.config = change(self.config);
        self
    }

    /// Adds a condition on what is committed. It is asked again and again while the simulation
    /// runs, and at the end ([`View::is_final`]).
    pub fn invariant(
        mut self,
        name: impl Into<String>,
        holds: impl Fn(&View<'_>) -> Result<(), String> + 'static,
    ) -> Self {
        self.invariants.push((name.into(), Rc::new(holds)));
        self
    }

    /// Sets whether the last record of each key of the output topics and the contents of all
    /// stores have to be those of a run of the same inputs without faults. Off for topologies whose
    /// results depend on the order between partitions or on the time of day. Default: on.
    pub fn compare_with_undisturbed_run(mut self, compare: bool) -> Self {
        self.compare = compare;
        self
    }

    /// Goes on for this long, without faults, after everything that was sent is processed, and then
    /// until what that gave rise to is processed, too: for topologies that wait for a time of day.
    /// Default: not at all.
    pub fn run_on(mut self, time: Duration) -> Self {
        self.run_on = time;
        self
    }

    /// Keeps the state in real RocksDB databases in this folder, instead of in memory: some ten
    /// times slower. The folders `faulty` and `calm` in it are emptied first.
    ///
    /// A killed process makes no call of its databases any more, but they are closed in order while
    /// it is taken down, so what a restore wrote without the log is not lost as it is in memory.
    pub fn on_disk(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets the command that an error tells for running a seed again; `{seed}` stands for the seed.
    pub fn replay_with(mut self, command: impl Into<String>) -> Self {
        self.replay = command.into();
        self
    }

    /// Takes a guard of the commit protocol out, for the tests of the simulation itself.
    #[cfg(feature = "mutations")]
    pub fn without_guard(mut self, guard: crate::mutation::Guard) -> Self {
        self.removed = Some(guard);
        self
    }

    /// Runs the simulation in this thread.
    ///
    /// # Errors
    /// [`SimulationError::Violation`] if something did not hold; the others if it can't be run.
    pub fn run(&self, inputs: Inputs) -> Result<Report, SimulationError> {
        let inputs = Rc::new(inputs);
        #[cfg(feature = "mutations")]
        crate::mutation::remove(self.removed);
        let mut ran = self.run_once(&inputs, self.faults, self.workers, "faulty")?;
        #[cfg(feature = "mutations")]
        crate::mutation::remove(None);
        if ran.outcome.is_ok() && self.compare && self.faults != Faults::none() {
            let calm = self.run_once(&inputs, Faults::none(), 1, "calm")?;
            ran.outcome = match calm.outcome {
                Ok(()) => same_results(&ran, &calm),
                Err(violated) => Err(Violated {
                    detail: format!("in the run without faults: {}", violated.detail),
                    ..violated
                }),
            };
        }
        let seed = self.seed;
        match ran.outcome.clone() {
            Ok(()) => Ok(Report { seed, ran }),
            Err(Violated { invariant, detail }) => Err(SimulationError::Violation {
                invariant,
                detail,
                seed,
                trace_hash: ran.trace_hash,
                replay: self.replay.replace("{seed}", &seed.to_string()),
                events: ran.story,
            }),
        }
    }

    fn run_once(
        &self,
        inputs: &Rc<Inputs>,
        faults: Faults,
        machines: usize,
        name: &str,
    ) -> Result<Ran, SimulationError> {
        let setup = Setup {
            topology: Rc::clone(&self.topology),
            config: self.config.clone(),
            machines,
            partitions: i32::try_from(self.partitions).unwrap_or(i32::MAX),
            faults,
            seed: self.seed,
            inputs: Rc::clone(inputs),
            run_on: self.run_on,
            invariants: self.invariants.clone().into(),
        };
        Ok(match &self.folder {
            None => setup.run(MemoryDisks::new)?,
            Some(folder) => {
                let ready = Folder::prepare(&folder.join(name)).map_err(SimulationError::Folder)?;
                setup
                    .run(|scheduler, surroundings| RealDisks::new(ready, scheduler, surroundings))?
            }
        })
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("seed", &self.seed)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// Compares the last record of each key in each output partition, and all stores.
fn same_results(ran: &Ran, calm: &Ran) -> Result<(), Violated> {
    let (found, expected) = (ran.view(), calm.view());
    let application_id = &ran.application_id;
    let violated =
        |invariant: &str, detail: String| Err(Violated { invariant: invariant.to_owned(), detail });
    for sub in &ran.subs {
        for topic in sub.sink_topics.iter().map(|topic| topic.resolve(application_id)) {
            for partition in found.partitions(&topic).chain(expected.partitions(&topic)) {
                let last = |view: &View<'_>, partition: Partition| {
                    let records = view.records(&topic, partition);
                    let keyed =
                        records.filter_map(|one| Some((one.key.clone()?, one.value.clone())));
                    keyed.collect::<std::collections::BTreeMap<_, _>>()
                };
                let (found, expected) = (last(&found, partition), last(&expected, partition));
                if let Some(what) = first_difference(&found, &expected) {
                    let detail = format!("{topic}-{partition}: the last record of {what}");
                    return violated("outputs are those of a run without faults", detail);
                }
            }
        }
        for store in sub.stores.iter().filter(|store| store.logging) {
            for partition in expected.store_partitions(&store.name) {
                let found = found.store(&store.name, partition);
                let expected = expected.store(&store.name, partition);
                if let Some(what) = first_difference(&found, &expected) {
                    let detail = format!("store {} of partition {partition}: {what}", store.name);
                    return violated("stores are those of a run without faults", detail);
                }
            }
        }
    }
    Ok(())
}

/// The first key whose values differ.
fn first_difference<V: PartialEq + fmt::Debug>(
    found: &std::collections::BTreeMap<Vec<u8>, V>,
    expected: &std::collections::BTreeMap<Vec<u8>, V>,
) -> Option<String> {
    let mut keys = found.keys().chain(expected.keys());
    let key = keys.find(|key| found.get(*key) != expected.get(*key))?;
    let (found, expected) = (found.get(key), expected.get(key));
    Some(format!("{}: {found:?} instead of {expected:?}", key.escape_ascii()))
}
