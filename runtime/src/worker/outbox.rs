//! The producer of a worker, as the tasks see it: topics and changelogs resolved once.

use std::collections::HashMap;
use std::time::Duration;

use tidemill_core::processor::{Collector, Outgoing, SendError, SinkTopic};
use tidemill_core::record::{Headers, Timestamp, TopicPartition};
use tidemill_core::store::StoreIndex;

use crate::Error;
use crate::client::seam::{Administer, Connector, Produce};
use crate::client::{self, ClientConfig, PositionSlot, TopicHandle};
use crate::config::limits::SINK_TOPICS_MAX;
use crate::config::{Config, WorkerIdentity};
use crate::topics::retrying;
use crate::world::{ProducerOf, World};

use super::{Shared, client_config};

/// How long a full send queue is waited for at a time.
const QUEUE_WAIT: Duration = Duration::from_millis(10);
const CONFIG_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a batch of one record besides key and value: batch header 61, record header up to 21.
const BATCH_OVERHEAD: usize = 82;

/// A changelog partition that a task writes. Stays valid when the producer is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChangelogTarget(usize);

struct Changelog {
    partition: TopicPartition,
    handle: TopicHandle,
    slot: PositionSlot,
}

/// A topic that sinks write.
struct Target {
    name: String,
    handle: TopicHandle,
    partitions: u32,
    /// `max.message.bytes` of the topic: the broker refuses a batch above it, and with it the whole
    /// transaction, so that a record that can't fit is better refused here, where the handler of
    /// its sink can be asked.
    record_bytes_max: usize,
}

/// The producer with what is known of the topics it sends to.
pub(super) struct Outbox<W: World> {
    properties: ClientConfig,
    transactional: bool,
    send_timeout: Duration,
    pub(super) producer: ProducerOf<W>,
    /// By [`SinkTopic::index`].
    topics: Vec<Target>,
    by_name: HashMap<String, u32>,
    changelogs: Vec<Changelog>,
}

impl<W: World> Outbox<W> {
    /// Makes the producer and, under exactly-once, ends whatever transaction a predecessor with
    /// the same transactional id left open.
    pub(super) fn new(
        world: &W,
        config: &Config,
        identity: &WorkerIdentity,
    ) -> Result<Self, Error> {
        let properties = client_config(&config.producer_properties(identity));
        let producer = make_producer(world, &properties, config)?;
        Ok(Self {
            properties,
            transactional: config.exactly_once(),
            send_timeout: config.transaction_timeout,
            producer,
            topics: Vec::new(),
            by_name: HashMap::new(),
            changelogs: Vec::new(),
        })
    }

    /// Replaces the producer: its epoch is superseded, whatever of it is still under way is refused
    /// by the broker from now on (INV-6).
    pub(super) fn replace_producer(&mut self, world: &W, config: &Config) -> Result<(), Error> {
        debug_assert_eq!(self.transactional, config.exactly_once(), "the guarantee never changes");
        self.producer = make_producer(world, &self.properties, config)?;
        for target in &mut self.topics {
            target.handle = topic(&mut self.producer, &target.name)?;
        }
        for changelog in &mut self.changelogs {
            changelog.handle = topic(&mut self.producer, &changelog.partition.topic)?;
            changelog.slot = self.producer.register_position(changelog.partition.clone());
        }
        Ok(())
    }

    /// Returns the target of a changelog partition.
    pub(super) fn changelog(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<ChangelogTarget, Error> {
        let known = self.changelogs.iter().position(|known| known.partition == *partition);
        if let Some(index) = known {
            return Ok(ChangelogTarget(index));
        }
        let handle = topic(&mut self.producer, &partition.topic)?;
        let slot = self.producer.register_position(partition.clone());
        self.changelogs.push(Changelog { partition: partition.clone(), handle, slot });
        Ok(ChangelogTarget(self.changelogs.len() - 1))
    }

    /// All targets that were asked for so far.
    pub(super) fn targets(&self) -> impl Iterator<Item = ChangelogTarget> + use<W> {
        (0..self.changelogs.len()).map(ChangelogTarget)
    }

    pub(super) fn partition(&self, target: ChangelogTarget) -> &TopicPartition {
        &self.changelogs[target.0].partition
    }

    pub(super) fn slot(&self, target: ChangelogTarget) -> PositionSlot {
        self.changelogs[target.0].slot
    }

    /// Looks at the outbox as one task.
    pub(super) fn of_task<'a>(
        &'a mut self,
        shared: &'a Shared<W>,
        changelogs: &'a [Option<ChangelogTarget>],
    ) -> TaskOutbox<'a, W> {
        TaskOutbox { outbox: self, shared, changelogs }
    }

    fn send(&mut self, world: &W, record: &client::Outgoing<'_>) -> Result<(), SendError> {
        let mut deadline = None;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err(client::SendError::QueueFull) => {
                    let now = world.monotonic();
                    if now >= *deadline.get_or_insert(now + self.send_timeout) {
                        let text = "the send queue stayed full: the broker takes no records";
                        return Err(SendError::Failed(text.into()));
                    }
                    self.producer.poll(QUEUE_WAIT);
                }
                Err(error @ client::SendError::TooLarge { .. }) => {
                    return Err(SendError::Rejected(error.into()));
                }
                Err(client::SendError::Failed(error)) => {
                    return Err(SendError::Failed(error.into()));
                }
            }
        }
    }
}

