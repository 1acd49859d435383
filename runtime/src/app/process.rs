//! One process of an application, without what runs it: threads, or the simulation's fibers.

use std::sync::Arc;

use tidemill_core::errors::Handlers;
use tidemill_core::topology::{Topology, TopologyError};

use super::global_loop::GlobalLoop;
use super::housekeeping::Housekeeping;
use super::state::StateCell;
use super::worker_loop::WorkerLoop;
use super::{StreamThreadExceptionResponse, UncaughtHandler, handlers};
use crate::Error;
use crate::client::Waker;
use crate::client::seam::Connector;
use crate::config::{Config, WorkerIdentity};
use crate::global::Globals;
use crate::restore::{NoListener, RestoreHandle, RestoreLimits, Restoring, StateRestoreListener};
use crate::storage::seam::{Directory, Disk};
use crate::worker::{Chore, Chores, Shared, StopRequest, WorkerStatus, client_config};
use crate::world::World;

/// What is to run: the same for every process of an application, but for the state directory.
#[derive(Clone)]
pub(crate) struct Application {
    pub(crate) config: Config,
    pub(crate) topology: Arc<Topology>,
    pub(crate) handlers: Handlers,
    pub(crate) restore_listener: Arc<dyn StateRestoreListener>,
    pub(crate) uncaught: UncaughtHandler,
}

impl Application {
    /// Makes an application with the handlers that the configuration names.
    pub(crate) fn new(topology: Topology, config: Config) -> Result<Self, Error> {
        config.validate()?;
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        if topology.sub_topologies().iter().all(|sub| sub.source_topics.is_empty()) {
            return Err(TopologyError::Empty.into());
        }
        refuse_reused_topics(&topology)?;
        Ok(Self {
            handlers: handlers(&config),
            config,
            topology: Arc::new(topology),
            restore_listener: Arc::new(NoListener),
            uncaught: Arc::new(|_| StreamThreadExceptionResponse::ShutdownClient),
        })
    }
}

/// A store without a changelog of its own would be lost with its disk.
fn refuse_reused_topics(topology: &Topology) -> Result<(), Error> {
    let subs = topology.sub_topologies();
    let stores = subs.iter().flat_map(|sub| &sub.stores);
    let reused: Vec<String> = stores
        .filter_map(|store| Some(format!("{} ({})", store.name, store.source_topic.as_ref()?)))
        .collect();
    if reused.is_empty() { Ok(()) } else { Err(Error::ReusedTopics(reused.join(", "))) }
}

/// What is to be run, each at the same time as the others, and the way to reach all of it.
pub(crate) struct Process<W: World> {
    /// Each runs until the process is asked to stop, or a worker fails for good.
    pub(crate) workers: Vec<WorkerLoop<W>>,
    /// Fills the global stores, if there are any. As the two below, it runs until the workers ended
    /// and [`Control::stop_the_rest`] was called.
    pub(crate) global: Option<GlobalLoop<W>>,
    /// Runs until the workers ended and [`Control::stop_the_rest`] was called.
    pub(crate) restoring: Restoring<W>,
    /// As above.
    pub(crate) housekeeping: Housekeeping<W>,
    pub(crate) control: Control<W>,
}

