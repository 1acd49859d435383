//! What the orchestrators of a saga count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start of the process, over all sagas of a definition. Work of transactions that
/// were aborted is counted, too: the exact numbers are in the topics.
#[derive(Debug, Default)]
pub struct Metrics {
    started: AtomicU64,
    completed: AtomicU64,
    compensated: AtomicU64,
    stuck: AtomicU64,
    timed_out: AtomicU64,
    repeated: AtomicU64,
    ignored: AtomicU64,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident, $count:ident;)+) => {
        impl Metrics {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(&self) -> u64 {
                    self.$name.load(Ordering::Relaxed)
                }

                pub(super) fn $count(&self) {
                    self.$name.fetch_add(1, Ordering::Relaxed);
                }
            )+
        }
    };
}

counts! {
    /// Returns how many began.
    started, count_started;
    /// Returns how many ended with all steps done (`saga_completed`).
    completed, count_completed;
    /// Returns how many ended with all steps undone (`saga_compensated`).
    compensated, count_compensated;
    /// Returns how many wait for an operator since they could not go on (`saga_stuck`).
    stuck, count_stuck;
    /// Returns how many commands were not answered in time.
    timed_out, count_timed_out;
    /// Returns how many commands were sent again.
    repeated, count_repeated;
    /// Returns how many replies came too late, twice or for nobody, and how many requests repeated
    /// one that was there before.
    ignored, count_ignored;
}
