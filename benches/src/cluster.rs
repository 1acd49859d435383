//! The broker, as the harness sees it: topics, ends of logs, committed offsets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill::client::{
    Admin, ClientConfig, ClientError, Consumer, Isolation, NewTopic, OffsetSpec, TopicCreation,
    Waker,
};
use tidemill::record::{Offset, Partition, TopicPartition};

use crate::interrupt;

const TIMEOUT: Duration = Duration::from_secs(20);

/// The broker under test.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) bootstrap_servers: String,
    pub(crate) partitions: u32,
    admin: Admin,
}

impl Cluster {
    pub(crate) fn new(bootstrap_servers: &str, partitions: u32) -> Result<Self, BoxError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap_servers);
        let admin = Admin::new(&config)?;
        admin.cluster_id(TIMEOUT)?;
        Ok(Self { bootstrap_servers: bootstrap_servers.to_owned(), partitions, admin })
    }

    /// Options that every client of the harness begins with.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers);
        config
    }

    pub(crate) fn create(&self, topic: &str) -> Result<(), BoxError> {
        let new = NewTopic {
            name: topic.to_owned(),
            partitions: i32::try_from(self.partitions)?,
            replication_factor: 1,
            configs: BTreeMap::new(),
        };
        for (name, outcome) in self.admin.create_topics(&[new], TIMEOUT)? {
            match outcome {
                TopicCreation::Created => {}
                TopicCreation::AlreadyExists => {
                    return Err(format!("topic {name} exists already").into());
                }
                TopicCreation::Failed(error) => return Err(error.into()),
            }
        }
        // The controller has it; the broker learns of it a moment later.
        let begun = Instant::now();
        while self.ends(topic).is_err() {
            interrupt::check()?;
            if begun.elapsed() > TIMEOUT {
                return Err(
                    format!("topic {topic} is not there {TIMEOUT:?} after its creation").into()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    pub(crate) fn delete(&self, topics: &[&str]) -> Result<(), BoxError> {
        Ok(self.admin.delete_topics(topics, TIMEOUT)?)
    }

    pub(crate) fn partitions_of(&self, topic: &str) -> Vec<TopicPartition> {
        let topic: Arc<str> = topic.into();
        let partitions = 0..i32::try_from(self.partitions).unwrap_or(0);
        partitions.map(|p| TopicPartition::new(Arc::clone(&topic), Partition(p))).collect()
    }

    /// The offsets after the last records that read_committed shows, by partition.
    pub(crate) fn ends(&self, topic: &str) -> Result<Vec<i64>, ClientError> {
        let partitions = self.partitions_of(topic);
        let ends = self.admin.list_offsets(
            &partitions,
            OffsetSpec::Latest,
            Isolation::ReadCommitted,
            TIMEOUT,
        )?;
        Ok(ends.into_iter().map(|(_, offset)| offset.0).collect())
    }

    /// Watches what a group committed, without being a member of it.
    pub(crate) fn group(&self, group: &str) -> Result<Group, BoxError> {
        let mut config = self.client();
        config.set("group.id", group);
        // Does not ask for stable offsets: what is committed now, without waiting.
        config.set("isolation.level", "read_uncommitted");
        Ok(Group { consumer: Consumer::new(&config, Arc::new(Waker::new()))? })
    }
}

/// A group whose committed offsets are watched.
#[derive(Debug)]
pub(crate) struct Group {
    consumer: Consumer,
}

impl Group {
    /// The committed offsets, 0 where there is none.
    pub(crate) fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>, ClientError> {
        let committed = self.consumer.committed(partitions, Duration::from_secs(5))?;
        Ok(committed.into_iter().map(|one| one.offset.unwrap_or(Offset::ZERO).0).collect())
    }
}
