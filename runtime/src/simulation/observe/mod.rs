//! What an observer outside sees of the broker: committed records, offsets, folds of changelogs.
//!
//! It reads the engine's logs on its own: it knows batches and markers, and nothing of how a client
//! or the runtime reads them.

mod partition;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use tidemill_broker::engine::Engine;
use tidemill_broker::transaction::TransactionState;
use tidemill_core::record::OwnedRecord;
use tidemill_core::task::decode_commit_metadata;

use partition::PartitionWatch;
pub use view::{PartitionRecord, StoreContents, View};

/// Reads along while everything runs, and remembers.
#[derive(Debug, Default)]
pub(super) struct Observer {
    partitions: BTreeMap<(String, i32), PartitionWatch>,
    /// Committed offset of each input partition of the group.
    offsets: BTreeMap<(String, i32), i64>,
    /// Partition time and commit number in the metadata of each.
    times: BTreeMap<(String, i32), (i64, u64)>,
    /// Producers whose transaction is decided to be committed, with markers missing.
    committing: BTreeSet<i64>,
}

impl Observer {
    /// Looks at everything once.
    ///
    /// # Errors
    /// What must never be seen, in words.
    pub(super) fn look(&mut self, engine: &Engine, group: &str) -> Result<(), String> {
        for (topic, described) in engine.topics().iter() {
            for (log, partition) in described.partitions().iter().zip(0..) {
                let watch = self.partitions.entry((topic.to_owned(), partition)).or_default();
                watch.look(log).map_err(|what| format!("{topic}-{partition}: {what}"))?;
            }
        }
        let prepared = engine.transactions().iter().map(|(_, one)| one);
        let committing = prepared.filter(|one| one.state == TransactionState::PrepareCommit);
        self.committing = committing.map(|one| one.producer_id).collect();
        for (topic, partition, committed) in engine.groups().committed(group) {
            let key = (topic.to_owned(), partition);
            let before = self.offsets.insert(key, committed.offset).unwrap_or(0);
            if committed.offset < before {
                return Err(format!(
                    "INV-8: the committed offset of {topic}-{partition} went back from {before} \
                     to {}",
                    committed.offset
                ));
            }
            self.look_at_metadata(topic, partition, &committed.metadata)?;
            let end = engine.topics().partition(topic, partition);
            let end = end.map_or(0, tidemill_broker::log::PartitionLog::high_watermark);
            if committed.offset > end {
                return Err(format!(
                    "INV-8: the committed offset of {topic}-{partition} is {}, beyond the end \
                     {end}",
                    committed.offset
                ));
            }
        }
        Ok(())
    }

    /// Partition times and commit numbers never go back, whoever commits.
    fn look_at_metadata(
        &mut self,
        topic: &str,
        partition: i32,
        metadata: &str,
    ) -> Result<(), String> {
        let metadata = decode_commit_metadata(metadata);
        let time = metadata.partition_time.as_millis();
        let number = metadata.commit_number.unwrap_or(0);
        let key = (topic.to_owned(), partition);
        let before = self.times.insert(key, (time, number)).unwrap_or((-1, 0));
        if time < before.0 {
            let before = before.0;
            return Err(format!(
                "INV-9: the committed time of {topic}-{partition} went back from {before} to {time}"
            ));
        }
        if number < before.1 {
            let before = before.1;
            return Err(format!(
                "INV-2: the commit number of {topic}-{partition} went back from {before} to \
                 {number}"
            ));
        }
        Ok(())
    }

    /// Whether no transaction is between its decision and its last marker: then offsets and records
    /// are of the same moment.
    pub(super) fn is_consistent(engine: &Engine) -> bool {
        !engine.transactions().iter().any(|(_, one)| one.state.is_prepared())
    }

    /// The records that are committed, whoever could read them yet, by offset.
    pub(super) fn committed(&self, topic: &str, partition: i32) -> &BTreeMap<i64, OwnedRecord> {
        static NONE: BTreeMap<i64, OwnedRecord> = BTreeMap::new();
        let watch = self.partitions.get(&(topic.to_owned(), partition));
        watch.map_or(&NONE, PartitionWatch::committed)
    }

    /// The committed contents of a changelog up to an offset, each as `stored` has it, under its
    /// changelog key. What is decided to be committed belongs to it: who committed it was told so.
    pub(super) fn fold(
        &self,
        changelog: (&str, i32),
        below: i64,
        stored: impl Fn(&OwnedRecord, &[u8]) -> Vec<u8>,
    ) -> StoreContents {
        let mut contents = StoreContents::new();
        for record in self.changelog(changelog, below) {
            let key = record.key.clone().unwrap_or_default();
            match &record.value {
                Some(value) => contents.insert(key, stored(record, value)),
                None => contents.remove(&key),
            };
        }
        contents
    }

    /// The committed records of a changelog up to an offset, in their order, with those that are
    /// decided to be committed.
    pub(super) fn changelog(
        &self,
        (topic, partition): (&str, i32),
        below: i64,
    ) -> Vec<&OwnedRecord> {
        let mut records: BTreeMap<i64, &OwnedRecord> = BTreeMap::new();
        let committed = self.committed(topic, partition).range(..below);
        records.extend(committed.map(|(offset, record)| (*offset, record)));
        if let Some(watch) = self.partitions.get(&(topic.to_owned(), partition)) {
            let decided = watch.open_of(&self.committing).map(|record| (record.offset.0, record));
            records.extend(decided.filter(|(offset, _)| *offset < below));
        }
        records.into_values().collect()
    }

    pub(super) fn offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.offsets.get(&(topic.to_owned(), partition)).copied()
    }

    /// The partitions of a topic that were seen.
    pub(super) fn partitions_of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = i32> + 'a {
        let all = self.partitions.keys().filter(move |(name, _)| name == topic);
        all.map(|(_, partition)| *partition)
    }
}

#[cfg(test)]
mod tests {
    use tidemill_core::record::StreamTime;
    use tidemill_core::task::{CommitMetadata, encode_commit_metadata};

    use super::*;

    #[test]
    fn inv_9_a_committed_time_that_goes_back_is_seen() {
        let metadata = |time, number| {
            let partition_time = StreamTime::from_millis(time);
            let commit_number = Some(number);
            let processors = std::collections::BTreeMap::new();
            encode_commit_metadata(&CommitMetadata { partition_time, commit_number, processors })
        };
        let mut observer = Observer::default();
        let mut look = |metadata: &str| observer.look_at_metadata("inputs", 0, metadata);
        assert_eq!(look(&metadata(-1, 0)), Ok(()));
        assert_eq!(look(&metadata(700, 1)), Ok(()));
        assert_eq!(look(&metadata(700, 2)), Ok(()));
        let error = look(&metadata(699, 3)).unwrap_err();
        assert_eq!(error, "INV-9: the committed time of inputs-0 went back from 700 to 699");
        let error = look(&metadata(800, 2)).unwrap_err();
        assert_eq!(error, "INV-2: the commit number of inputs-0 went back from 3 to 2");
    }
}
