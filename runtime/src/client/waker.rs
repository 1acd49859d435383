//! Wakes a worker that waits for something to happen on any of its queues.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(feature = "simulation")]
use crate::simulation::fiber::Signal;

/// One flag that any thread raises and one thread waits for.
///
/// A wake before the wait is not lost; several wakes before a wait are one. Give the same waker to
/// a consumer and to whoever else has something to tell the worker.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let waker = tidemill::client::Waker::default();
/// waker.wake();
/// assert!(waker.wait(Duration::from_secs(1)));
/// assert!(!waker.wait(Duration::ZERO));
/// ```
#[derive(Debug)]
pub struct Waker {
    raised: Mutex<bool>,
    condition: Condvar,
    /// What a fiber waits for instead.
    #[cfg(feature = "simulation")]
    signal: Signal,
}

impl Default for Waker {
    fn default() -> Self {
        Self {
            raised: Mutex::new(false),
            condition: Condvar::new(),
            #[cfg(feature = "simulation")]
            signal: Signal::new("waker"),
        }
    }
}

impl Waker {
    /// Makes a waker that nobody has raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag. Cheap and never blocks for long; may be called from any thread.
    pub fn wake(&self) {
        let mut raised = self.lock();
        if !*raised {
            *raised = true;
            self.condition.notify_one();
        }
        drop(raised);
        #[cfg(feature = "simulation")]
        self.signal.raise();
    }

    /// Waits until the flag is raised or the time is up, and lowers it.
    ///
    /// Returns true if it was raised.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut raised = self.lock();
        while !*raised {
            let left = match deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => timeout,
            };
            if left.is_zero() {
                return false;
            }
            let waited = self.condition.wait_timeout(raised, left);
            (raised, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *raised = false;
        true
    }

    /// Returns what the simulated world waits for: raised by every wake.
    #[cfg(feature = "simulation")]
    pub(crate) fn signal(&self) -> &Signal {
        &self.signal
    }

    // A bool cannot be left half-written, so a poisoned lock is as good as a sound one.
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
