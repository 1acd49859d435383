//! The fetches that wait, found by partition and by deadline.

use std::collections::{BTreeMap, BTreeSet};

use super::fetch::Waiting;
use super::{Millis, Ticket};
use crate::log::{PartitionKey, TopicNumber};

/// All waiting fetches.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    waiting: BTreeMap<Ticket, Waiting>,
    by_partition: BTreeMap<PartitionKey, BTreeSet<Ticket>>,
    deadlines: BTreeSet<(Millis, Ticket)>,
}

impl Fetches {
    pub(super) fn add(&mut self, ticket: Ticket, waiting: Waiting) {
        for key in waiting.partitions() {
            self.by_partition.entry(*key).or_default().insert(ticket);
        }
        self.deadlines.insert((waiting.deadline(), ticket));
        self.waiting.insert(ticket, waiting);
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Waiting> {
        self.waiting.get(&ticket)
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        for key in waiting.partitions() {
            let Some(tickets) = self.by_partition.get_mut(key) else { continue };
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_partition.remove(key);
            }
        }
        self.deadlines.remove(&(waiting.deadline(), ticket));
        Some(waiting)
    }

    /// The fetches that look at one of these partitions, each once.
    pub(super) fn looking_at(&self, changed: &[PartitionKey]) -> BTreeSet<Ticket> {
        let sets = changed.iter().filter_map(|key| self.by_partition.get(key));
        sets.flatten().copied().collect()
    }

    /// The partitions of a topic that fetches look at.
    pub(super) fn of_topic(&self, topic: TopicNumber) -> impl Iterator<Item = PartitionKey> {
        let range = (topic, i32::MIN)..=(topic, i32::MAX);
        self.by_partition.range(range).map(|(key, _)| *key)
    }

    /// A fetch whose time is over.
    pub(super) fn due(&self, now: Millis) -> Option<Ticket> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, ticket)| *ticket)
    }

    pub(super) fn next_deadline(&self) -> Option<Millis> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
