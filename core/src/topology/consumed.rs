//! How a source reads and a sink writes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{StreamPartitioner, TimestampExtractor};
use crate::serdes::{Serde, SharedSerde};

/// Where a source starts where no offset was committed (KIP-1106).
///
/// The test driver has no offsets that could be missing: there it has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoOffsetReset {
    /// At the first record there is.
    Earliest,
    /// At the end: only records from now on.
    Latest,
    /// Nowhere: the application stops with an error that names the partition.
    None,
    /// At the first record whose timestamp is not older than this, seen from when the partition is
    /// first read; at the end if there is none.
    ByDuration(Duration),
}

/// How a source reads: serdes, name and offset reset.
pub struct Consumed<K, V> {
    pub(crate) key_serde: SharedSerde<K>,
    pub(crate) value_serde: SharedSerde<V>,
    pub(crate) name: Option<String>,
    pub(crate) auto_offset_reset: Option<AutoOffsetReset>,
    /// `None`: the record's own timestamp, or an error.
    pub(crate) timestamp_extractor: Option<Arc<dyn TimestampExtractor<K, V>>>,
}

impl<K, V> Consumed<K, V> {
    /// Reads with these serdes.
    pub fn with(key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        Self {
            key_serde: Arc::new(key_serde),
            value_serde: Arc::new(value_serde),
            name: None,
            auto_offset_reset: None,
            timestamp_extractor: None,
        }
    }

    /// Names the source node.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Chooses the records' timestamps. Default:
    /// [`FailOnInvalidTimestamp`](super::FailOnInvalidTimestamp).
    ///
    /// ```
    /// # use tidemill_core::serdes::{i64, string};
    /// # use tidemill_core::topology::{Consumed, RecordTimes};
    /// # use tidemill_core::record::Timestamp;
    /// // the value is the time of the event
    /// let consumed = Consumed::with(string(), i64()).with_timestamp_extractor(
    ///     |_key: &String, value: &i64, _times: &RecordTimes| Ok(Timestamp(*value)),
    /// );
    /// # drop(consumed);
    /// ```
    #[must_use]
    pub fn with_timestamp_extractor(
        mut self,
        extractor: impl TimestampExtractor<K, V> + 'static,
    ) -> Self {
        self.timestamp_extractor = Some(Arc::new(extractor));
        self
    }

    /// Overrides `auto.offset.reset` for this source's topics.
    #[must_use]
    pub fn with_offset_reset_policy(mut self, policy: AutoOffsetReset) -> Self {
        self.auto_offset_reset = Some(policy);
        self
    }
}

impl<K, V> fmt::Debug for Consumed<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumed")
            .field("name", &self.name)
            .field("auto_offset_reset", &self.auto_offset_reset)
            .finish_non_exhaustive()
    }
}

/// How a sink writes: serdes, name and partitioner.
pub struct Produced<K, V> {
    pub(crate) key_serde: SharedSerde<K>,
    pub(crate) value_serde: SharedSerde<V>,
    pub(crate) name: Option<String>,
    pub(crate) partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    /// Whether the partitioner has to choose one partition: somebody waits for the record there.
    pub(crate) one_partition: bool,
    /// Whether all windows of a key go to one partition unless a partitioner says otherwise.
    pub(crate) windows_together: bool,
}

impl<K, V> Produced<K, V> {
    /// Writes with these serdes.
    pub fn with(key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        Self {
            key_serde: Arc::new(key_serde),
            value_serde: Arc::new(value_serde),
            name: None,
            partitioner: None,
            one_partition: false,
            windows_together: false,
        }
    }

    /// Names the sink node.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Chooses partitions by something else than the key's bytes.
    #[must_use]
    pub fn with_stream_partitioner(
        mut self,
        partitioner: impl StreamPartitioner<K, V> + 'static,
    ) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }
}

impl<K, V> fmt::Debug for Produced<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Produced").field("name", &self.name).finish_non_exhaustive()
    }
}
