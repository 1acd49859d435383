//! What an invariant is given to look at.

use std::collections::BTreeMap;

use tidemill_core::record::{OwnedRecord, Partition, Record};
use tidemill_core::serdes::{Serde, SerdeError};

use super::Observer;

/// Contents of a store: key and value as they are in the changelog.
pub type StoreContents = BTreeMap<Vec<u8>, Vec<u8>>;

/// A record and the partition that it is in.
pub type PartitionRecord<K, V> = (Partition, Record<K, V>);

/// Everything that is committed at one moment, as readers outside can see it: records, stores,
/// offsets.
///
/// The moment is one at which every transaction is either not decided or ended everywhere, so that
/// what belongs together is there together.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub(in crate::simulation) observer: &'a Observer,
    pub(in crate::simulation) application_id: &'a str,
    pub(in crate::simulation) is_final: bool,
}

impl<'a> View<'a> {
    /// Whether all faults are over and everything that was sent is processed.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// The name of a topic that the topology makes for itself, e.g. of a repartition topic.
    #[must_use]
    pub fn internal_topic(&self, name: &str) -> String {
        format!("{}-{name}", self.application_id)
    }

    /// Iterates over the partitions of a topic.
    pub fn partitions(&self, topic: &'a str) -> impl Iterator<Item = Partition> + 'a {
        self.observer.partitions_of(topic).map(Partition)
    }

    /// Iterates over the committed records of a partition in their order. Records that were deleted
    /// since, as those of repartition topics are, are still here.
    pub fn records(
        &self,
        topic: &str,
        partition: Partition,
    ) -> impl Iterator<Item = &'a OwnedRecord> {
        self.observer.committed(topic, partition.0).values()
    }

    /// Reads the committed records of all partitions of a topic, one partition after the other.
    ///
    /// # Errors
    /// If a record does not fit the serdes.
    pub fn read<K, V>(
        &self,
        topic: &str,
        key_serde: &impl Serde<K>,
        value_serde: &impl Serde<V>,
    ) -> Result<Vec<PartitionRecord<K, V>>, SerdeError> {
        let mut all = Vec::new();
        for partition in self.observer.partitions_of(topic).map(Partition) {
            for record in self.records(topic, partition) {
                let key = key_serde.deserialize(topic, record.key.as_deref())?;
                let value = value_serde.deserialize(topic, record.value.as_deref())?;
                let read = Record::new(key, value, record.timestamp);
                all.push((partition, read.with_headers(record.headers.clone())));
            }
        }
        Ok(all)
    }

    /// Returns the next offset that the application will read of an input partition; `None` if it
    /// has committed none.
    #[must_use]
    pub fn committed_offset(&self, topic: &str, partition: Partition) -> Option<i64> {
        self.observer.offset(topic, partition.0)
    }

    /// Returns the committed contents of a task's store: its changelog, folded. Of
    /// timestamped stores these are the values alone.
    #[must_use]
    pub fn store(&self, store: &str, partition: Partition) -> StoreContents {
        let changelog = self.changelog(store);
        self.observer.fold((&changelog, partition.0), i64::MAX, |_, value| value.to_vec())
    }

    /// Iterates over the partitions in which a store is kept.
    pub fn store_partitions(&self, store: &str) -> impl Iterator<Item = Partition> {
        let changelog = self.changelog(store);
        let partitions: Vec<_> = self.observer.partitions_of(&changelog).map(Partition).collect();
        partitions.into_iter()
    }

    fn changelog(&self, store: &str) -> String {
        format!("{}-{store}-changelog", self.application_id)
    }
}
