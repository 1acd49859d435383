//! What the cluster says of a sink's topics, and whether the stored offsets still belong to them.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::client::{Admin, ClientError, Isolation, OffsetSpec, Severity};
use tidemill::record::{Offset, Partition, TopicPartition};

use super::config::StartAt;
use super::target::TopicFacts;

/// An answer, or why there is none.
pub(super) enum FactsError {
    /// Not now.
    Later(ClientError),
    /// The topic does not exist.
    Missing(String),
    /// Time does not heal it.
    Kafka(ClientError),
    /// Records are lost, or the log is another one.
    Refused { what: String, remedy: String },
}

impl From<ClientError> for FactsError {
    fn from(error: ClientError) -> Self {
        match error.severity {
            Severity::Retry => Self::Later(error),
            // a topic that is being deleted or made
            _ if error.is_unknown_topic_or_partition() => Self::Later(error),
            _ => Self::Kafka(error),
        }
    }
}

pub(super) struct Cluster {
    pub(super) admin: Admin,
    pub(super) topics: Vec<String>,
    pub(super) start_at: StartAt,
    pub(super) timeout: Duration,
}

impl Cluster {
    fn names(&self) -> Vec<&str> {
        self.topics.iter().map(String::as_str).collect()
    }

    /// Returns the ids of the topics.
    pub(super) fn ids(&self) -> Result<Vec<Option<String>>, ClientError> {
        self.admin.topic_ids(&self.names(), self.timeout)
    }

    /// Returns what a target has to know of each topic.
    pub(super) fn facts(&self) -> Result<Vec<TopicFacts>, FactsError> {
        let ids = self.ids()?;
        let mut facts = Vec::new();
        for (topic, id) in self.admin.topics(&self.names(), self.timeout)?.into_iter().zip(ids) {
            let Some(count) = topic.partitions else {
                return Err(FactsError::Missing(topic.name));
            };
            let starts = self.starts(&topic.name, count)?;
            facts.push(TopicFacts { name: topic.name, id, starts });
        }
        Ok(facts)
    }

    fn starts(&self, topic: &str, count: usize) -> Result<Vec<Offset>, FactsError> {
        let numbers = 0..i32::try_from(count).unwrap_or(i32::MAX);
        let partitions: Vec<TopicPartition> =
            numbers.map(|number| TopicPartition::new(topic, Partition(number))).collect();
        // the last stable offset: what is in an open transaction now is committed from now on
        let spec = match self.start_at {
            StartAt::Earliest => OffsetSpec::Earliest,
            StartAt::Latest => OffsetSpec::Latest,
        };
        let isolation = Isolation::ReadCommitted;
        let listed = self.admin.list_offsets(&partitions, spec, isolation, self.timeout)?;
        Ok(listed.into_iter().map(|(_, offset)| offset).collect())
    }

    /// Refuses offsets that do not lie in their log.
    pub(super) fn check(
        &self,
        stored: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), FactsError> {
        let partitions: Vec<_> = stored.keys().cloned().collect();
        let list = |spec| {
            let isolation = Isolation::ReadUncommitted;
            self.admin.list_offsets(&partitions, spec, isolation, self.timeout)
        };
        let (starts, ends) = (list(OffsetSpec::Earliest)?, list(OffsetSpec::Latest)?);
        for ((partition, start), (_, end)) in starts.into_iter().zip(ends) {
            let next = stored[&partition];
            if next > end {
                return Err(FactsError::Refused {
                    what: format!(
                        "the next offset of {partition} is {next}, but its log ends at {end}: the \
                         topic was made again, or lost records that were applied"
                    ),
                    remedy:
                        "let a sink of another name begin with the topic as it is now, or move \
                             the stored offset if the records are still right"
                            .to_owned(),
                });
            }
            if next < start {
                return Err(FactsError::Refused {
                    what: format!(
                        "the next offset of {partition} is {next}, but its log begins at {start}: \
                         {} offsets were deleted by retention before they were applied",
                        start.0 - next.0
                    ),
                    remedy: format!(
                        "bring the target up to date by other means, or accept the loss, then move \
                         the stored offset to {start}"
                    ),
                });
            }
        }
        Ok(())
    }
}
