//! Watching stores being restored.

use tidemill_core::record::{Offset, TopicPartition};

/// Is told about the progress of restoring, on the restoring thread (`StateRestoreListener`).
/// Every method does nothing by default.
pub trait StateRestoreListener: Send + Sync {
    /// A store begins to be restored from `start` up to `end` (next offsets).
    fn on_restore_start(
        &self,
        _changelog: &TopicPartition,
        _store: &str,
        _start: Offset,
        _end: Offset,
    ) {
    }

    /// `records` records were applied; the next one to apply is at `position`.
    fn on_batch_restored(
        &self,
        _changelog: &TopicPartition,
        _store: &str,
        _position: Offset,
        _records: u64,
    ) {
    }

    /// A store is complete after `records` records.
    fn on_restore_end(&self, _changelog: &TopicPartition, _store: &str, _records: u64) {}

    /// The task moved away before the store was complete (KIP-869).
    fn on_restore_suspended(&self, _changelog: &TopicPartition, _store: &str, _records: u64) {}
}

/// Nobody watches.
pub(crate) struct NoListener;

impl StateRestoreListener for NoListener {}
