//! The topics of a test: what the collector takes, and what becomes of it at a commit.

use std::collections::{BTreeMap, VecDeque};

use crate::processor::{Collector, Outgoing, SendError, SinkTopic};
use crate::record::{Headers, Offset, OwnedRecord, Timestamp};
use crate::store::{StoreIndex, StoreSpec};

/// Who reads a topic, through which of its queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// The task of the topology.
    Task(usize),
    /// The one that fills the global stores.
    Global(usize),
}

/// One topic with its only partition.
#[derive(Debug)]
struct Topic {
    name: String,
    /// The next offset to be written.
    end: Offset,
    /// Everything that the topology committed to it.
    produced: Vec<OwnedRecord>,
    /// Numbers in `produced` of the records that no output topic read yet.
    unread: VecDeque<usize>,
    /// The queue of the task that reads it.
    queue: Option<Queue>,
}

/// All topics, and what was sent since the last commit.
#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: Vec<Topic>,
    by_name: BTreeMap<String, usize>,
    /// For each store of the task: its name and the number of its changelog.
    changelogs: Vec<(String, usize)>,
    /// In the order of sending; offsets are given at the commit.
    pending: Vec<(usize, OwnedRecord)>,
}

impl Topics {
    fn index(&mut self, name: &str) -> usize {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = self.topics.len();
        self.topics.push(Topic {
            name: name.to_owned(),
            end: Offset::ZERO,
            produced: Vec::new(),
            unread: VecDeque::new(),
            queue: None,
        });
        self.by_name.insert(name.to_owned(), index);
        index
    }

    pub(super) fn add_source(&mut self, name: &str, queue: Queue) {
        let index = self.index(name);
        self.topics[index].queue = Some(queue);
    }

    pub(super) fn add_store(&mut self, spec: &StoreSpec, application_id: &str) {
        let changelog = self.index(&spec.changelog_topic(application_id));
        self.changelogs.push((spec.name.clone(), changelog));
    }

    /// Returns the names of the topics that sources read, with the queues that they feed.
    pub(super) fn sources(&self) -> impl Iterator<Item = (&str, Queue)> {
        self.topics.iter().filter_map(|topic| Some((&*topic.name, topic.queue?)))
    }

    pub(super) fn store_names(&self) -> impl Iterator<Item = &str> {
        self.changelogs.iter().map(|(store, _)| &**store)
    }

    /// Gives a record of the test its place in a source topic.
    pub(super) fn append_input(&mut self, queue: Queue, mut record: OwnedRecord) -> OwnedRecord {
        let source = self.topics.iter_mut().find(|topic| topic.queue == Some(queue));
        let source = source.expect("every queue has a topic");
        record.offset = source.end;
        source.end = source.end.next();
        record
    }

    /// Commits what was sent; returns what the tasks are to read, with the queues.
    pub(super) fn commit(&mut self) -> Vec<(Queue, OwnedRecord)> {
        let mut fed = Vec::new();
        for (index, mut record) in std::mem::take(&mut self.pending) {
            let topic = &mut self.topics[index];
            record.offset = topic.end;
            topic.end = topic.end.next();
            if let Some(queue) = topic.queue {
                fed.push((queue, record.clone()));
            }
            topic.unread.push_back(topic.produced.len());
            topic.produced.push(record);
        }
        fed
    }

    /// Forgets what was sent.
    pub(super) fn abort(&mut self) {
        self.pending.clear();
    }

    /// Returns the next changelog offset of each store that has written.
    pub(super) fn changelog_ends(&self) -> BTreeMap<String, Offset> {
        let end = |(store, index): &(String, usize)| (store.clone(), self.topics[*index].end);
        self.changelogs.iter().map(end).filter(|(_, end)| *end > Offset::ZERO).collect()
    }

    pub(super) fn changelog(&self, store: &str) -> Option<&[OwnedRecord]> {
        let (_, index) = self.changelogs.iter().find(|(name, _)| name == store)?;
        Some(&self.topics[*index].produced)
    }

    /// Returns the topics that records were written to, by name.
    pub(super) fn produced(&self) -> impl Iterator<Item = &str> {
        let topics = self.by_name.values().map(|index| &self.topics[*index]);
        topics.filter(|topic| !topic.produced.is_empty()).map(|topic| &*topic.name)
    }

    /// Takes the oldest unread record of a topic; `None` if nothing was ever written to it.
    pub(super) fn read(&mut self, name: &str) -> Option<Option<OwnedRecord>> {
        let topic = &mut self.topics[*self.by_name.get(name)?];
        let next = topic.unread.pop_front().map(|number| topic.produced[number].clone());
        (!topic.produced.is_empty()).then_some(next)
    }

    pub(super) fn unread(&self, name: &str) -> usize {
        self.by_name.get(name).map_or(0, |index| self.topics[*index].unread.len())
    }
}

impl Collector for Topics {
    fn resolve(&mut self, topic: &str) -> Result<SinkTopic, SendError> {
        let index = u32::try_from(self.index(topic));
        let index = index.map_err(|cause| SendError::Rejected(cause.into()))?;
        Ok(SinkTopic { index, partitions: 1 })
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), SendError> {
        let owned = OwnedRecord {
            offset: Offset::ZERO,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.clone(),
        };
        self.pending.push((record.topic.index as usize, owned));
        Ok(())
    }

    fn log(
        &mut self,
        store: StoreIndex,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<(), SendError> {
        let (_, changelog) = self.changelogs[store.0 as usize];
        let owned = OwnedRecord {
            offset: Offset::ZERO,
            timestamp,
            key: Some(key.to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: headers.clone(),
        };
        self.pending.push((changelog, owned));
        Ok(())
    }
}
