//! A running sink as its program sees it: metrics, positions, stop.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidemill::client::Waker;
use tidemill::record::{Offset, TopicPartition};
use tokio::sync::{oneshot, watch};

use super::error::SinkError;

/// What a sink did since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkMetrics {
    /// `sink_records_applied_total`: records whose effect was committed, without dead letters.
    pub records_applied: u64,
    /// `duplicates_ignored_total`: records among them that had none: repeated events, old
    /// revisions.
    pub duplicates_ignored: u64,
    /// `sink_dead_letters_total`: records put aside.
    pub dead_letters: u64,
    /// `sink_transactions_total`: transactions that were committed.
    pub transactions: u64,
    /// `sink_retries_total`: transactions tried again because the target was not available.
    pub retries: u64,
    /// `sink_fenced_total`: transactions that found an offset moved by somebody else.
    pub fenced: u64,
}

#[derive(Debug, Default)]
struct Counters {
    records_applied: AtomicU64,
    duplicates_ignored: AtomicU64,
    dead_letters: AtomicU64,
    transactions: AtomicU64,
    retries: AtomicU64,
    fenced: AtomicU64,
}

/// What the loop tells, and is told.
#[derive(Debug)]
pub(super) struct Shared {
    counters: Counters,
    stop: AtomicBool,
    waker: Arc<Waker>,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    applied: BTreeMap<TopicPartition, Offset>,
    ended: bool,
}

impl Shared {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        let (counters, stop) = (Counters::default(), AtomicBool::new(false));
        Self { counters, stop, waker, progress: watch::Sender::default() }
    }

    pub(super) fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn applied(&self, records: usize, ignored: u64) {
        add(&self.counters.transactions, 1);
        add(&self.counters.records_applied, records as u64);
        add(&self.counters.duplicates_ignored, ignored);
    }

    pub(super) fn rejected(&self) {
        add(&self.counters.transactions, 1);
        add(&self.counters.dead_letters, 1);
    }

    pub(super) fn retried(&self) {
        add(&self.counters.retries, 1);
    }

    pub(super) fn fenced(&self) {
        add(&self.counters.fenced, 1);
    }

    pub(super) fn position(&self, positions: impl Iterator<Item = (TopicPartition, Offset)>) {
        self.progress.send_modify(|progress| progress.applied.extend(positions));
    }

    /// What others own from now on is theirs to tell.
    pub(super) fn forget_positions(&self) {
        self.progress.send_modify(|progress| progress.applied.clear());
    }

    pub(super) fn ended(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

/// A running sink. It is told to stop when this value goes.
pub struct SinkHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) ended: oneshot::Receiver<Result<(), SinkError>>,
    pub(super) name: String,
}

impl SinkHandle {
    /// Finishes the transaction that is under way, leaves the group and returns.
    ///
    /// # Errors
    /// Why it had ended before, if it had.
    pub async fn stop(self) -> Result<(), SinkError> {
        self.shared.stop();
        self.ended().await
    }

    /// Waits until the sink ends by itself.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn ended(mut self) -> Result<(), SinkError> {
        let gone = SinkError::Gone { sink: self.name.clone() };
        (&mut self.ended).await.unwrap_or(Err(gone))
    }

    /// Returns true if it ended by itself; [`ended`](Self::ended) then tells why.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.shared.progress.borrow().ended
    }

    /// Returns what it did since it was started.
    #[must_use]
    pub fn metrics(&self) -> SinkMetrics {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SinkMetrics {
            records_applied: read(&counters.records_applied),
            duplicates_ignored: read(&counters.duplicates_ignored),
            dead_letters: read(&counters.dead_letters),
            transactions: read(&counters.transactions),
            retries: read(&counters.retries),
            fenced: read(&counters.fenced),
        }
    }

    /// Returns the next offset of each partition that this process owns.
    #[must_use]
    pub fn applied(&self) -> BTreeMap<TopicPartition, Offset> {
        self.shared.progress.borrow().applied.clone()
    }

    /// Waits until the record at this offset was applied **by this process**: its partition must be
    /// assigned to it, or become so. From other processes, ask the target; for PostgreSQL with
    /// [`AppliedPositions`](super::postgres::AppliedPositions).
    ///
    /// # Errors
    /// If the sink ended.
    pub async fn applied_up_to(
        &self,
        partition: &TopicPartition,
        offset: Offset,
    ) -> Result<(), NotApplied> {
        let mut progress = self.shared.progress.subscribe();
        let reached = |progress: &Progress| {
            progress.applied.get(partition).is_some_and(|next| *next > offset)
        };
        let found = progress.wait_for(|progress| progress.ended || reached(progress)).await;
        match found {
            Ok(progress) if reached(&progress) => Ok(()),
            _ => Err(NotApplied),
        }
    }
}

/// The sink ended before it applied the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sink ended before it applied the record")]
pub struct NotApplied;

impl Drop for SinkHandle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl fmt::Debug for SinkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkHandle")
            .field("name", &self.name)
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}