fn make_producer<W: World>(
    world: &W,
    properties: &ClientConfig,
    config: &Config,
) -> Result<ProducerOf<W>, Error> {
    let mut producer = world
        .client()
        .producer(properties)
        .map_err(|cause| Error::client("could not make the producer", cause))?;
    if config.exactly_once() {
        retrying(world, config.task_timeout, "could not initialise transactions", |timeout| {
            producer.init_transactions(timeout)
        })?;
    }
    Ok(producer)
}

fn topic(producer: &mut impl Produce, name: &str) -> Result<TopicHandle, Error> {
    producer.topic(name).map_err(|cause| Error::client(format!("could not send to {name}"), cause))
}

/// The outbox while one task works.
pub(super) struct TaskOutbox<'a, W: World> {
    outbox: &'a mut Outbox<W>,
    shared: &'a Shared<W>,
    changelogs: &'a [Option<ChangelogTarget>],
}

impl<W: World> TaskOutbox<'_, W> {
    /// Asks for the largest record that a topic takes. Without the right to ask there is no bound
    /// here, and the broker's refusal ends the transaction.
    fn record_bytes_max(&self, topic: &str) -> usize {
        let asked = self.shared.admin.topic_configs(&[topic], CONFIG_TIMEOUT);
        let bound = asked.ok().and_then(|configs| {
            configs.first()?.entries.get("max.message.bytes")?.parse::<usize>().ok()
        });
        bound.map_or(usize::MAX, |bound| bound.saturating_sub(BATCH_OVERHEAD))
    }
}

impl<W: World> Collector for TaskOutbox<'_, W> {
    fn resolve(&mut self, name: &str) -> Result<SinkTopic, SendError> {
        if let Some(index) = self.outbox.by_name.get(name).copied() {
            let partitions = self.outbox.topics[index as usize].partitions;
            return Ok(SinkTopic { index, partitions });
        }
        if self.outbox.topics.len() >= SINK_TOPICS_MAX {
            let text = format!(
                "this worker writes {SINK_TOPICS_MAX} topics already, no more are possible: have \
                 the topic name extractor choose among fewer"
            );
            return Err(SendError::Rejected(text.into()));
        }
        let doing = format!("could not look up topic {name}");
        let found =
            retrying(&self.shared.world, self.shared.config.task_timeout, &doing, |timeout| {
                self.shared.admin.topics(&[name], timeout)
            })
            .map_err(|error| SendError::Failed(error.into()))?;
        let partitions = found.first().and_then(|topic| topic.partitions);
        let partitions = partitions.and_then(|count| u32::try_from(count).ok());
        let Some(partitions) = partitions.filter(|count| *count > 0) else {
            let text = format!("topic {name} does not exist: create it");
            return Err(SendError::Rejected(text.into()));
        };
        let handle = topic(&mut self.outbox.producer, name);
        let handle = handle.map_err(|error| SendError::Failed(error.into()))?;
        let index = u32::try_from(self.outbox.topics.len());
        let index = index.map_err(|error| SendError::Rejected(error.into()))?;
        let record_bytes_max = self.record_bytes_max(name);
        let name_owned = name.to_owned();
        let target = Target { name: name_owned, handle, partitions, record_bytes_max };
        self.outbox.topics.push(target);
        self.outbox.by_name.insert(name.to_owned(), index);
        Ok(SinkTopic { index, partitions })
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), SendError> {
        let target = &self.outbox.topics[record.topic.index as usize];
        let length = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let bytes = length(record.key) + length(record.value);
        if bytes > target.record_bytes_max {
            let max = target.record_bytes_max;
            let text = format!("a record of {bytes} bytes is larger than max.message.bytes, {max}");
            return Err(SendError::Rejected(text.into()));
        }
        self.outbox.send(
            &self.shared.world,
            &client::Outgoing {
                topic: target.handle,
                partition: record.partition,
                key: record.key,
                value: record.value,
                timestamp: record.timestamp,
                headers: record.headers,
                position: None,
            },
        )
    }

    fn log(
        &mut self,
        store: StoreIndex,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<(), SendError> {
        let target = self.changelogs.get(store.0 as usize).copied().flatten();
        let target = target.expect("only stores with a changelog log");
        let Changelog { partition, handle, slot } = &self.outbox.changelogs[target.0];
        let record = client::Outgoing {
            topic: *handle,
            partition: Some(partition.partition),
            key: Some(key),
            value,
            timestamp,
            headers,
            position: Some(*slot),
        };
        self.outbox.send(&self.shared.world, &record)
    }
}
