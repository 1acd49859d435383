//! The offsets of one group: committed, and pending until their transaction is decided.

use std::collections::BTreeMap;

use super::entry::{Committed, Entry};
use crate::engine::Millis;
use crate::log::Marker;

/// Offsets by topic and partition.
pub(super) type ByPartition = BTreeMap<String, BTreeMap<i32, Committed>>;

#[derive(Debug, Default)]
pub(super) struct Offsets {
    pub(super) committed: ByPartition,
    pub(super) producers: BTreeMap<i64, Producer>,
}

/// What the group's offsets know of a producer, as a partition does of its producers.
#[derive(Debug)]
pub(super) struct Producer {
    pub(super) epoch: i16,
    /// When it was last heard of.
    pub(super) at: Millis,
    /// Offsets of its open transaction, if it has one here.
    pub(super) pending: Option<ByPartition>,
}

impl Offsets {
    pub(super) fn commit(&mut self, topic: &str, partition: i32, committed: Committed) {
        insert(&mut self.committed, topic, partition, committed);
    }

    /// Keeps an offset until its transaction is decided.
    pub(super) fn pend(
        &mut self,
        (producer_id, epoch): (i64, i16),
        topic: &str,
        partition: i32,
        committed: Committed,
    ) {
        let at = committed.at;
        let producer =
            self.producers.entry(producer_id).or_insert(Producer { epoch, at, pending: None });
        producer.epoch = epoch;
        producer.at = at;
        insert(producer.pending.get_or_insert_default(), topic, partition, committed);
    }

    /// Decides a producer's pending offsets. Of two commits of a partition the later one counts,
    /// also if the earlier one's marker comes last.
    pub(super) fn decide(&mut self, (producer_id, epoch): (i64, i16), marker: Marker, at: Millis) {
        let producer =
            self.producers.entry(producer_id).or_insert(Producer { epoch, at, pending: None });
        if epoch < producer.epoch {
            return;
        }
        producer.epoch = epoch;
        producer.at = at;
        let pending = producer.pending.take().unwrap_or_default();
        if marker == Marker::Abort {
            return;
        }
        for (topic, partitions) in pending {
            for (partition, committed) in partitions {
                let existing = self.committed.get(&topic).and_then(|of| of.get(&partition));
                if existing.is_none_or(|existing| existing.sequence < committed.sequence) {
                    insert(&mut self.committed, &topic, partition, committed);
                }
            }
        }
    }

    pub(super) fn delete(&mut self, topic: &str, partition: i32) {
        remove(&mut self.committed, topic, partition);
        for producer in self.producers.values_mut() {
            if let Some(pending) = &mut producer.pending {
                remove(pending, topic, partition);
            }
        }
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.committed.get(topic)?.get(&partition)
    }

    /// Whether an undecided transaction has an offset for the partition.
    pub(super) fn is_unstable(&self, topic: &str, partition: i32) -> bool {
        let has = |pending: &ByPartition| {
            pending.get(topic).is_some_and(|partitions| partitions.contains_key(&partition))
        };
        self.open().any(has)
    }

    /// Partitions with an offset, committed or pending.
    pub(super) fn partitions(&self) -> Vec<(String, i32)> {
        let all = self.open().chain([&self.committed]);
        let mut partitions: Vec<(String, i32)> = all.flat_map(pairs).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    /// Whether there is an undecided transaction.
    pub(super) fn has_open(&self) -> bool {
        self.open().next().is_some()
    }

    /// Whether a producer has a transaction here that is not decided, under this very epoch.
    pub(super) fn is_open(&self, (producer_id, epoch): (i64, i16)) -> bool {
        let producer = self.producers.get(&producer_id);
        producer.is_some_and(|known| known.epoch == epoch && known.pending.is_some())
    }

    /// Forgets producers that have not been heard of since `before` and have nothing open.
    pub(super) fn forget_producers(&mut self, before: Millis) {
        self.producers.retain(|_, producer| producer.pending.is_some() || producer.at > before);
    }

    /// Entries that recover to this state.
    pub(super) fn snapshot(&self, group: &str) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut offsets = |producer: Option<(i64, i16)>, offsets: &ByPartition| {
            for (topic, partitions) in offsets {
                entries.extend(partitions.iter().map(|(partition, committed)| Entry::Offset {
                    group: group.to_owned(),
                    topic: topic.clone(),
                    partition: *partition,
                    committed: committed.clone(),
                    producer,
                }));
            }
        };
        offsets(None, &self.committed);
        for (id, producer) in &self.producers {
            if let Some(pending) = &producer.pending {
                offsets(Some((*id, producer.epoch)), pending);
            }
        }
        // a marker that decides nothing says which epochs are over
        let nothing =
            |producer: &Producer| producer.pending.as_ref().is_none_or(BTreeMap::is_empty);
        let idle = self.producers.iter().filter(|(_, producer)| nothing(producer));
        entries.extend(idle.map(|(id, producer)| Entry::Decided {
            group: group.to_owned(),
            producer: (*id, producer.epoch),
            marker: Marker::Abort,
            at: producer.at,
        }));
        entries
    }

    /// The offsets of undecided transactions.
    fn open(&self) -> impl Iterator<Item = &ByPartition> {
        self.producers.values().filter_map(|producer| producer.pending.as_ref())
    }
}

fn pairs(offsets: &ByPartition) -> impl Iterator<Item = (String, i32)> {
    offsets.iter().flat_map(|(topic, partitions)| {
        partitions.keys().map(move |partition| (topic.clone(), *partition))
    })
}

fn insert(offsets: &mut ByPartition, topic: &str, partition: i32, committed: Committed) {
    match offsets.get_mut(topic) {
        Some(partitions) => {
            partitions.insert(partition, committed);
        }
        None => {
            offsets.insert(topic.to_owned(), BTreeMap::from([(partition, committed)]));
        }
    }
}

fn remove(offsets: &mut ByPartition, topic: &str, partition: i32) {
    if let Some(partitions) = offsets.get_mut(topic) {
        partitions.remove(&partition);
        if partitions.is_empty() {
            offsets.remove(topic);
        }
    }
}
