//! Where an application stands (`KafkaStreams.State`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::watch;

use crate::worker::{WorkerState, WorkerStatus};

/// Where an application stands.
///
/// ```text
///   Created --> Rebalancing <--> Running
///                    |              |
///                    +------+-------+--> PendingShutdown --> NotRunning
///                           +----------> PendingError ----> Error
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not yet started.
    Created,
    /// Some worker waits for partitions or restores.
    Rebalancing,
    /// All tasks of all workers run.
    Running,
    /// Asked to stop, and stopping.
    PendingShutdown,
    /// Stopped as asked.
    NotRunning,
    /// A worker failed; the others are stopping.
    PendingError,
    /// Stopped by an error.
    Error,
}

impl State {
    /// Returns true if nothing follows.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::NotRunning | Self::Error)
    }

    fn may_become(self, next: Self) -> bool {
        use State::{
            Created, Error, NotRunning, PendingError, PendingShutdown, Rebalancing, Running,
        };
        match self {
            Created => matches!(next, Rebalancing | PendingShutdown | PendingError),
            Rebalancing => matches!(next, Running | PendingShutdown | PendingError),
            Running => matches!(next, Rebalancing | PendingShutdown | PendingError),
            PendingShutdown => matches!(next, NotRunning | PendingError),
            PendingError => matches!(next, Error),
            NotRunning | Error => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Is told about each change: the new state and the old one.
pub(crate) type StateListener = Box<dyn Fn(State, State) + Send + Sync>;

/// The state of an application, derived from its workers'.
pub(crate) struct StateCell {
    current: watch::Sender<State>,
    listener: Option<StateListener>,
    workers: Mutex<Vec<Weak<WorkerStatus>>>,
    /// One change at a time, so that the listener sees them in order.
    changing: Mutex<()>,
}

impl StateCell {
    pub(crate) fn new(listener: Option<StateListener>) -> Arc<Self> {
        Arc::new(Self {
            current: watch::Sender::new(State::Created),
            listener,
            workers: Mutex::new(Vec::new()),
            changing: Mutex::new(()),
        })
    }

    pub(crate) fn get(&self) -> State {
        *self.current.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<State> {
        self.current.subscribe()
    }

    pub(crate) fn watch(&self, worker: &Arc<WorkerStatus>) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::downgrade(worker));
    }

    /// Changes the state; a change that does not follow from the present one is ignored, as in
    /// Kafka Streams: somebody else was first.
    pub(crate) fn set(&self, next: State) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.get();
        if !before.may_become(next) {
            return;
        }
        tracing::info!(%before, %next, "state");
        self.current.send_replace(next);
        if let Some(listener) = &self.listener {
            listener(next, before);
        }
    }

    /// Looks at the workers again.
    pub(crate) fn derive(&self) {
        let workers: Vec<WorkerState> = {
            let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            workers.iter().filter_map(|w| w.upgrade().map(|w| w.get())).collect()
        };
        if workers.contains(&WorkerState::Failed) {
            self.set(State::PendingError);
            let ended = |worker| matches!(worker, WorkerState::Failed | WorkerState::Stopped);
            if workers.into_iter().all(ended) {
                self.set(State::Error);
            }
        } else if !workers.is_empty() && workers.iter().all(|w| *w == WorkerState::Running) {
            self.set(State::Running);
        } else if workers.contains(&WorkerState::Rebalancing) {
            self.set(State::Rebalancing);
        }
    }
}
