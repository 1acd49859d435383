//! What a worker thread runs: workers, one after the other if they are replaced.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::fences::{Fences, is_fence};
use super::{StreamThreadExceptionResponse, UncaughtHandler};
use crate::Error;
use crate::client::Waker;
use crate::config::WorkerIdentity;
use crate::restore::RestoreHandle;
use crate::worker::{Parts, Shared, StopRequest, Worker, WorkerStatus, count, leave};
use crate::world::World;

/// Before a worker that failed is replaced: a failure that comes back at once must not spin.
const REPLACE_PAUSE: Duration = Duration::from_millis(500);

/// A worker thread before and while it runs.
pub(crate) struct WorkerLoop<W: World> {
    pub(super) shared: Arc<Shared<W>>,
    pub(super) identity: WorkerIdentity,
    pub(super) restorer: RestoreHandle<W>,
    pub(super) status: Arc<WorkerStatus>,
    pub(super) waker: Arc<Waker>,
    pub(super) stop: Arc<StopRequest>,
    pub(super) uncaught: UncaughtHandler,
}

impl<W: World> WorkerLoop<W> {
    /// The worker's number in its process, from 1.
    pub(crate) fn number(&self) -> usize {
        self.identity.worker
    }

    /// Works until it is told to stop or fails for good.
    pub(crate) fn run(self) {
        let mut fences = Fences::default();
        while let Err(error) = self.run_one() {
            let now = self.shared.world.monotonic();
            if is_fence(&error) && !self.stop.is_requested() && fences.may_rejoin(now) {
                tracing::warn!(worker = self.identity.worker, %error, "joining the group anew");
                count(&self.status.rebuilds, 1);
                self.pause();
                continue;
            }
            let stopping = self.stop.is_requested();
            let response = if stopping {
                StreamThreadExceptionResponse::ShutdownClient
            } else {
                (self.uncaught)(&error)
            };
            tracing::error!(worker = self.identity.worker, %error, ?response, "a worker failed");
            match response {
                StreamThreadExceptionResponse::ReplaceThread => self.pause(),
                StreamThreadExceptionResponse::ShutdownClient => {
                    // the others stop too; partitions go to other processes
                    self.stop.request(self.stop.stays_in_group());
                    // a place that somebody else took is not ours to give up
                    if !is_fence(&error) {
                        self.leave();
                    }
                    self.status.fail(error);
                    return;
                }
            }
        }
        self.leave();
    }

    fn pause(&self) {
        self.shared.world.wait(&self.waker, REPLACE_PAUSE);
    }

    fn leave(&self) {
        if !self.stop.stays_in_group() {
            leave(&self.shared.world, &self.shared.config, &self.identity);
        }
    }

    fn run_one(&self) -> Result<(), Error> {
        let parts = Parts {
            shared: Arc::clone(&self.shared),
            identity: self.identity.clone(),
            restorer: self.restorer.clone(),
            status: Arc::clone(&self.status),
            waker: Arc::clone(&self.waker),
            stop: Arc::clone(&self.stop),
        };
        let work = || Worker::new(parts).and_then(Worker::run);
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(ended) => ended,
            Err(panic) => {
                let panic = self.shared.world.caught(panic);
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                let text = text.unwrap_or_else(|| "no text".to_owned());
                Err(Error::Thread(format!("the worker panicked, please report it: {text}")))
            }
        }
    }
}
