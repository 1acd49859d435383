//! Reading what the topology of the test driver wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::{DriverError, SharedEngine};
use crate::record::{OwnedRecord, Record};
use crate::serdes::{Serde, SharedSerde};

/// A topic that the topology writes. Made by
/// [`TopologyTestDriver::create_output_topic`](super::TopologyTestDriver::create_output_topic).
pub struct TestOutputTopic<K, V> {
    engine: SharedEngine,
    name: String,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
}

impl<K, V> fmt::Debug for TestOutputTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestOutputTopic").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K, V> TestOutputTopic<K, V> {
    pub(super) fn new(
        engine: &SharedEngine,
        name: &str,
        key_serde: impl Serde<K>,
        value_serde: impl Serde<V>,
    ) -> Self {
        Self {
            engine: Rc::clone(engine),
            name: name.to_owned(),
            key_serde: Arc::new(key_serde),
            value_serde: Arc::new(value_serde),
        }
    }

    /// Returns how many records are there that nobody read.
    #[must_use]
    pub fn queue_size(&self) -> usize {
        self.engine.try_borrow().map_or(0, |engine| engine.unread(&self.name))
    }

    /// Returns true if every record was read, or none ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue_size() == 0
    }
}

impl<K: 'static, V: 'static> TestOutputTopic<K, V> {
    /// Reads the oldest record that nobody read.
    ///
    /// # Errors
    /// If there is none, or its key or value can't be read (it counts as read then).
    pub fn read_record(&mut self) -> Result<Record<K, V>, DriverError> {
        let raw = self.engine.try_borrow_mut().map_err(|_| DriverError::Busy)?.read(&self.name)?;
        self.typed(raw)
    }

    /// Reads key and value of the oldest record that nobody read.
    ///
    /// # Errors
    /// As [`TestOutputTopic::read_record`].
    pub fn read_key_value(&mut self) -> Result<(K, V), DriverError> {
        self.read_record().map(|record| (record.key, record.value))
    }

    /// Reads the value of the oldest record that nobody read.
    ///
    /// # Errors
    /// As [`TestOutputTopic::read_record`].
    pub fn read_value(&mut self) -> Result<V, DriverError> {
        self.read_record().map(|record| record.value)
    }

    /// Reads all records that nobody read, perhaps none.
    ///
    /// # Errors
    /// If a key or value can't be read.
    pub fn read_records_to_list(&mut self) -> Result<Vec<Record<K, V>>, DriverError> {
        (0..self.queue_size()).map(|_| self.read_record()).collect()
    }

    /// Reads keys and values of all records that nobody read, perhaps none.
    ///
    /// # Errors
    /// If a key or value can't be read.
    pub fn read_key_values_to_list(&mut self) -> Result<Vec<(K, V)>, DriverError> {
        (0..self.queue_size()).map(|_| self.read_key_value()).collect()
    }

    /// Reads all records that nobody read and keeps the last value of each key.
    ///
    /// # Errors
    /// If a key or value can't be read.
    pub fn read_key_values_to_map(&mut self) -> Result<BTreeMap<K, V>, DriverError>
    where
        K: Ord,
    {
        (0..self.queue_size()).map(|_| self.read_key_value()).collect()
    }

    fn typed(&self, raw: OwnedRecord) -> Result<Record<K, V>, DriverError> {
        let failed = |operation| {
            move |cause| DriverError::Serde { topic: self.name.clone(), operation, cause }
        };
        let key = self.key_serde.deserialize(&self.name, raw.key.as_deref());
        let value = self.value_serde.deserialize(&self.name, raw.value.as_deref());
        Ok(Record {
            key: key.map_err(failed("deserialize the key"))?,
            value: value.map_err(failed("deserialize the value"))?,
            timestamp: raw.timestamp,
            headers: raw.headers,
        })
    }
}
