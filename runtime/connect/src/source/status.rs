//! What a relay tells about itself while it runs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use super::SourceRecord;
use super::position::StoredPosition;

/// What a relay is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RelayState {
    /// It was not started yet, or reads its position and opens the source.
    #[default]
    Opening,
    /// It reads, sends and commits.
    Running,
    /// Something failed; it tries again after a pause.
    Waiting,
    /// It ended.
    Ended,
}

/// Counts since the relay was started, and where it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayMetrics {
    /// What it is doing.
    pub state: RelayState,
    /// Records that were committed.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Transactions that were committed, those with nothing but a position included.
    pub commits: u64,
    /// Transactions that were aborted.
    pub aborts: u64,
    /// How often the source had to be opened again.
    pub reopened: u64,
    /// How many producers were made; one is the least.
    pub producers: u64,
    /// Records that could not be sent and were put aside.
    pub rejected: u64,
    /// The number of the committed position; 0 if there is none.
    pub position_number: u64,
    /// How old the newest committed record was when it was committed, by its own timestamp.
    pub delay: Duration,
    /// The last error that was tried to be overcome.
    pub last_error: Option<String>,
}

/// Written by the loop, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) aborted: AtomicU64,
    pub(super) reopened: AtomicU64,
    pub(super) producers: AtomicU64,
    pub(super) rejected: AtomicU64,
    state: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    state: RelayState,
    records: u64,
    bytes: u64,
    commits: u64,
    number: u64,
    delay: Duration,
    error: Option<String>,
    /// Of the transaction that is open.
    open: Open,
}

#[derive(Debug, Default)]
struct Open {
    records: u64,
    bytes: u64,
    newest: i64,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Status {
    pub(super) fn enter(&self, state: RelayState) {
        self.lock().state = state;
    }

    pub(super) fn failed(&self, error: String) {
        let mut told = self.lock();
        told.error = Some(error);
        told.open = Open::default();
    }

    pub(super) fn opened(&self, stored: Option<&StoredPosition>) {
        let mut told = self.lock();
        told.number = stored.map_or(0, |stored| stored.number);
        told.open = Open::default();
    }

    pub(super) fn sent(&self, records: &[SourceRecord]) {
        let size = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len) as u64;
        let bytes: u64 = records.iter().map(|one| size(&one.key) + size(&one.value)).sum();
        let newest = records.iter().map(|one| one.timestamp.0).max();
        let mut told = self.lock();
        told.open.records += records.len() as u64;
        told.open.bytes += bytes;
        told.open.newest = newest.unwrap_or_default().max(told.open.newest);
    }

    pub(super) fn committed(&self, stored: &StoredPosition) {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        let mut told = self.lock();
        let open = std::mem::take(&mut told.open);
        told.records += open.records;
        told.bytes += open.bytes;
        told.commits += 1;
        told.number = stored.number;
        if open.records > 0 {
            let newest = Duration::from_millis(u64::try_from(open.newest).unwrap_or_default());
            told.delay = now.saturating_sub(newest);
        }
    }

    pub(super) fn read(&self) -> RelayMetrics {
        let told = self.lock();
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RelayMetrics {
            state: told.state,
            records: told.records,
            bytes: told.bytes,
            commits: told.commits,
            aborts: load(&self.aborted),
            reopened: load(&self.reopened),
            producers: load(&self.producers),
            rejected: load(&self.rejected),
            position_number: told.number,
            delay: told.delay,
            last_error: told.error.clone(),
        }
    }

    // plain numbers: nothing is half-written that matters
    fn lock(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
