//! A sink in its place in a task: a typed record becomes bytes and goes to its partitions.

use std::borrow::Cow;
use std::sync::Arc;

use super::{
    Partitions, Produced, RecordContext, StreamPartitioner, TopicNameExtractor, check_name,
    partition_for_key,
};
use crate::errors::{BoxError, TaskErrorKind};
use crate::processor::{
    Collector, Halt, Lifecycle, Outgoing, Punctuation, Receive, SendError, SinkTopic, TaskContext,
};
use crate::record::{Partition, Record};
use crate::serdes::{Encoded, SharedSerde};

enum Target<K, V> {
    Topic { name: String, topic: SinkTopic },
    Extracted(Arc<dyn TopicNameExtractor<K, V>>),
}

pub(crate) struct Sink<K, V> {
    name: String,
    target: Target<K, V>,
    writer: Writer<K, V>,
}

impl<K: 'static, V> Sink<K, V> {
    pub(crate) fn new(
        name: String,
        topic_name: String,
        topic: SinkTopic,
        produced: &Produced<K, V>,
    ) -> Self {
        let target = Target::Topic { name: topic_name, topic };
        Self { name, target, writer: Writer::new(produced) }
    }

    pub(crate) fn with_extractor(
        name: String,
        extractor: Arc<dyn TopicNameExtractor<K, V>>,
        produced: &Produced<K, V>,
    ) -> Self {
        Self { name, target: Target::Extracted(extractor), writer: Writer::new(produced) }
    }
}

/// Turns records into bytes; keeps its buffers.
struct Writer<K, V> {
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    one_partition: bool,
    /// Bytes at the end of a key that have no say in its partition.
    window_bytes: usize,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<K: 'static, V> Writer<K, V> {
    fn new(produced: &Produced<K, V>) -> Self {
        Self {
            key_serde: produced.key_serde.clone(),
            value_serde: produced.value_serde.clone(),
            partitioner: produced.partitioner.clone(),
            one_partition: produced.one_partition,
            window_bytes: match produced.partitioner {
                None if produced.windows_together => produced.key_serde.window_bytes(),
                _ => 0,
            },
            key: Vec::new(),
            value: Vec::new(),
        }
    }
}

impl<K: 'static, V: 'static> Writer<K, V> {
    fn send(
        &mut self,
        task: &mut TaskContext<'_>,
        (name, topic): (&str, SinkTopic),
        record: &Record<K, V>,
    ) -> Result<(), SendError> {
        let partitions = match &self.partitioner {
            Some(chooser) => chooser.partitions(name, &record.key, &record.value, topic.partitions),
            None => Partitions::ByKey,
        };
        if let Partitions::Each(chosen) = &partitions {
            if self.one_partition && chosen.len() != 1 {
                let chosen = chosen.len();
                let text = format!("the partitioner chose {chosen} partitions, it has to choose 1");
                return Err(SendError::Rejected(text.into()));
            }
            if chosen.is_empty() {
                task.shared.dropped += 1;
                return Ok(());
            }
        }
        let rejected = |what: &str, cause| -> SendError {
            SendError::Rejected(format!("could not serialize the {what}: {cause}").into())
        };
        self.key.clear();
        self.value.clear();
        let key = self
            .key_serde
            .serialize(name, &record.key, &mut self.key)
            .map_err(|cause| rejected("key", cause))?;
        let value = self
            .value_serde
            .serialize(name, &record.value, &mut self.value)
            .map_err(|cause| rejected("value", cause))?;
        let key = (key == Encoded::Bytes).then_some(&self.key[..]);
        let to = |partition| Outgoing {
            topic,
            partition,
            key,
            value: (value == Encoded::Bytes).then_some(&self.value[..]),
            timestamp: record.timestamp,
            headers: &record.headers,
        };
        match partitions {
            Partitions::ByKey => {
                let partition = key.map(|key| {
                    let key = &key[..key.len().saturating_sub(self.window_bytes)];
                    partition_for_key(key, topic.partitions)
                });
                task.collector.send(to(partition))
            }
            Partitions::One(partition) => {
                check(partition, topic)?;
                task.collector.send(to(Some(partition)))
            }
            Partitions::Each(partitions) => {
                // all of them or none
                partitions.iter().try_for_each(|partition| check(*partition, topic))?;
                for (place, partition) in partitions.iter().enumerate() {
                    if !partitions[..place].contains(partition) {
                        task.collector.send(to(Some(*partition)))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Checks what a partitioner chose.
fn check(chosen: Partition, topic: SinkTopic) -> Result<(), SendError> {
    let partitions = topic.partitions;
    if u32::try_from(chosen.0).is_ok_and(|chosen| chosen < partitions) {
        return Ok(());
    }
    let text = format!("the partitioner chose partition {chosen} of {partitions}");
    Err(SendError::Rejected(text.into()))
}

/// Finds a topic that an extractor named.
fn find(collector: &mut dyn Collector, name: &str) -> Result<SinkTopic, SendError> {
    check_name(name).map_err(|illegal| SendError::Rejected(illegal.into()))?;
    collector.resolve(name)
}

impl<K: 'static, V: 'static> Receive<K, V> for Sink<K, V> {
    fn receive(&mut self, task: &mut TaskContext<'_>, record: Record<K, V>) -> Result<(), Halt> {
        let (topic_name, topic) = match &self.target {
            Target::Topic { name, topic } => (Cow::Borrowed(&**name), Ok(*topic)),
            Target::Extracted(extractor) => {
                let Record { key, value, timestamp, headers } = &record;
                let context =
                    RecordContext { timestamp: *timestamp, headers, source: task.source() };
                match extractor.extract(key, value, &context) {
                    Ok(name) => {
                        let found = find(task.collector, &name);
                        (name, found)
                    }
                    Err(error) => return task.absorb(&self.name, error),
                }
            }
        };
        let writer = &mut self.writer;
        let sent = topic.and_then(|topic| writer.send(task, (&topic_name, topic), &record));
        let error: BoxError = match sent {
            Ok(()) => return Ok(()),
            Err(SendError::Failed(error)) => {
                return Err(task.halt_as(TaskErrorKind::Runtime, &self.name, error));
            }
            Err(SendError::Rejected(error)) => format!("topic {topic_name}: {error}").into(),
        };
        let context = task.error_context(&self.name);
        let handler = &task.shared.handlers.production;
        let response = handler.handle(&context, &topic_name, &*error);
        task.respond(response, TaskErrorKind::Production, &self.name, error)
    }
}

impl<K, V> Lifecycle for Sink<K, V> {
    fn init(&mut self, _: &mut TaskContext<'_>) -> Result<(), Halt> {
        Ok(())
    }

    fn punctuate(&mut self, _: &mut TaskContext<'_>, _: Punctuation) -> Result<(), Halt> {
        Ok(())
    }

    fn flush(&mut self, _: &mut TaskContext<'_>) -> Result<(), Halt> {
        Ok(())
    }

    fn close(&mut self) {}
}
