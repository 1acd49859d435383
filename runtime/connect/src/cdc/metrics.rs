//! What a source that reads the log counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lsn::Lsn;

/// Counters and gauges of a source that reads the log, readable at any time from any thread.
#[derive(Debug, Default)]
pub struct LogMetrics {
    transactions: AtomicU64,
    changes: AtomicU64,
    snapshot_rows: AtomicU64,
    committed_lsn: AtomicU64,
    server_lsn: AtomicU64,
}

impl LogMetrics {
    /// Transactions read to their end.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Changes read.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Rows read of the tables themselves.
    #[must_use]
    pub fn snapshot_rows(&self) -> u64 {
        self.snapshot_rows.load(Ordering::Relaxed)
    }

    /// Up to where the log is committed in Kafka.
    #[must_use]
    pub fn committed_lsn(&self) -> Lsn {
        Lsn(self.committed_lsn.load(Ordering::Relaxed))
    }

    /// How many bytes of log the server has beyond what is committed in Kafka, as of the last word
    /// from it: what the slot keeps on the server's disk, at least.
    #[must_use]
    pub fn replication_slot_lag_bytes(&self) -> u64 {
        Lsn(self.server_lsn.load(Ordering::Relaxed)).bytes_since(self.committed_lsn())
    }

    pub(crate) fn committed(&self, lsn: Lsn, server: Lsn) {
        self.committed_lsn.fetch_max(lsn.0, Ordering::Relaxed);
        self.server(server);
    }

    pub(crate) fn server(&self, lsn: Lsn) {
        self.server_lsn.fetch_max(lsn.0, Ordering::Relaxed);
    }

    pub(crate) fn transaction(&self, changes: u64) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes, Ordering::Relaxed);
    }

    pub(crate) fn rows(&self, rows: u64) {
        self.snapshot_rows.fetch_add(rows, Ordering::Relaxed);
    }
}
