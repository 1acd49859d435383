//! What a worker thread runs: workers, one after the other if they are replaced.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::fences::{Fences, is_fence};
use super::{StreamThreadExceptionResponse, UncaughtHandler};
use crate::Error;
use crate::client::Waker;
use crate::config::WorkerIdentity;
use crate::restore::RestoreHandle;
use crate::worker::{Parts, Shared, StopRequest, Worker, WorkerState, WorkerStatus, count, leave};
use crate::world::World;

/// Before a worker that failed is replaced: a failure that comes back at once must not spin.
const REPLACE_PAUSE: Duration = Duration::from_millis(500);

/// How often a worker looks whether the global stores are filled, if nobody wakes it.
const GLOBALS_PAUSE: Duration = Duration::from_millis(100);

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
        if !self.wait_for_globals() {
            // it never was at work
            self.status.set(WorkerState::Stopped);
            return self.leave();
        }
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

    /// Waits until the global stores hold all that was in their topics when the process started;
    /// returns false if a stop comes first. Only then the worker joins the group: the partitions
    /// are with somebody who can process them.
    fn wait_for_globals(&self) -> bool {
        let Some(globals) = &self.shared.globals else { return true };
        while !globals.are_filled() {
            if self.stop.is_requested() {
                return false;
            }
            self.shared.world.wait(&self.waker, GLOBALS_PAUSE);
        }
        true
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
            Err(panic) => Err(panicked(&self.shared.world, panic, "the worker")),
        }
    }
}

/// The error that a panic becomes, unless it is the end of the process.
pub(super) fn panicked(world: &impl World, panic: Box<dyn Any + Send>, who: &str) -> Error {
    let panic = world.caught(panic);
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "no text".to_owned());
    Error::Thread(format!("{who} panicked, please report it: {text}"))
}
