//! What a simulation sends to the topology.

use tidemill_core::record::{Headers, Offset, OwnedRecord, Timestamp};
use tidemill_core::serdes::{Encoded, Serde};
use tidemill_core::topology::partition_for_key;

/// A record to be sent.
#[derive(Debug, Clone)]
pub(super) struct InputRecord {
    pub(super) topic: String,
    pub(super) partition: Option<i32>,
    pub(super) record: OwnedRecord,
}

impl InputRecord {
    /// The partition that Kafka's clients choose: by the key, else one after the other.
    pub(super) fn partition_of(&self, partitions: i32, number: usize) -> i32 {
        let chosen = self.partition.or_else(|| {
            let key = self.record.key.as_deref()?;
            Some(partition_for_key(key, u32::try_from(partitions).ok()?).0)
        });
        let count = usize::try_from(partitions.max(1)).unwrap_or(1);
        chosen.unwrap_or_else(|| i32::try_from(number % count).unwrap_or(0))
    }
}

/// Records for the source topics, in the order in which they are sent. How fast they come follows
/// from the seed.
///
/// ```
/// use tidemill::serdes;
/// use tidemill::simulation::Inputs;
///
/// let amounts = (0..100).map(|n| (format!("account-{}", n % 7), n));
/// let inputs = Inputs::new().topic("transactions", &serdes::string(), &serdes::i64(), amounts);
/// assert_eq!(inputs.len(), 100);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    pub(super) records: Vec<InputRecord>,
}

/// What the timestamps of records begin with: an hour before the simulation does. Records of
/// another year would be beyond the retention of their topics.
const FIRST_TIMESTAMP: i64 = super::START - 3_600_000;

impl Inputs {
    /// Returns no records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends records of a topic: keys and values in turn. Timestamps are one second apart.
    ///
    /// # Panics
    /// If a serde refuses one of them: the test is wrong then.
    #[must_use]
    pub fn topic<K, V>(
        mut self,
        topic: &str,
        key_serde: &impl Serde<K>,
        value_serde: &impl Serde<V>,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        for (key, value) in records {
            let key = bytes(topic, key_serde, &key);
            let value = bytes(topic, value_serde, &value);
            let timestamp = self.next_timestamp();
            self.push(topic, None, key, value, timestamp);
        }
        self
    }

    /// Appends one record as bytes, to a partition or to the one that its key belongs to.
    #[must_use]
    pub fn raw(
        mut self,
        topic: &str,
        partition: Option<i32>,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        timestamp: Timestamp,
    ) -> Self {
        self.push(topic, partition, key, value, timestamp);
        self
    }

    /// Mixes the records of different topics: each keeps the order of its own.
    #[must_use]
    pub fn interleaved(mut self, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut queues: Vec<(String, std::collections::VecDeque<InputRecord>)> = Vec::new();
        for record in self.records.drain(..) {
            match queues.iter_mut().find(|(topic, _)| *topic == record.topic) {
                Some((_, queue)) => queue.push_back(record),
                None => queues.push((record.topic.clone(), [record].into())),
            }
        }
        while !queues.is_empty() {
            let index = rng.usize(..queues.len());
            if let Some((_, queue)) = queues.get_mut(index) {
                self.records.extend(queue.pop_front());
                if queue.is_empty() {
                    queues.swap_remove(index);
                }
            }
        }
        self
    }

    /// Returns how many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn next_timestamp(&self) -> Timestamp {
        let number = i64::try_from(self.records.len()).unwrap_or(0);
        Timestamp(FIRST_TIMESTAMP + number * 1_000)
    }

    fn push(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        timestamp: Timestamp,
    ) {
        let headers = Headers::new();
        let record = OwnedRecord { offset: Offset(0), timestamp, key, value, headers };
        self.records.push(InputRecord { topic: topic.to_owned(), partition, record });
    }
}

fn bytes<T>(topic: &str, serde: &impl Serde<T>, value: &T) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    match serde.serialize(topic, value, &mut bytes) {
        Ok(Encoded::Bytes) => Some(bytes),
        Ok(Encoded::Null) => None,
        Err(error) => panic!("an input record of {topic} can't be serialised: {error}"),
    }
}
