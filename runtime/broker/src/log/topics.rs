//! All topics of the broker.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use super::config::LogConfig;
use super::entry::{Entry, PartitionKey, TopicNumber};
use super::partition::PartitionLog;
use crate::engine::{Context, Millis};
use crate::journal;

/// A topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Topic {
    number: TopicNumber,
    id: Uuid,
    configs: BTreeMap<String, String>,
    partitions: Vec<PartitionLog>,
}

impl Topic {
    /// Its id: another one for a topic of the same name that is made later.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Where its configuration differs from the defaults.
    #[must_use]
    pub fn configs(&self) -> &BTreeMap<String, String> {
        &self.configs
    }

    /// Its partitions, in order.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionLog] {
        &self.partitions
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    fn extend(&mut self, count: i32) {
        let config = LogConfig::of(&self.configs);
        for index in self.partition_count()..count {
            self.partitions.push(PartitionLog::new((self.number, index), config.clone()));
        }
    }

    fn configure(&mut self, configs: BTreeMap<String, String>) {
        let config = LogConfig::of(&configs);
        self.configs = configs;
        for partition in &mut self.partitions {
            partition.configure(config.clone());
        }
    }
}

/// All topics, by name.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Topics {
    topics: BTreeMap<String, Topic>,
    names: HashMap<TopicNumber, String>,
    next: TopicNumber,
}

impl Topics {
    /// The topics with their names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.topics.iter().map(|(name, topic)| (name.as_str(), topic))
    }

    /// Names of the topics, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// A topic by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Topic> {
        self.topics.get(name)
    }

    /// Name of the topic with an id.
    #[must_use]
    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        let (_, low) = id.as_u64_pair();
        let number = TopicNumber::try_from(low.checked_sub(1)?).ok()?;
        let name = self.names.get(&number)?;
        (self.topics.get(name)?.id == id).then_some(name)
    }

    /// How many partitions a topic has; `None` if there is no such topic.
    #[must_use]
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        self.topics.get(topic).map(Topic::partition_count)
    }

    /// One partition's log.
    #[must_use]
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&PartitionLog> {
        self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(crate) fn partition_mut(
        &mut self,
        topic: &str,
        partition: i32,
    ) -> Option<&mut PartitionLog> {
        self.topics.get_mut(topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    pub(crate) fn partitions_mut(&mut self) -> impl Iterator<Item = &mut PartitionLog> {
        self.topics.values_mut().flat_map(|topic| topic.partitions.iter_mut())
    }

    /// Makes a topic. The caller has checked everything.
    pub(crate) fn create(
        &mut self,
        context: &mut Context<'_>,
        name: &str,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) {
        let (topic, name) = (self.next, name.to_owned());
        self.note(context, Entry::Created { topic, name, partitions, configs });
    }

    pub(crate) fn delete(&mut self, context: &mut Context<'_>, name: &str) {
        if let Some(topic) = self.topics.get(name) {
            self.note(context, Entry::Deleted(topic.number));
        }
    }

    /// Gives a topic more partitions.
    pub(crate) fn extend(&mut self, context: &mut Context<'_>, name: &str, count: i32) {
        if let Some(topic) = self.topics.get(name) {
            self.note(context, Entry::Extended(topic.number, count));
        }
    }

    pub(crate) fn configure(
        &mut self,
        context: &mut Context<'_>,
        name: &str,
        configs: BTreeMap<String, String>,
    ) {
        if let Some(topic) = self.topics.get(name) {
            self.note(context, Entry::Configured(topic.number, configs));
        }
    }

    /// Applies an entry that is certain to fit, and journals it.
    fn note(&mut self, context: &mut Context<'_>, entry: Entry) {
        let done = self.recover(entry.clone(), context.now);
        done.expect("an entry about a topic that is there can be applied");
        context.journal.push(journal::Entry::Log(entry));
    }

    /// Applies an entry of the journal.
    pub(crate) fn recover(&mut self, entry: Entry, now: Millis) -> Result<(), String> {
        match entry {
            Entry::Created { topic, name, partitions, configs } => {
                return self.insert(topic, name, partitions, configs);
            }
            Entry::Deleted(topic) => {
                let name = self.names.remove(&topic);
                let name = name.ok_or_else(|| format!("topic {topic} is not there"))?;
                self.topics.remove(&name);
            }
            Entry::Extended(topic, count) => self.topic(topic)?.extend(count),
            Entry::Configured(topic, configs) => self.topic(topic)?.configure(configs),
            Entry::NextTopic(next) => self.next = self.next.max(next),
            Entry::Appended(key, bytes) => self.log(key)?.replay(bytes, now)?,
            Entry::Started(key, offset) => self.log(key)?.drop_before(offset),
            Entry::Expired(key, producers) => self.log(key)?.forget(&producers),
            Entry::Cleaned(key, until, images) => self.log(key)?.replace(until, images)?,
            Entry::Restored(key, image) => self.log(key)?.restore(*image),
            Entry::Segment(key, base) => self.log(key)?.restore_segment(base),
            Entry::Stored(key, bytes) => self.log(key)?.restore_batch(bytes)?,
        }
        Ok(())
    }

    fn insert(
        &mut self,
        number: TopicNumber,
        name: String,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<(), String> {
        if self.topics.contains_key(&name) {
            return Err(format!("topic {name} is there already"));
        }
        self.next = self.next.max(number.saturating_add(1));
        let id = topic_id(&name, number);
        let mut topic = Topic { number, id, configs, partitions: Vec::new() };
        topic.extend(partitions);
        self.names.insert(number, name.clone());
        self.topics.insert(name, topic);
        Ok(())
    }

    fn topic(&mut self, number: TopicNumber) -> Result<&mut Topic, String> {
        let name = self.names.get(&number);
        let topic = name.and_then(|name| self.topics.get_mut(name));
        topic.ok_or_else(|| format!("topic {number} is not there"))
    }

    fn log(&mut self, (number, partition): PartitionKey) -> Result<&mut PartitionLog, String> {
        let topic = self.topic(number)?;
        let log = usize::try_from(partition).ok().and_then(|at| topic.partitions.get_mut(at));
        log.ok_or_else(|| format!("topic {number} has no partition {partition}"))
    }

    /// The fewest entries that recover to these topics.
    pub(crate) fn snapshot(&self) -> Vec<journal::Entry> {
        let mut entries = vec![Entry::NextTopic(self.next)];
        for (name, topic) in &self.topics {
            entries.push(Entry::Created {
                topic: topic.number,
                name: name.clone(),
                partitions: topic.partition_count(),
                configs: topic.configs.clone(),
            });
            entries.extend(topic.partitions.iter().flat_map(PartitionLog::image));
        }
        entries.into_iter().map(journal::Entry::Log).collect()
    }
}

/// An id that is the same in every run: from the name (FNV-1a) and the number.
fn topic_id(name: &str, number: TopicNumber) -> Uuid {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let high = name.bytes().fold(0xcbf2_9ce4_8422_2325, mix);
    Uuid::from_u64_pair(high, u64::from(number) + 1)
}
