//! The consumer of a client.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{
    BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata, Rebalance,
};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset as Position, TopicPartitionList};

use super::client::Spec;
use super::history::{Event, Key, Log, Mode, Offset, Read};

/// A poll takes no more than this, so that transactions stay small.
const RECORDS_MAX: usize = 64;
const FIRST_RECORD_WAIT: Duration = Duration::from_millis(20);
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// Notes that the assignment changed, and what it is worth.
#[derive(Default)]
struct Rebalances {
    happened: AtomicBool,
    /// The generation of the assignment. A client that asks for it later may have been thrown out
    /// of the group meanwhile and would commit as a stranger, which no broker refuses.
    group: Mutex<Option<ConsumerGroupMetadata>>,
}

impl rdkafka::ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.happened.store(true, Ordering::Relaxed);
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let assigned = matches!(rebalance, Rebalance::Assign(_));
        let group = if assigned { consumer.group_metadata() } else { None };
        *self.group.lock().unwrap() = group;
    }
}

pub(crate) struct Reader {
    consumer: BaseConsumer<Rebalances>,
    topic: String,
    mode: Mode,
    /// First and next offset of what the transaction read under the current assignment.
    taken: BTreeMap<Key, (Offset, Offset)>,
}

impl Reader {
    pub(crate) fn new(spec: &Spec) -> Result<Self, KafkaError> {
        let consumer: BaseConsumer<Rebalances> = ClientConfig::new()
            .set("bootstrap.servers", &spec.bootstrap)
            .set("group.id", &spec.group)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "2000")
            .set("heartbeat.interval.ms", "300")
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "20")
            .set("fetch.queue.backoff.ms", "10")
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "200")
            .create_with_context(Rebalances::default())?;
        match spec.mode {
            Mode::Subscribe => consumer.subscribe(&[&spec.topic])?,
            Mode::Assign => {
                let mut all = TopicPartitionList::new();
                // every other one from what is new, or all of them would read old records alone
                let from =
                    if spec.client.is_multiple_of(2) { Position::End } else { Position::Beginning };
                for key in 0..spec.partitions {
                    all.add_partition_offset(&spec.topic, key, from)?;
                }
                consumer.assign(&all)?;
            }
        }
        let topic = spec.topic.clone();
        Ok(Self { consumer, topic, mode: spec.mode, taken: BTreeMap::new() })
    }

    pub(crate) fn begin(&mut self) {
        self.taken.clear();
    }

    /// Reads what is there. Returns whether the transaction may go on: with a rebalance between its
    /// reads its positions would be those of two assignments.
    pub(crate) fn poll(&mut self, log: &mut Log) -> Result<bool, KafkaError> {
        let mut wait = FIRST_RECORD_WAIT;
        for _ in 0..RECORDS_MAX {
            let message = self.consumer.poll(wait);
            let rebalanced = self.consumer.context().happened.swap(false, Ordering::Relaxed);
            let torn = rebalanced && !self.taken.is_empty();
            if rebalanced {
                self.taken.clear();
            }
            let read = match message {
                None => None,
                Some(Ok(message)) => {
                    let (key, offset) = (message.partition(), message.offset());
                    let text = message.payload_view::<str>().and_then(Result::ok);
                    // what nobody sent is for the checker
                    let value = text.and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
                    Some(Read { key, offset, value })
                }
                Some(Err(error)) if is_passing(&error) => None,
                Some(Err(error)) => return Err(error),
            };
            if let Some(Read { key, offset, .. }) = read {
                let (_, next) = self.taken.entry(key).or_insert((offset, offset));
                *next = offset + 1;
            }
            if torn {
                return Ok(false);
            }
            let Some(read) = read else { break };
            log.write(Event::Read(read));
            wait = Duration::ZERO;
        }
        Ok(true)
    }

    /// Returns what the transaction is to commit for the group.
    pub(crate) fn to_commit(&self) -> Result<Option<TopicPartitionList>, KafkaError> {
        if self.mode == Mode::Assign || self.taken.is_empty() {
            return Ok(None);
        }
        let mut offsets = TopicPartitionList::new();
        for (key, (_, next)) in &self.taken {
            offsets.add_partition_offset(&self.topic, *key, Position::Offset(*next))?;
        }
        Ok(Some(offsets))
    }

    /// Hands over the group as it was when the current assignment was made.
    pub(crate) fn with_group<T>(&self, call: impl FnOnce(&ConsumerGroupMetadata) -> T) -> T {
        let group = self.consumer.context().group.lock().unwrap();
        call(group.as_ref().expect("who has read has an assignment"))
    }

    /// Goes back to where the transaction began.
    pub(crate) fn rewind(&mut self) -> Result<(), KafkaError> {
        for (key, (first, _)) in std::mem::take(&mut self.taken) {
            self.consumer.seek(&self.topic, key, Position::Offset(first), SEEK_TIMEOUT)?;
        }
        Ok(())
    }
}

/// The client library goes on by itself: a broker is away, or the group moved.
fn is_passing(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumption(_))
}
