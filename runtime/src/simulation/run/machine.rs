//! A machine of the simulated cluster: a state directory, and at most one process at a time.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::app::{Application, Control, Process, StateCell};
use crate::client::embedded::Network;
use crate::config::Config;
use crate::simulation::fiber::{ProcessId, Scheduler};
use crate::simulation::storage::Disks;
use crate::simulation::world::{SimulatedWorld, Surroundings};
use tidemill_core::topology::{Topology, TopologyError};

/// Makes the topology, anew for each process.
pub(in crate::simulation) type MakeTopology = Rc<dyn Fn() -> Result<Topology, TopologyError>>;

/// What every machine has.
pub(super) struct Equipment<D> {
    pub(super) network: Network,
    pub(super) disks: D,
    pub(super) surroundings: Rc<Surroundings>,
    pub(super) topology: MakeTopology,
    pub(super) config: Config,
}

pub(super) struct Machine<D: Disks> {
    pub(super) name: String,
    pub(super) state_dir: PathBuf,
    equipment: Rc<Equipment<D>>,
    process: Option<ProcessId>,
    running: Rc<Running<D>>,
}

/// What the fibers of a process tell about it.
struct Running<D: Disks> {
    control: RefCell<Option<Control<SimulatedWorld<D::Disk>>>>,
    /// Workers that have not ended; `None` before they are started.
    workers: Cell<Option<usize>>,
    error: RefCell<Option<String>>,
    /// What else there is to do when the process dies: nobody else may hear of it any more.
    die: RefCell<Option<Rc<dyn Fn()>>>,
}

/// Where a machine's process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Health {
    /// There is none.
    Off,
    Starting,
    Working,
    /// All workers have ended, or it could not be started.
    Ended {
        error: Option<String>,
    },
}

impl<D: Disks> Machine<D> {
    pub(super) fn new(name: String, state_dir: PathBuf, equipment: &Rc<Equipment<D>>) -> Self {
        let running = Running::new();
        Self { name, state_dir, equipment: Rc::clone(equipment), process: None, running }
    }

    fn scheduler(&self) -> &Scheduler {
        self.equipment.network.scheduler()
    }

    pub(super) fn process(&self) -> Option<ProcessId> {
        self.process
    }

    pub(super) fn health(&self) -> Health {
        let Some(process) = self.process else { return Health::Off };
        if self.scheduler().is_killed(process) {
            return Health::Off;
        }
        let error = || self.running.error.borrow().clone();
        match self.running.workers.get() {
            None if error().is_some() => Health::Ended { error: error() },
            None => Health::Starting,
            Some(0) => Health::Ended { error: error() },
            Some(_) => Health::Working,
        }
    }

    /// Starts a process. There must be none.
    pub(super) fn start(&mut self) {
        assert_eq!(self.health(), Health::Off, "a machine runs one process");
        let scheduler = self.scheduler().clone();
        let process = scheduler.new_process(&self.name);
        scheduler.trace("start", u64::from(process.number()));
        self.process = Some(process);
        self.running = Running::new();
        let (equipment, running) = (Rc::clone(&self.equipment), Rc::clone(&self.running));
        let config = self.equipment.config.clone().with_state_dir(&self.state_dir);
        scheduler.spawn(process, "main", move || {
            if let Err(error) = begin(&equipment, &running, process, config) {
                *running.error.borrow_mut() = Some(error.to_string());
            }
        });
    }

    /// Ends the process as SIGKILL does.
    pub(super) fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            self.equipment.surroundings.armed.borrow_mut().remove(&process);
            self.equipment.network.process_died(process);
            let die = self.running.die.borrow_mut().take();
            if let Some(die) = die {
                die();
            }
            self.scheduler().kill(process);
        }
    }

    /// Stops the process as SIGSTOP does, and has it go on after a while.
    pub(super) fn freeze(&self, time: Duration) {
        let Some(process) = self.process else { return };
        let scheduler = self.scheduler().clone();
        scheduler.freeze(process);
        self.scheduler().at(scheduler.now().saturating_add(time), move || scheduler.thaw(process));
    }

    /// Lets it go on now.
    pub(super) fn thaw(&self) {
        if let Some(process) = self.process {
            self.scheduler().thaw(process);
        }
    }

    /// Asks the process to stop cleanly.
    pub(super) fn stop(&self, stay_in_group: bool) {
        if let Some(control) = &*self.running.control.borrow() {
            control.stop_workers(stay_in_group);
        }
    }

    /// Removes what is left of a process whose workers have ended.
    pub(super) fn clear(&mut self) -> Option<String> {
        let Health::Ended { error } = self.health() else { return None };
        self.kill();
        error
    }
}

impl<D: Disks> Running<D> {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            control: RefCell::new(None),
            workers: Cell::new(None),
            error: RefCell::new(None),
            die: RefCell::new(None),
        })
    }
}

/// What the main thread of a process does: it prepares the application and starts its threads.
fn begin<D: Disks>(
    equipment: &Rc<Equipment<D>>,
    running: &Rc<Running<D>>,
    process: ProcessId,
    config: Config,
) -> Result<(), Error> {
    let Equipment { network, disks, surroundings, topology, .. } = &**equipment;
    let scheduler = network.scheduler();
    let disk = disks.mount(process);
    let (dying, of) = (Rc::clone(equipment), disk.clone());
    let die = Rc::new(move || {
        dying.network.process_died(process);
        dying.disks.died(&of);
    });
    let die: Rc<dyn Fn()> = die;
    *running.die.borrow_mut() = Some(Rc::clone(&die));
    let world = SimulatedWorld::new(network, process, disk, surroundings, die);
    let application = Application::new(topology()?, config)?;
    let state = StateCell::new(None);
    let Process { workers, global, mut restoring, housekeeping, control } =
        Process::prepare(world, &application, &state)?;
    running.workers.set(Some(workers.len()));
    *running.control.borrow_mut() = Some(control);
    scheduler.spawn(process, "restoring", move || restoring.run());
    if let Some(global) = global {
        scheduler.spawn(process, "global", move || global.run());
    }
    scheduler.spawn(process, "housekeeping", move || housekeeping.run());
    for worker in workers {
        let (running, state) = (Rc::clone(running), Arc::clone(&state));
        scheduler.spawn(process, "worker", move || {
            worker.run();
            drop(state);
            running.ended();
        });
    }
    Ok(())
}

impl<D: Disks> Running<D> {
    /// One worker has ended.
    fn ended(&self) {
        let left = self.workers.get().unwrap_or(1).saturating_sub(1);
        if let Some(control) = &mut *self.control.borrow_mut() {
            let error = control.take_error().map(|error| error.to_string());
            if error.is_some() {
                *self.error.borrow_mut() = error;
            }
            if left == 0 {
                control.stop_the_rest();
            }
        }
        self.workers.set(Some(left));
    }
}