impl<W: World> Process<W> {
    /// Locks the state directory, checks and creates topics, and makes everything that runs.
    pub(crate) fn prepare(
        world: W,
        application: &Application,
        state: &Arc<StateCell>,
    ) -> Result<Self, Error> {
        let Application { config, topology, handlers, restore_listener, uncaught } = application;
        let directory = world.disk().open_directory(&config.state_dir, &config.application_id)?;
        let process = directory.process_id().to_owned();
        let admin = world
            .client()
            .admin(&client_config(&config.admin_properties(&process)))
            .map_err(|cause| Error::client("could not make the admin client", cause))?;
        let plan = crate::topics::prepare(&world, &admin, topology, config)?;
        let (restoring, restorer) = Restoring::new(
            world.clone(),
            &client_config(&config.restore_properties(&process)),
            RestoreLimits {
                batch_bytes_max: config.restore_batch_max.as_usize(),
                stalled_after: config.restore_stalled_after,
            },
            Arc::clone(restore_listener),
        )?;
        let (chores, chores_to_do) = Chores::new();
        let shared = Arc::new(Shared {
            world,
            config: config.clone(),
            topology: Arc::clone(topology),
            plan,
            handlers: handlers.clone(),
            directory,
            admin,
            chores: chores.clone(),
            globals: topology.global_topology().map(|_| Globals::new()),
        });
        let mut control = Control {
            workers: Vec::new(),
            global: None,
            stop: Arc::new(StopRequest::default()),
            restorer: Some(restorer.clone()),
            restored_at_end: 0,
            chores,
        };
        let workers = (1..=config.num_stream_threads)
            .map(|number| {
                let cell = Arc::clone(state);
                let status = Arc::new(WorkerStatus::new(Box::new(move || cell.derive())));
                state.watch(&status);
                let waker = Arc::new(Waker::default());
                control.workers.push((Arc::clone(&status), Arc::clone(&waker)));
                WorkerLoop {
                    shared: Arc::clone(&shared),
                    identity: WorkerIdentity::new(&process, number),
                    restorer: restorer.clone(),
                    status,
                    waker,
                    stop: Arc::clone(&control.stop),
                    uncaught: Arc::clone(uncaught),
                }
            })
            .collect();
        let global = global_loop(&shared, application, state, &mut control);
        let watched = control.workers.iter().map(|(status, _)| Arc::clone(status)).collect();
        let housekeeping = Housekeeping { shared, workers: watched, chores: chores_to_do };
        Ok(Self { workers, global, restoring, housekeeping, control })
    }
}

/// Makes what fills the global stores, if there are any.
fn global_loop<W: World>(
    shared: &Arc<Shared<W>>,
    application: &Application,
    state: &Arc<StateCell>,
    control: &mut Control<W>,
) -> Option<GlobalLoop<W>> {
    let globals = Arc::clone(shared.globals.as_ref()?);
    let cell = Arc::clone(state);
    let status = Arc::new(WorkerStatus::new(Box::new(move || cell.derive())));
    state.watch(&status);
    let (waker, stop) = (Arc::new(Waker::default()), Arc::new(StopRequest::default()));
    control.global = Some(GlobalControl {
        status: Arc::clone(&status),
        waker: Arc::clone(&waker),
        stop: Arc::clone(&stop),
    });
    Some(GlobalLoop {
        shared: Arc::clone(shared),
        globals,
        listener: Arc::clone(&application.restore_listener),
        status,
        waker,
        stop,
        stop_workers: Arc::clone(&control.stop),
        workers: control.workers.iter().map(|(_, waker)| Arc::clone(waker)).collect(),
        uncaught: Arc::clone(&application.uncaught),
    })
}

/// The way to reach the thread of the global stores.
struct GlobalControl {
    status: Arc<WorkerStatus>,
    waker: Arc<Waker>,
    stop: Arc<StopRequest>,
}

/// The way to reach what runs. Dropping it asks everything to end.
pub(crate) struct Control<W: World> {
    workers: Vec<(Arc<WorkerStatus>, Arc<Waker>)>,
    global: Option<GlobalControl>,
    stop: Arc<StopRequest>,
    restorer: Option<RestoreHandle<W>>,
    restored_at_end: u64,
    chores: Chores,
}

impl<W: World> Control<W> {
    pub(crate) fn statuses(&self) -> impl Iterator<Item = &WorkerStatus> {
        self.workers.iter().map(|(status, _)| &**status)
    }

    /// Returns how many changelog records were applied since the start.
    pub(crate) fn restored_records(&self) -> u64 {
        self.restorer.as_ref().map_or(self.restored_at_end, RestoreHandle::restored)
    }

    /// Asks the workers to stop cleanly. With `stay` static members keep their partitions.
    pub(crate) fn stop_workers(&self, stay: bool) {
        self.stop.request(stay);
        self.workers.iter().for_each(|(_, waker)| waker.wake());
    }

    /// Asks the other two to end, after the workers have.
    pub(crate) fn stop_the_rest(&mut self) {
        self.restored_at_end = self.restored_records();
        self.restorer = None;
        self.chores.send(Chore::Stop);
        if let Some(global) = &self.global {
            global.stop.request(false);
            global.waker.wake();
        }
    }

    /// Returns the error of the first worker that failed, once.
    pub(crate) fn take_error(&self) -> Option<Error> {
        let global = self.global.iter().map(|global| &*global.status);
        self.statuses().chain(global).find_map(WorkerStatus::take_error)
    }
}

impl<W: World> Drop for Control<W> {
    fn drop(&mut self) {
        self.stop_workers(false);
        self.stop_the_rest();
    }
}
