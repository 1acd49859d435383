//! A sink in its place in a task: a typed record becomes bytes and goes to its partition.

use std::sync::Arc;

use super::{Produced, StreamPartitioner, partition_for_key};
use crate::errors::{BoxError, TaskErrorKind};
use crate::processor::{
    Halt, Lifecycle, Outgoing, Punctuation, Receive, SendError, SinkTopic, TaskContext,
};
use crate::record::{Partition, Record};
use crate::serdes::{Encoded, SharedSerde};

pub(crate) struct Sink<K, V> {
    name: String,
    topic_name: String,
    topic: SinkTopic,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl<K, V> Sink<K, V> {
    pub(crate) fn new(
        name: String,
        topic_name: String,
        topic: SinkTopic,
        produced: &Produced<K, V>,
    ) -> Self {
        Self {
            name,
            topic_name,
            topic,
            key_serde: produced.key_serde.clone(),
            value_serde: produced.value_serde.clone(),
            partitioner: produced.partitioner.clone(),
            key: Vec::new(),
            value: Vec::new(),
        }
    }
}

impl<K: 'static, V: 'static> Sink<K, V> {
    fn send(&mut self, task: &mut TaskContext<'_>, record: &Record<K, V>) -> Result<(), SendError> {
        let rejected = |what: &str, cause| -> SendError {
            SendError::Rejected(format!("could not serialize the {what}: {cause}").into())
        };
        self.key.clear();
        self.value.clear();
        let key = self
            .key_serde
            .serialize(&self.topic_name, &record.key, &mut self.key)
            .map_err(|cause| rejected("key", cause))?;
        let value = self
            .value_serde
            .serialize(&self.topic_name, &record.value, &mut self.value)
            .map_err(|cause| rejected("value", cause))?;
        let key = (key == Encoded::Bytes).then_some(&self.key[..]);
        task.collector.send(Outgoing {
            topic: self.topic,
            partition: self.partition(record, key)?,
            key,
            value: (value == Encoded::Bytes).then_some(&self.value[..]),
            timestamp: record.timestamp,
            headers: &record.headers,
        })
    }

    fn partition(
        &self,
        record: &Record<K, V>,
        key: Option<&[u8]>,
    ) -> Result<Option<Partition>, SendError> {
        let partitions = self.topic.partitions;
        let chosen = self.partitioner.as_ref().and_then(|partitioner| {
            partitioner.partition(&self.topic_name, &record.key, &record.value, partitions)
        });
        match chosen {
            Some(Partition(p)) if u32::try_from(p).is_ok_and(|p| p < partitions) => Ok(chosen),
            Some(p) => Err(SendError::Rejected(
                format!("the partitioner chose partition {p} of {partitions}").into(),
            )),
            None => Ok(key.map(|key| partition_for_key(key, partitions))),
        }
    }
}

impl<K: 'static, V: 'static> Receive<K, V> for Sink<K, V> {
    fn receive(&mut self, task: &mut TaskContext<'_>, record: Record<K, V>) -> Result<(), Halt> {
        let error: BoxError = match self.send(task, &record) {
            Ok(()) => return Ok(()),
            Err(SendError::Failed(error)) => {
                return Err(task.halt_as(TaskErrorKind::Runtime, &self.name, error));
            }
            Err(SendError::Rejected(error)) => format!("topic {}: {error}", self.topic_name).into(),
        };
        let context = task.error_context(&self.name);
        let handler = &task.shared.handlers.production;
        let response = handler.handle(&context, &self.topic_name, &*error);
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
