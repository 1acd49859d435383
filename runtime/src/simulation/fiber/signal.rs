//! What a fiber waits for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::scheduler::{FiberId, wake};

/// A flag that anybody raises and fibers wait for. A raise before the wait is not lost; several
/// raises before a wait are one.
///
/// It is `Send` and `Sync` so that it can be part of what real threads share, but it wakes fibers
/// of the thread only that raises it.
#[derive(Clone)]
pub(crate) struct Signal(Arc<Inner>);

struct Inner {
    /// For the list of who waits for what.
    name: &'static str,
    raised: AtomicBool,
    /// Fibers that wait, each with the number of that wait.
    waiting: Mutex<Vec<(FiberId, u64)>>,
}

impl Signal {
    pub(crate) fn new(name: &'static str) -> Self {
        let raised = AtomicBool::new(false);
        Self(Arc::new(Inner { name, raised, waiting: Mutex::new(Vec::new()) }))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.0.name
    }

    /// Lets everybody go who waits, or the next who does.
    pub(crate) fn raise(&self) {
        let waiting = std::mem::take(
            // a list cannot be left half-written here
            &mut *self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner),
        );
        let mut woken = false;
        for (fiber, number) in waiting {
            woken |= wake(fiber, number);
        }
        if !woken {
            self.0.raised.store(true, Ordering::Release);
        }
    }

    /// Takes a raise that nobody waited for.
    pub(crate) fn lower(&self) -> bool {
        self.0.raised.swap(false, Ordering::AcqRel)
    }

    /// Notes that a fiber waits.
    pub(super) fn wait(&self, fiber: FiberId, number: u64) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // those of waits that timed out
        waiting.retain(|(other, _)| *other != fiber);
        waiting.push((fiber, number));
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.0.name).finish()
    }
}
