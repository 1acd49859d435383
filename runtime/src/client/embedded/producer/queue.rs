//! Records that wait to be sent or acknowledged, a partition at a time.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tidemill_core::topology::partition_for_key;

use super::batch::Batch;
use crate::client::embedded::link::Pending;
use crate::client::embedded::records::Outbound;
use crate::client::kafka::code;

/// librdkafka's `_UNKNOWN_PARTITION`.
pub(super) const UNKNOWN_PARTITION: i32 = -190;

/// A record that waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) record: Outbound,
    pub(super) slot: Option<u32>,
    pub(super) since: Duration,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) topics: BTreeMap<Rc<str>, Topic>,
    pub(super) partitions: BTreeMap<(Rc<str>, i32), Partition>,
    /// Records whose report was not served yet.
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// How many calls wait for everything to be sent at once.
    pub(super) flushing: u32,
    /// Requests on their way.
    pub(super) in_flight: usize,
    /// Registration of partitions with the transaction.
    pub(super) registering: Option<Pending>,
    pub(super) register_at: Duration,
    /// Sending stops until nothing is on its way; then numbers start anew under a new epoch.
    pub(super) bump: bool,
}

/// What is known of a topic.
#[derive(Default)]
pub(super) struct Topic {
    /// `None` until the broker told.
    pub(super) partitions: Option<i32>,
    /// What waits until then.
    pub(super) waiting: VecDeque<(Option<i32>, Queued)>,
    pub(super) missing_since: Option<Duration>,
    pub(super) asked: Option<Pending>,
    pub(super) ask_at: Duration,
}

/// Whether the transaction knows a partition.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registered {
    #[default]
    No,
    Pending,
    Asked,
    Yes,
}

#[derive(Default)]
pub(super) struct Partition {
    pub(super) queued: VecDeque<Queued>,
    pub(super) queued_bytes: usize,
    /// In the order of their sequence numbers: on their way, or to be sent again.
    pub(super) batches: VecDeque<Batch>,
    pub(super) next_sequence: i32,
    pub(super) next_ack: i32,
    /// Nothing is sent before all that is on its way has come back.
    pub(super) draining: bool,
    pub(super) registered: Registered,
}

impl Partition {
    pub(super) fn in_flight(&self) -> usize {
        self.batches.iter().filter(|batch| batch.flight.is_some()).count()
    }
}

/// A record that was dropped: topic, partition, what, and the code of its report.
pub(super) type Purged = (Rc<str>, i32, Queued, i32);

impl Queue {
    /// Why a record for this partition is not taken at all.
    pub(super) fn refuses(&self, topic: &Rc<str>, partition: Option<i32>) -> Option<i32> {
        let known = self.topics.get(topic)?.partitions?;
        partition.is_some_and(|partition| partition >= known).then_some(UNKNOWN_PARTITION)
    }

    /// Takes a record in. `pick` chooses a partition for a record without a key.
    pub(super) fn push(
        &mut self,
        topic: &Rc<str>,
        partition: Option<i32>,
        queued: Queued,
        transactional: bool,
        pick: u32,
    ) {
        self.messages += 1;
        self.bytes += queued.record.size();
        let known = self.topics.entry(Rc::clone(topic)).or_default();
        match known.partitions {
            None => known.waiting.push_back((partition, queued)),
            Some(count) => {
                let partition = partition.unwrap_or_else(|| choose(&queued.record, count, pick));
                self.place(topic, partition, queued, transactional);
            }
        }
    }

    /// Puts a record into its partition's queue.
    pub(super) fn place(
        &mut self,
        topic: &Rc<str>,
        partition: i32,
        queued: Queued,
        transactional: bool,
    ) {
        let of = self.partitions.entry((Rc::clone(topic), partition)).or_default();
        of.queued_bytes += queued.record.size();
        of.queued.push_back(queued);
        if transactional && of.registered == Registered::No {
            of.registered = Registered::Pending;
        }
    }

    /// Drops what is not on its way, or really everything.
    ///
    /// As librdkafka, the numbers of what is dropped are used again for what comes next; if the
    /// broker had taken one of those batches, it will take the next one for a repetition of it.
    /// Only a new epoch makes that safe, which is what replacing a troubled producer is for.
    pub(super) fn purge(&mut self, in_flight: bool) -> Vec<Purged> {
        let mut purged = Vec::new();
        for (topic, known) in &mut self.topics {
            for (partition, queued) in known.waiting.drain(..) {
                let partition = partition.unwrap_or(-1);
                purged.push((Rc::clone(topic), partition, queued, code::PURGE_QUEUE));
            }
        }
        for ((topic, number), partition) in &mut self.partitions {
            let batches = std::mem::take(&mut partition.batches).into_iter();
            let (kept, dropped): (Vec<_>, Vec<_>) =
                batches.partition(|batch| batch.flight.is_some() && !in_flight);
            partition.batches = kept.into();
            for batch in dropped {
                partition.next_sequence = partition.next_sequence.saturating_sub(batch.len());
                let code = if batch.flight.is_some() {
                    self.in_flight -= 1;
                    code::PURGE_INFLIGHT
                } else {
                    code::PURGE_QUEUE
                };
                let items = batch.items.into_iter();
                purged.extend(items.map(|queued| (Rc::clone(topic), *number, queued, code)));
            }
            partition.queued_bytes = 0;
            let queued = partition.queued.drain(..);
            let code = code::PURGE_QUEUE;
            purged.extend(queued.map(|queued| (Rc::clone(topic), *number, queued, code)));
        }
        purged
    }

    /// Forgets which partitions the transaction knows; or only those that it does not know yet.
    pub(super) fn forget_registered(&mut self, all: bool) {
        for partition in self.partitions.values_mut() {
            if all || partition.registered != Registered::Yes {
                partition.registered = Registered::No;
            }
        }
    }

    /// Numbers start from 0 under a new producer id or epoch; what was not acknowledged is
    /// numbered anew.
    pub(super) fn renumber(&mut self) {
        self.bump = false;
        for partition in self.partitions.values_mut() {
            partition.next_sequence = 0;
            partition.next_ack = 0;
            for batch in &mut partition.batches {
                batch.sequence = partition.next_sequence;
                partition.next_sequence += batch.len();
            }
        }
    }
}

/// The partitioner `murmur2_random`.
pub(super) fn choose(record: &Outbound, count: i32, pick: u32) -> i32 {
    let count = u32::try_from(count).unwrap_or(1).max(1);
    match &record.key {
        Some(key) => partition_for_key(key, count).0,
        None => i32::try_from(pick % count).unwrap_or(0),
    }
}
