//! The worker: one thread, one member of the group, one producer, and the tasks it owns.
//!
//! ```text
//!   run:   group events --> restored tasks --> read --> process --> punctuate --> commit --+
//!            ^                                                                             |
//!            +---------------------- wait for a queue, a time or a request <---------------+
//! ```
//!
//! Rules:
//! * Everything that happens to a task happens in this loop; callbacks of the client are values
//!   that the loop takes when it is ready.
//! * A task is in exactly one place: waiting, with the restoring thread, or running.
//! * After an aborted or doubtful transaction *every* running task is dropped and built anew from
//!   what is committed: there is no second way back (INV-5).
//! * Committed offsets are read before the changelogs' ends (INV-4), and both before the first
//!   record.

mod chore;
mod commit;
mod consistency;
mod leave;
#[cfg(feature = "mutations")]
mod mutants;
mod opening;
mod outbox;
mod positions;
mod rebalance;
mod run;
mod slot;
mod status;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use tidemill_core::errors::Handlers;
use tidemill_core::record::{TaskId, TopicPartition};
use tidemill_core::topology::Topology;
use tidemill_core::transaction::Transaction;

use crate::Error;
use crate::client::seam::{Connector, Consume};
use crate::client::{ClientConfig, Waker};
use crate::config::{ClientProperties, Config, WorkerIdentity};
use crate::global::Globals;
use crate::restore::{RestoreHandle, RestoreOutcome};
use crate::topics::Plan;
use crate::world::{AdminOf, ConsumerOf, DbOf, DirectoryOf, GroupMetadataOf, ReaderOf, World};

pub(crate) use chore::{Chore, Chores, ChoresToDo};
pub(crate) use leave::leave;
pub(crate) use opening::open_owned;
use outbox::Outbox;
use positions::StartPosition;
use slot::Slot;
pub(crate) use status::{WorkerState, WorkerStatus, count};

/// What all workers of a process share.
pub(crate) struct Shared<W: World> {
    pub(crate) world: W,
    pub(crate) config: Config,
    pub(crate) topology: Arc<Topology>,
    pub(crate) plan: Plan,
    pub(crate) handlers: Handlers,
    pub(crate) directory: DirectoryOf<W>,
    pub(crate) admin: AdminOf<W>,
    pub(crate) chores: Chores,
    /// `None` if the topology has no global store.
    pub(crate) globals: Option<Arc<Globals<W>>>,
}

/// How a worker is told to stop.
#[derive(Debug, Default)]
pub(crate) struct StopRequest {
    stop: AtomicBool,
    stay_in_group: AtomicBool,
}

impl StopRequest {
    /// Asks for a clean stop. With `stay` a static member keeps its partitions for a restart.
    pub(crate) fn request(&self, stay: bool) {
        self.stay_in_group.store(stay, Ordering::Release);
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn stays_in_group(&self) -> bool {
        self.stay_in_group.load(Ordering::Acquire)
    }
}

/// What one worker is made of besides what it shares.
pub(crate) struct Parts<W: World> {
    pub(crate) shared: Arc<Shared<W>>,
    pub(crate) identity: WorkerIdentity,
    pub(crate) restorer: RestoreHandle<W>,
    pub(crate) status: Arc<WorkerStatus>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) stop: Arc<StopRequest>,
}

/// A worker at work.
pub(crate) struct Worker<W: World> {
    shared: Arc<Shared<W>>,
    identity: WorkerIdentity,
    restorer: RestoreHandle<W>,
    status: Arc<WorkerStatus>,
    waker: Arc<Waker>,
    stop: Arc<StopRequest>,

    consumer: ConsumerOf<W>,
    outbox: Outbox<W>,
    transaction: Transaction,

    /// The membership under which the tasks run (INV-7). `None` between assignments.
    group: Option<GroupMetadataOf<W>>,
    assignment: Vec<TopicPartition>,
    /// Where each assigned partition starts.
    positions: BTreeMap<TopicPartition, StartPosition>,
    /// Readers of partitions whose tasks do not run yet.
    readers: BTreeMap<TopicPartition, ReaderOf<W>>,
    slots: BTreeMap<TaskId, Slot<W>>,
    /// Storage of tasks that were given back, open until it is known who owns them next.
    kept: BTreeMap<TaskId, DbOf<W>>,

    /// The tasks were closed after an abort: they are opened again once it is clear that they are
    /// still ours.
    must_reopen: bool,

    restore_jobs: u64,
    restored: mpsc::Receiver<RestoreOutcome<W>>,
    restored_sender: mpsc::Sender<RestoreOutcome<W>>,

    last_commit: Instant,
    last_purge: Instant,

    #[cfg(feature = "mutations")]
    mutant: mutants::Mutant,
}

impl<W: World> Worker<W> {
    /// Makes the clients, ends what a dead predecessor left open, and joins the group.
    ///
    /// # Errors
    /// If a client can't be made or the broker refuses it.
    pub(crate) fn new(parts: Parts<W>) -> Result<Self, Error> {
        let Parts { shared, identity, restorer, status, waker, stop } = parts;
        let config = &shared.config;
        // before anything is read: the predecessor's transaction blocks its committed offsets
        let outbox = Outbox::new(&shared.world, config, &identity)?;
        let properties = client_config(&config.consumer_properties(&identity));
        let client = shared.world.client();
        let mut consumer = client
            .consumer(&properties, Arc::clone(&waker))
            .map_err(|cause| Error::client("could not make the consumer", cause))?;
        let topics = shared.plan.subscription();
        consumer
            .subscribe(&topics)
            .map_err(|cause| Error::client(format!("could not subscribe to {topics:?}"), cause))?;
        let (restored_sender, restored) = mpsc::channel();
        status.set(WorkerState::Rebalancing);
        let now = shared.world.monotonic();
        Ok(Self {
            shared,
            identity,
            restorer,
            status,
            waker,
            stop,
            consumer,
            outbox,
            transaction: Transaction::new(),
            group: None,
            assignment: Vec::new(),
            positions: BTreeMap::new(),
            readers: BTreeMap::new(),
            slots: BTreeMap::new(),
            kept: BTreeMap::new(),
            must_reopen: false,
            restore_jobs: 0,
            restored,
            restored_sender,
            last_commit: now,
            last_purge: now,
            #[cfg(feature = "mutations")]
            mutant: mutants::Mutant::default(),
        })
    }
}

/// Turns checked properties into what the client takes.
pub(crate) fn client_config(properties: &ClientProperties) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties.iter() {
        config.set(name, value);
    }
    config
}
