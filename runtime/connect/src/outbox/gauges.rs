//! How far the publishing of an outbox is behind.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Rows are counted up to here.
pub(super) const COUNTED_MAX: i64 = 1_000_000;

/// What waits in an outbox to be published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxLag {
    /// Rows, counted up to a million (`outbox_unpublished_rows`).
    pub unpublished_rows: u64,
    /// How long the oldest of them has been waiting (`outbox_oldest_age_seconds`).
    pub oldest_age: Duration,
    /// Rows put aside, and those parked behind them (`outbox_dead_rows`).
    pub dead_rows: u64,
    /// When this was measured; `None` before the first time.
    pub measured_at: Option<SystemTime>,
}

/// Written by the source, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Gauges(Mutex<OutboxLag>);

impl Gauges {
    pub(super) fn read(&self) -> OutboxLag {
        *self.lock()
    }

    /// Notes a backlog.
    pub(super) fn backlog(&self, rows: u64, oldest_age: Duration) {
        let mut lag = self.lock();
        lag.unpublished_rows = rows;
        lag.oldest_age = oldest_age;
        lag.measured_at = Some(SystemTime::now());
    }

    pub(super) fn dead(&self, rows: u64) {
        self.lock().dead_rows = rows;
    }

    // plain numbers: nothing is half-written that matters
    fn lock(&self) -> MutexGuard<'_, OutboxLag> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
