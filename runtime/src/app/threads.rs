//! The threads of an application.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::fences::{Fences, is_fence};
use super::state::StateCell;
use super::{StreamThreadExceptionResponse, UncaughtHandler, housekeeping};
use crate::Error;
use crate::client::Waker;
use crate::clock::monotonic;
use crate::config::WorkerIdentity;
use crate::restore::{RestoreHandle, Restorer};
use crate::worker::{Chore, Parts, Shared, StopRequest, Worker, WorkerStatus, count, leave};

/// Before a worker that failed is replaced: a failure that comes back at once must not spin.
const REPLACE_PAUSE: Duration = Duration::from_millis(500);

/// One worker thread and how to reach it.
struct WorkerThread {
    status: Arc<WorkerStatus>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// All threads of a started application.
pub(super) struct Threads {
    workers: Vec<WorkerThread>,
    stop: Arc<StopRequest>,
    /// One message for each worker thread that ended.
    ended: mpsc::Receiver<()>,
    running: usize,
    restorer: Option<Restorer>,
    restored_at_end: u64,
    chores: mpsc::Sender<Chore>,
    housekeeper: Option<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn start(
        shared: &Arc<Shared>,
        restorer: Restorer,
        chores_to_do: mpsc::Receiver<Chore>,
        process: &str,
        state: &Arc<StateCell>,
        uncaught: &UncaughtHandler,
    ) -> Result<Self, Error> {
        let (end, ended) = mpsc::channel();
        let mut threads = Self {
            workers: Vec::new(),
            stop: Arc::new(StopRequest::default()),
            ended,
            running: 0,
            restorer: None,
            restored_at_end: 0,
            chores: shared.chores.clone(),
            housekeeper: None,
        };
        for number in 1..=shared.config.num_stream_threads {
            let cell = Arc::clone(state);
            let status = Arc::new(WorkerStatus::new(Box::new(move || cell.derive())));
            state.watch(&status);
            let identity = WorkerIdentity::new(process, number);
            let waker = Arc::new(Waker::default());
            let mut thread = WorkerLoop {
                shared: Arc::clone(shared),
                identity,
                restorer: restorer.handle(),
                status: Arc::clone(&status),
                waker: Arc::clone(&waker),
                stop: Arc::clone(&threads.stop),
                uncaught: Arc::clone(uncaught),
            };
            let end = end.clone();
            let body = move || {
                thread.run();
                // nobody waits any more if the application was dropped
                let _ = end.send(());
            };
            let thread = spawn(format!("tidemill-worker-{number}"), body)?;
            threads.running += 1;
            threads.workers.push(WorkerThread { status, waker, thread: Some(thread) });
        }
        let shared = Arc::clone(shared);
        let watched: Vec<_> = threads.workers.iter().map(|w| Arc::clone(&w.status)).collect();
        let body = move || housekeeping::run(&shared, &watched, &chores_to_do);
        threads.housekeeper = Some(spawn("tidemill-housekeeping".to_owned(), body)?);
        threads.restorer = Some(restorer);
        Ok(threads)
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = &WorkerStatus> {
        self.workers.iter().map(|worker| &*worker.status)
    }

    pub(super) fn restored_records(&self) -> u64 {
        self.restorer.as_ref().map_or(self.restored_at_end, Restorer::restored)
    }

    /// Asks all threads to stop and waits for them; returns whether all did in time.
    pub(super) fn stop(&mut self, stay_in_group: bool, timeout: Duration) -> bool {
        let deadline = monotonic() + timeout;
        self.stop.request(stay_in_group);
        self.workers.iter().for_each(|worker| worker.waker.wake());
        while self.running > 0 {
            let left = deadline.saturating_duration_since(monotonic());
            if self.ended.recv_timeout(left).is_err() {
                return false;
            }
            self.running -= 1;
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
        self.restored_at_end = self.restored_records();
        self.restorer = None;
        let _ = self.chores.send(Chore::Stop);
        if let Some(housekeeper) = self.housekeeper.take() {
            let _ = housekeeper.join();
        }
        true
    }

    pub(super) fn take_error(&mut self) -> Option<Error> {
        self.workers.iter().find_map(|worker| worker.status.take_error())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // an application that is dropped without close: the threads end by themselves
        self.stop.request(false);
        self.workers.iter().for_each(|worker| worker.waker.wake());
        let _ = self.chores.send(Chore::Stop);
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let failed = |error| Error::Thread(format!("could not start thread {name}: {error}"));
    Builder::new().name(name.clone()).spawn(body).map_err(failed)
}

/// What a worker thread runs: workers, one after the other if they are replaced.
struct WorkerLoop {
    shared: Arc<Shared>,
    identity: WorkerIdentity,
    restorer: RestoreHandle,
    status: Arc<WorkerStatus>,
    waker: Arc<Waker>,
    stop: Arc<StopRequest>,
    uncaught: UncaughtHandler,
}

impl WorkerLoop {
    fn run(&mut self) {
        let mut fences = Fences::default();
        while let Err(error) = self.run_one() {
            if is_fence(&error) && !self.stop.is_requested() && fences.may_rejoin() {
                tracing::warn!(worker = self.identity.worker, %error, "joining the group anew");
                count(&self.status.rebuilds, 1);
                self.waker.wait(REPLACE_PAUSE);
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
                StreamThreadExceptionResponse::ReplaceThread => {
                    self.waker.wait(REPLACE_PAUSE);
                }
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

    fn leave(&self) {
        if !self.stop.stays_in_group() {
            leave(&self.shared.config, &self.identity);
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
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                let text = text.unwrap_or_else(|| "no text".to_owned());
                Err(Error::Thread(format!("the worker panicked, please report it: {text}")))
            }
        }
    }
}
