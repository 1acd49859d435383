//! How far a task's stored contents go, and the proof that they may go there.

use std::collections::BTreeMap;

use crate::record::{Offset, StreamTime, TopicPartition};

/// Proof that Kafka acknowledged the commit whose writes are about to be stored (INV-2).
///
/// Only the commit protocol makes one: [`crate::transaction`] on the broker's answer, the test
/// driver and restoring (which reads committed records only) on their own account.
#[derive(Debug)]
pub struct Acknowledged(());

impl Acknowledged {
    pub(crate) const fn by_broker() -> Self {
        Self(())
    }
}

/// Where a task stands in one source partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputPosition {
    /// The next record to process.
    pub offset: Offset,
    /// The largest timestamp taken from this partition.
    pub partition_time: StreamTime,
}

/// What stored contents correspond to: saved in the same batch as the contents (INV-3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Counts the task's commits; 0 before the first. Restoring does not change it.
    pub commit_number: u64,
    /// For each store with a changelog: the next changelog offset to apply.
    pub changelogs: BTreeMap<String, Offset>,
    /// For each source partition: the next record to process.
    pub inputs: BTreeMap<TopicPartition, InputPosition>,
}

impl Checkpoint {
    /// Asserts that this checkpoint may replace `before`: nothing goes back.
    ///
    /// # Panics
    /// If the commit number, a changelog position or an input position went back, which would mean
    /// that contents and position no longer belong together (INV-2), or a partition time (INV-9).
    pub fn assert_follows(&self, before: &Self) {
        assert!(
            self.commit_number >= before.commit_number,
            "INV-2: commit number went back from {} to {}",
            before.commit_number,
            self.commit_number,
        );
        for (store, offset) in &self.changelogs {
            let earlier = before.changelogs.get(store).copied().unwrap_or(Offset::ZERO);
            assert!(
                *offset >= earlier,
                "INV-2: changelog position of store {store} went back from {earlier} to {offset}",
            );
        }
        for (partition, position) in &self.inputs {
            if let Some(earlier) = before.inputs.get(partition) {
                assert!(
                    position.offset >= earlier.offset,
                    "INV-8: input position of {partition} went back from {} to {}",
                    earlier.offset,
                    position.offset,
                );
                let time = |at: &InputPosition| at.partition_time.as_millis();
                assert!(
                    time(position) >= time(earlier),
                    "INV-9: partition time of {partition} went back from {} to {}",
                    time(earlier),
                    time(position),
                );
            }
        }
    }
}
