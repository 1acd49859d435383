//! A source in its place in a task: bytes become a typed record, once.

use std::rc::Rc;
use std::sync::Arc;

use super::timestamps::own_timestamp;
use super::{Consumed, RecordTimes, TimestampExtractor};
use crate::errors::BoxError;
use crate::processor::{Children, Current, Halt, TaskContext};
use crate::record::{Record, Timestamp};
use crate::serdes::SharedSerde;

/// One source partition's way into the task's nodes.
///
/// The head of a partition is read as soon as it is the head, because choosing between partitions
/// takes its timestamp; it waits in the port until it is chosen.
pub(crate) trait SourcePort {
    /// Reads the record and keeps it; returns its timestamp. `None`: it is to be skipped.
    fn load(
        &mut self,
        current: Current<'_>,
        times: RecordTimes,
    ) -> Result<Option<Timestamp>, BoxError>;
    /// Sends the kept record into the topology.
    fn dispatch(&mut self, task: &mut TaskContext<'_>) -> Result<(), Halt>;
    /// Name of the source node.
    fn node(&self) -> &str;
}

pub(crate) struct Source<K, V> {
    name: String,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    timestamps: Option<Arc<dyn TimestampExtractor<K, V>>>,
    children: Rc<Children<K, V>>,
    head: Option<Record<K, V>>,
}

impl<K, V> Source<K, V> {
    pub(crate) fn new(
        name: String,
        consumed: &Consumed<K, V>,
        children: Rc<Children<K, V>>,
    ) -> Self {
        Self {
            name,
            key_serde: consumed.key_serde.clone(),
            value_serde: consumed.value_serde.clone(),
            timestamps: consumed.timestamp_extractor.clone(),
            children,
            head: None,
        }
    }
}

impl<K: Clone + 'static, V: Clone + 'static> SourcePort for Source<K, V> {
    fn load(
        &mut self,
        current: Current<'_>,
        times: RecordTimes,
    ) -> Result<Option<Timestamp>, BoxError> {
        assert!(self.head.is_none(), "the head of a partition is read once");
        let Current { topic, raw, .. } = current;
        if self.timestamps.is_none() {
            own_timestamp(&times)?;
        }
        let key = self
            .key_serde
            .deserialize(topic, raw.key())
            .map_err(|cause| format!("could not deserialize the key: {cause}"))?;
        let value = self
            .value_serde
            .deserialize(topic, raw.value())
            .map_err(|cause| format!("could not deserialize the value: {cause}"))?;
        let timestamp = match &self.timestamps {
            None => times.record,
            Some(extractor) => extractor.extract(&key, &value, &times)?,
        };
        if timestamp.0 < 0 {
            return Ok(None);
        }
        self.head = Some(Record { key, value, timestamp, headers: raw.headers() });
        Ok(Some(timestamp))
    }

    fn dispatch(&mut self, task: &mut TaskContext<'_>) -> Result<(), Halt> {
        let head = self.head.take().expect("a record is read before it is dispatched");
        self.children.forward(task, head)
    }

    fn node(&self) -> &str {
        &self.name
    }
}
