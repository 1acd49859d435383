//! Putting records into a source topic of the test driver.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::topics::Queue;
use super::{DriverError, SharedEngine};
use crate::record::{Offset, OwnedRecord, Record, Timestamp};
use crate::serdes::{Encoded, Serde, SharedSerde};

/// A source topic. Made by
/// [`TopologyTestDriver::create_input_topic`](super::TopologyTestDriver::create_input_topic).
pub struct TestInputTopic<K, V> {
    engine: SharedEngine,
    name: String,
    queue: Queue,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    /// Of the next record without a timestamp of its own.
    timestamp: Timestamp,
    auto_advance: Duration,
}

impl<K, V> fmt::Debug for TestInputTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestInputTopic").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<K, V> TestInputTopic<K, V> {
    pub(super) fn new(
        engine: &SharedEngine,
        (name, queue): (&str, Queue),
        key_serde: impl Serde<K>,
        value_serde: impl Serde<V>,
        timestamp: Timestamp,
    ) -> Self {
        Self {
            engine: Rc::clone(engine),
            name: name.to_owned(),
            queue,
            key_serde: Arc::new(key_serde),
            value_serde: Arc::new(value_serde),
            timestamp,
            auto_advance: Duration::ZERO,
        }
    }

    /// Sets the timestamp of the next record, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn with_start_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// Sets by how much (whole milliseconds) the timestamp advances after each record that has none
    /// of its own. Default: 0 ms.
    #[must_use]
    pub fn with_auto_advance(mut self, by: Duration) -> Self {
        self.auto_advance = by;
        self
    }

    /// Advances the timestamp of the next record (whole milliseconds).
    pub fn advance_time(&mut self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.timestamp = Timestamp(self.timestamp.0.saturating_add(millis));
    }
}

impl<K: 'static, V: 'static> TestInputTopic<K, V> {
    /// Pipes a record with the topic's timestamp and processes all that can be processed.
    ///
    /// # Errors
    /// If key or value have no encoding; if the record failed and no handler absorbed it (then what
    /// it did is rolled back and the driver takes no more records); or if the driver is closed.
    pub fn pipe_input(&mut self, key: K, value: V) -> Result<(), DriverError> {
        let timestamp = self.timestamp;
        self.advance_time(self.auto_advance);
        self.pipe_input_at(key, value, timestamp)
    }

    /// As [`TestInputTopic::pipe_input`], with a timestamp of its own (milliseconds since the Unix
    /// epoch).
    ///
    /// # Errors
    /// As there.
    pub fn pipe_input_at(
        &mut self,
        key: K,
        value: V,
        timestamp: Timestamp,
    ) -> Result<(), DriverError> {
        self.pipe_record(Record::new(key, value, timestamp))
    }

    /// As [`TestInputTopic::pipe_input`], with timestamp and headers of its own.
    ///
    /// # Errors
    /// As there.
    pub fn pipe_record(&mut self, record: Record<K, V>) -> Result<(), DriverError> {
        let key = self.bytes(&self.key_serde, &record.key, "serialize the key")?;
        let value = self.bytes(&self.value_serde, &record.value, "serialize the value")?;
        let (timestamp, headers) = (record.timestamp, record.headers);
        // the offset is given by the topic
        let raw = OwnedRecord { offset: Offset::ZERO, timestamp, key, value, headers };
        self.engine.try_borrow_mut().map_err(|_| DriverError::Busy)?.pipe(self.queue, raw)
    }

    /// Pipes key-value pairs, each as [`TestInputTopic::pipe_input`] does.
    ///
    /// # Errors
    /// As there, on the first pair that fails.
    pub fn pipe_key_values(
        &mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), DriverError> {
        pairs.into_iter().try_for_each(|(key, value)| self.pipe_input(key, value))
    }

    fn bytes<T: 'static>(
        &self,
        serde: &SharedSerde<T>,
        value: &T,
        operation: &'static str,
    ) -> Result<Option<Vec<u8>>, DriverError> {
        let mut bytes = Vec::new();
        match serde.serialize(&self.name, value, &mut bytes) {
            Ok(Encoded::Bytes) => Ok(Some(bytes)),
            Ok(Encoded::Null) => Ok(None),
            Err(cause) => Err(DriverError::Serde { topic: self.name.clone(), operation, cause }),
        }
    }
}
