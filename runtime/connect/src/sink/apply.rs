//! What is handed to the target, and what its answer means.

use std::collections::VecDeque;

use tidemill::record::{Offset, TopicPartition};

use super::target::PartitionBatch;

/// One transaction of the target's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) batches: Vec<PartitionBatch>,
    /// Why its one record is put aside.
    pub(super) reject: Option<String>,
}

/// What became of work whose outcome was unknown, told by the stored offsets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    NotApplied,
    Applied,
    /// Somebody else moved an offset.
    Moved,
}

impl Work {
    pub(super) fn apply(batches: Vec<PartitionBatch>) -> Self {
        Self { batches, reject: None }
    }

    pub(super) fn records(&self) -> usize {
        self.batches.iter().map(|batch| batch.records.len()).sum()
    }

    /// The offsets behind it.
    pub(super) fn positions(&self) -> impl Iterator<Item = (TopicPartition, Offset)> {
        self.batches.iter().map(|batch| (batch.partition.clone(), batch.next))
    }

    /// Judges by what the target has stored now.
    pub(super) fn verdict(&self, stored: impl Fn(&TopicPartition) -> Option<Offset>) -> Verdict {
        let all = |of: fn(&PartitionBatch) -> Offset| {
            self.batches.iter().all(|batch| stored(&batch.partition) == Some(of(batch)))
        };
        if all(|batch| batch.expected) {
            Verdict::NotApplied
        } else if all(|batch| batch.next) {
            Verdict::Applied
        } else {
            Verdict::Moved
        }
    }

    /// Cuts work that was refused into two halves, to find the record that is to blame. `None` if
    /// there is one record or none.
    pub(super) fn halves(mut self) -> Option<[Self; 2]> {
        if self.batches.len() > 1 {
            let second = self.batches.split_off(self.batches.len() / 2);
            return Some([self, Self::apply(second)]);
        }
        let mut first = self.batches.pop()?;
        if first.records.len() < 2 {
            return None;
        }
        let records = first.records.split_off(first.records.len() / 2);
        let middle = first.records.last()?.offset.next();
        let second = PartitionBatch {
            partition: first.partition.clone(),
            expected: middle,
            next: first.next,
            records,
        };
        first.next = middle;
        Some([Self::apply(vec![first]), Self::apply(vec![second])])
    }
}

/// What is to be done before anything new is taken, in order.
pub(super) type Todo = VecDeque<Work>;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidemill::record::{Headers, Partition, Timestamp};

    use super::*;
    use crate::sink::record::SinkRecord;

    fn batch(partition: i32, offsets: &[i64], next: i64) -> PartitionBatch {
        let records = offsets.iter().map(|offset| SinkRecord {
            topic: Arc::from("t"),
            partition: Partition(partition),
            offset: Offset(*offset),
            timestamp: Timestamp(0),
            key: None,
            value: None,
            headers: Headers::new(),
        });
        PartitionBatch {
            partition: TopicPartition::new("t", Partition(partition)),
            expected: Offset(offsets[0]),
            next: Offset(next),
            records: records.collect(),
        }
    }

    #[test]
    fn halves_meet_and_end_where_the_whole_ended() {
        let whole = Work::apply(vec![batch(0, &[3, 7, 9, 20], 25)]);
        let [first, second] = whole.halves().expect("four records");
        assert_eq!(first, Work::apply(vec![batch(0, &[3, 7], 8)]));
        let [mut third, fourth] = second.halves().expect("two records");
        // offsets are not dense: a half begins where the other ended
        assert_eq!(third.batches[0].expected, Offset(8));
        third.batches[0].expected = Offset(9);
        assert_eq!(third, Work::apply(vec![batch(0, &[9], 10)]));
        assert_eq!(fourth.batches[0].expected, Offset(10));
        assert_eq!(fourth.batches[0].next, Offset(25));
        assert_eq!(fourth.halves(), None);
    }

    #[test]
    fn partitions_are_parted_first_and_nothing_is_lost() {
        let whole = Work::apply(vec![batch(0, &[1, 2], 3), batch(1, &[5], 6), batch(2, &[7], 9)]);
        let mut todo = Todo::from([whole.clone()]);
        let mut single = Vec::new();
        while let Some(work) = todo.pop_front() {
            match work.clone().halves() {
                Some(halves) => halves.into_iter().rev().for_each(|half| todo.push_front(half)),
                None => single.push(work),
            }
        }
        let offsets = |work: &Work| work.batches[0].records[0].offset.0;
        assert_eq!(single.iter().map(offsets).collect::<Vec<_>>(), [1, 2, 5, 7]);
        assert!(single.iter().all(|work| work.records() == 1));
    }

    #[test]
    fn the_stored_offsets_tell_what_became_of_a_commit() {
        let work = Work::apply(vec![batch(0, &[1, 2], 3), batch(1, &[5], 6)]);
        let judge = |zero, one| {
            work.verdict(|partition| Some(Offset([zero, one][partition.partition.0 as usize])))
        };
        assert_eq!(judge(1, 5), Verdict::NotApplied);
        assert_eq!(judge(3, 6), Verdict::Applied);
        assert_eq!(judge(3, 7), Verdict::Moved);
        assert_eq!(judge(0, 5), Verdict::Moved);
        assert_eq!(work.verdict(|_| None), Verdict::Moved);
    }
}
