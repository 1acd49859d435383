//! What the thread of the global stores runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::UncaughtHandler;
use super::worker_loop::panicked;
use crate::Error;
use crate::client::Waker;
use crate::global::{Filler, Globals};
use crate::restore::StateRestoreListener;
use crate::worker::{Shared, StopRequest, WorkerState, WorkerStatus};
use crate::world::World;

/// The thread of the global stores before and while it runs.
pub(crate) struct GlobalLoop<W: World> {
    pub(super) shared: Arc<Shared<W>>,
    pub(super) globals: Arc<Globals<W>>,
    pub(super) listener: Arc<dyn StateRestoreListener>,
    pub(super) status: Arc<WorkerStatus>,
    pub(super) waker: Arc<Waker>,
    /// Asks this thread to end; the workers go first.
    pub(super) stop: Arc<StopRequest>,
    /// Asks the workers to.
    pub(super) stop_workers: Arc<StopRequest>,
    pub(super) workers: Vec<Arc<Waker>>,
    pub(super) uncaught: UncaughtHandler,
}

impl<W: World> GlobalLoop<W> {
    /// Fills the stores until it is told to stop. If that fails, the whole process stops: the
    /// stores can't be left behind their topics, and the handler can't have them replaced.
    pub(crate) fn run(self) {
        self.status.set(WorkerState::Rebalancing);
        let filled = match catch_unwind(AssertUnwindSafe(|| self.fill())) {
            Ok(filled) => filled,
            Err(panic) => Err(panicked(&self.shared.world, panic, "the global thread")),
        };
        match filled {
            Ok(()) => self.status.set(WorkerState::Stopped),
            Err(error) => {
                tracing::error!(%error, "filling the global stores failed");
                let _ = (self.uncaught)(&error);
                self.stop_workers.request(self.stop_workers.stays_in_group());
                self.status.fail(error);
                self.wake_workers();
            }
        }
    }

    fn fill(&self) -> Result<(), Error> {
        let listener = Arc::clone(&self.listener);
        let waker = Arc::clone(&self.waker);
        let mut filler = Filler::new(&self.shared, &self.globals, listener, waker)?;
        while !self.stop.is_requested() {
            let filled_before = filler.is_filled();
            let moved = filler.turn()?;
            if filler.is_filled() && !filled_before {
                self.status.set(WorkerState::Running);
                self.wake_workers();
            }
            if !moved {
                self.shared.world.wait(&self.waker, filler.until_next());
            }
        }
        filler.close()
    }

    fn wake_workers(&self) {
        self.workers.iter().for_each(|worker| worker.wake());
    }
}
