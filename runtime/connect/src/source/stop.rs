//! A request to stop, shared between whoever asks and whoever is asked.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Asked once, by anybody who has a copy; never taken back.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    requested: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Makes one that nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. Returns at once.
    pub fn request(&self) {
        *self.lock() = true;
        self.inner.changed.notify_all();
    }

    /// Returns true if somebody asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.lock()
    }

    /// Waits that long, or until somebody asks; returns true if somebody did.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut requested = self.lock();
        while !*requested {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.inner.changed.wait_timeout(requested, left);
            (requested, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *requested
    }

    // a bool is never half-written
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.inner.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
