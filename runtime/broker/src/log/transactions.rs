//! Which transactions of a partition are open, and which ended in vain.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// A transaction that was aborted in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aborted {
    /// Whose it was.
    pub producer_id: i64,
    /// Its first record.
    pub first_offset: i64,
    /// Its marker.
    pub last_offset: i64,
    /// Last stable offset when the marker was there: everything that began before has ended.
    pub last_stable_offset: i64,
}

/// The transactions of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// First offsets of open transactions, with their producers.
    open: BTreeMap<i64, i64>,
    /// By the offset of their markers.
    aborted: VecDeque<Aborted>,
}

impl Index {
    pub(crate) fn new(open: BTreeMap<i64, i64>, aborted: VecDeque<Aborted>) -> Self {
        Self { open, aborted }
    }

    pub(crate) fn begin(&mut self, first_offset: i64, producer_id: i64) {
        self.open.insert(first_offset, producer_id);
    }

    /// Ends the transaction that began at `first_offset`, with a marker at `last_offset`.
    pub(crate) fn end(&mut self, first_offset: i64, last_offset: i64, commits: bool) {
        let Some(producer_id) = self.open.remove(&first_offset) else { return };
        if !commits {
            let last_stable_offset = self.first_open().unwrap_or(last_offset + 1);
            let aborted = Aborted { producer_id, first_offset, last_offset, last_stable_offset };
            self.aborted.push_back(aborted);
        }
    }

    /// Where the oldest open transaction begins.
    pub(crate) fn first_open(&self) -> Option<i64> {
        self.open.first_key_value().map(|(offset, _)| *offset)
    }

    /// The aborted transactions that have records or markers in `from..until`.
    pub(crate) fn aborted_within(&self, from: i64, until: i64) -> Vec<Aborted> {
        let start = self.aborted.partition_point(|aborted| aborted.last_offset < from);
        let mut found = Vec::new();
        for aborted in self.aborted.range(start..) {
            if aborted.first_offset < until {
                found.push(*aborted);
            }
            // whatever ends later began later than this
            if aborted.last_stable_offset >= until {
                break;
            }
        }
        found
    }

    pub(crate) fn aborted(&self) -> &VecDeque<Aborted> {
        &self.aborted
    }

    pub(crate) fn retain_aborted(&mut self, keep: impl FnMut(&Aborted) -> bool) {
        self.aborted.retain(keep);
    }
}
