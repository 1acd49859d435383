//! The one place that reads the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::engine::Millis;

/// The wall clock as it was at the start, and a monotonic clock from then on: it never goes back.
#[derive(Debug)]
pub(super) struct Clock {
    started_at: Millis,
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_at: millis(since_epoch), started: Instant::now() }
    }

    pub(super) fn now(&self) -> Millis {
        self.started_at.saturating_add(millis(self.started.elapsed()))
    }
}

fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
