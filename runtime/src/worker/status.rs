//! What the rest of the process can see of a worker.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Error;

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum WorkerState {
    /// Not yet at work.
    Created,
    /// Waiting for partitions, or restoring some.
    Rebalancing,
    /// All its tasks run.
    Running,
    /// Stopped as asked.
    Stopped,
    /// Stopped by an error.
    Failed,
}

/// Called after each change of a worker's state.
type Observer = Box<dyn Fn() + Send + Sync>;

/// State and counts of one worker, written by it and read by anybody.
pub(crate) struct WorkerStatus {
    state: AtomicU8,
    observer: Observer,
    error: Mutex<Option<Error>>,
    call: Mutex<Option<(&'static str, Instant)>>,
    pub(crate) records: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) ignored: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) aborts: AtomicU64,
    pub(crate) rebuilds: AtomicU64,
    pub(crate) restores: AtomicU64,
    pub(crate) resumes: AtomicU64,
}

impl WorkerStatus {
    pub(crate) fn new(observer: Observer) -> Self {
        Self {
            state: AtomicU8::new(WorkerState::Created as u8),
            observer,
            error: Mutex::new(None),
            call: Mutex::new(None),
            records: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            aborts: AtomicU64::new(0),
            rebuilds: AtomicU64::new(0),
            restores: AtomicU64::new(0),
            resumes: AtomicU64::new(0),
        }
    }

    pub(crate) fn set(&self, state: WorkerState) {
        if self.state.swap(state as u8, Ordering::AcqRel) != state as u8 {
            (self.observer)();
        }
    }

    pub(crate) fn get(&self) -> WorkerState {
        match self.state.load(Ordering::Acquire) {
            0 => WorkerState::Created,
            1 => WorkerState::Rebalancing,
            2 => WorkerState::Running,
            3 => WorkerState::Stopped,
            _ => WorkerState::Failed,
        }
    }

    /// Notes the client call that the worker is inside of, for the watchdog.
    pub(crate) fn enter(&self, call: &'static str, now: Instant) {
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = Some((call, now));
    }

    pub(crate) fn leave(&self) {
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the call that the worker has been inside of for longer than `limit`
    /// at `now`.
    pub(crate) fn overdue(&self, now: Instant, limit: Duration) -> Option<&'static str> {
        let call = *self.call.lock().unwrap_or_else(PoisonError::into_inner);
        call.filter(|(_, since)| now.saturating_duration_since(*since) > limit)
            .map(|(call, _)| call)
    }

    pub(crate) fn fail(&self, error: Error) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        self.set(WorkerState::Failed);
    }

    pub(crate) fn take_error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Adds to a counter that nothing is ordered by.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
