//! Partitions come and go: where each begins, and whether what is stored still belongs to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidemill::client::{ClientError, Severity};
use tidemill::record::{Offset, Partition, TopicPartition};

use super::apply::Verdict;
use super::error::SinkError;
use super::run::{Loop, Opening};
use super::runner::Keeper;
use super::target::{Applied, TargetError, TopicFacts, TransactionalTarget};
use super::topics::FactsError;

impl<T: TransactionalTarget> Loop<T> {
    /// Answers the group at once, with nothing; what is read comes when the offsets are known.
    pub(super) fn on_assigned(&mut self, partitions: Vec<TopicPartition>) -> Result<(), SinkError> {
        tracing::info!(sink = self.name, ?partitions, "assigned");
        self.begin_anew();
        self.consumer.assign(&[]).map_err(|source| self.kafka(source))?;
        self.opening = if partitions.is_empty() { Opening::No } else { Opening::Wanted };
        self.assignment = partitions;
        self.not_before = Instant::now();
        Ok(())
    }

    pub(super) fn on_revoked(&mut self, lost: bool) -> Result<(), SinkError> {
        tracing::info!(sink = self.name, lost, "revoked");
        if !lost {
            self.settle()?;
            self.commit_hint(Duration::from_secs(2));
        }
        self.begin_anew();
        self.assignment.clear();
        self.opening = Opening::No;
        self.shared.forget_positions();
        self.consumer.unassign().map_err(|source| self.kafka(source))
    }

    fn begin_anew(&mut self) {
        self.epoch += 1;
        self.gathered.clear();
        self.todo.clear();
        self.hint.clear();
    }

    /// Looks at the topics, then has the target tell its offsets.
    pub(super) fn open(&mut self) -> Result<(), SinkError> {
        match self.cluster.facts() {
            Ok(facts) => {
                self.facts = facts;
                self.opening = Opening::UnderWay;
                self.ask_to_open()
            }
            Err(error) => self.on_facts_error(error),
        }
    }

    fn on_facts_error(&mut self, error: FactsError) -> Result<(), SinkError> {
        let since = *self.troubled_since.get_or_insert_with(Instant::now);
        match error {
            FactsError::Later(error) => {
                tracing::warn!(sink = self.name, %error, "the cluster does not answer");
                self.try_later();
                Ok(())
            }
            FactsError::Missing(topic) if since.elapsed() < self.options.patience => {
                tracing::warn!(sink = self.name, topic, "the topic does not exist");
                self.try_later();
                Ok(())
            }
            FactsError::Missing(topic) => Err(self.refused(
                format!("topic {topic} does not exist"),
                "make it, or mend the sink's list of topics".to_owned(),
            )),
            FactsError::Kafka(source) => Err(self.kafka(source)),
            FactsError::Refused { what, remedy } => Err(self.refused(what, remedy)),
        }
    }

    /// The offsets are known: check them against the log, and read from there.
    pub(super) fn on_opened(
        &mut self,
        opened: Result<BTreeMap<TopicPartition, Offset>, TargetError>,
    ) -> Result<(), SinkError> {
        let stored = match opened {
            Ok(stored) => stored,
            Err(TargetError::Refused { what, remedy }) => return Err(self.refused(what, remedy)),
            Err(TargetError::Unavailable(cause)) => {
                self.shared.retried();
                tracing::warn!(
                    sink = self.name,
                    error = &*cause as &dyn std::error::Error,
                    "the target is not available"
                );
                self.try_later();
                return Ok(());
            }
            Err(error) => {
                return Err(SinkError::Target {
                    sink: self.name.clone(),
                    doing: "open the target".to_owned(),
                    source: error.into(),
                });
            }
        };
        if let Some(missing) = self.assignment.iter().find(|one| !stored.contains_key(*one)) {
            // the group may hear of a new partition before the administrative client does
            tracing::warn!(sink = self.name, %missing, "the partition is not known yet");
            self.try_later();
            return Ok(());
        }
        let checked = match self.keeper {
            Keeper::Target => Ok(stored),
            Keeper::Group => self.of_group(stored),
        };
        let checked = checked.and_then(|stored| self.cluster.check(&stored).map(|()| stored));
        let stored = match checked {
            Ok(stored) => stored,
            Err(error) => return self.on_facts_error(error),
        };
        self.troubled_since = None;
        self.opening = Opening::No;
        if self.keeper == Keeper::Group {
            // a beginning is a fact before anything depends on it
            self.hint.clone_from(&stored);
            self.commit_hint(self.cluster.timeout);
        }
        if self.is_where_it_was(&stored) {
            return Ok(());
        }
        self.todo.clear();
        self.shared.position(stored.iter().map(|(partition, next)| (partition.clone(), *next)));
        let starts: Vec<(TopicPartition, Offset)> = stored.into_iter().collect();
        let readers = self.consumer.assign(&starts).map_err(|source| self.kafka(source))?;
        let offsets = starts.into_iter().map(|(_, offset)| offset);
        self.gathered.assign(readers.into_iter().zip(offsets).collect());
        Ok(())
    }

    /// Returns true if what is in hand fits what is stored, so that nothing has to be read again.
    /// Work whose outcome was unknown is done if the offsets say so.
    fn is_where_it_was(&mut self, stored: &BTreeMap<TopicPartition, Offset>) -> bool {
        let mut expected = self.gathered.begins();
        if expected.is_empty() {
            return false;
        }
        for batch in self.todo.iter().rev().flat_map(|work| &work.batches) {
            expected.insert(batch.partition.clone(), batch.expected);
        }
        if expected == *stored {
            return true;
        }
        let Some(first) = self.todo.front() else { return false };
        if first.verdict(|partition| stored.get(partition).copied()) != Verdict::Applied {
            return false;
        }
        expected.extend(first.positions());
        if expected != *stored {
            return false;
        }
        if let Some(work) = self.todo.pop_front() {
            tracing::info!(sink = self.name, "a commit without an answer took effect");
            self.count(&work, Applied::default());
        }
        true
    }

    /// Where the group keeps the offsets: `starts` is for topics that it does not know.
    fn of_group(
        &self,
        mut starts: BTreeMap<TopicPartition, Offset>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, FactsError> {
        let numbers = |topic: &TopicFacts| 0..i32::try_from(topic.starts.len()).unwrap_or(i32::MAX);
        let all = self.facts.iter().flat_map(|topic| {
            numbers(topic).map(|number| TopicPartition::new(&*topic.name, Partition(number)))
        });
        let committed = self.consumer.committed(&all.collect::<Vec<_>>(), self.cluster.timeout)?;
        let known: BTreeSet<&str> = committed
            .iter()
            .filter(|one| one.offset.is_some())
            .map(|one| &*one.partition.topic)
            .collect();
        for one in &committed {
            let Some(start) = starts.get_mut(&one.partition) else { continue };
            let Some(offset) = one.offset else {
                if known.contains(&*one.partition.topic) {
                    // a partition that was added
                    *start = Offset(0);
                }
                continue;
            };
            let id = self.id_of(&one.partition.topic).unwrap_or_default();
            if !one.metadata.is_empty() && !id.is_empty() && one.metadata != id {
                return Err(FactsError::Refused {
                    what: format!(
                        "the group's offset of {} belongs to a topic with id {}, this one has {id}",
                        one.partition, one.metadata
                    ),
                    remedy: "use another sink name for the new topic, or reset the group's offsets"
                        .to_owned(),
                });
            }
            *start = offset;
        }
        Ok(starts)
    }

    /// A partition can't be read on: the log moved on under it, or the topic is gone. The offsets
    /// and the log, looked at again, tell which.
    pub(super) fn on_read_error(&mut self, error: ClientError) -> Result<(), SinkError> {
        let doubt = error.is_offset_out_of_range() || error.is_unknown_topic_or_partition();
        match error.severity {
            _ if doubt => {
                tracing::warn!(sink = self.name, %error, "the offsets are looked at again");
                // what was read stays what it is; readers begin anew
                self.gathered.clear();
                self.try_later();
                Ok(())
            }
            Severity::Retry => {
                tracing::debug!(sink = self.name, %error, "the client recovers by itself");
                Ok(())
            }
            _ => Err(self.kafka(error)),
        }
    }

    /// Now and then: offsets for tools, offsets behind aborted records, and the topics' ids.
    pub(super) fn keep_house(&mut self) {
        let now = Instant::now();
        if now < self.housekeeping {
            return;
        }
        self.housekeeping = now + self.options.housekeeping;
        if self.assignment.is_empty() || self.opening != Opening::No {
            return;
        }
        self.commit_hint(Duration::from_secs(2));
        if self.todo.is_empty() {
            let moved = self.gathered.take();
            if !moved.is_empty() {
                self.todo.push_back(super::apply::Work::apply(moved));
            }
        }
        match self.cluster.ids() {
            Ok(ids) if !ids.iter().eq(self.facts.iter().map(|topic| &topic.id)) => self.try_later(),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(sink = self.name, %error, "the topics' ids are not known now");
            }
        }
    }
}

/// Returns where new partitions begin, for a target that stores nothing of its own.
pub(super) fn starts(
    topics: &[TopicFacts],
    partitions: &[TopicPartition],
) -> BTreeMap<TopicPartition, Offset> {
    let start = |partition: &TopicPartition| {
        let topic = topics.iter().find(|topic| *topic.name == *partition.topic)?;
        topic.starts.get(usize::try_from(partition.partition.0).ok()?).copied()
    };
    let starts = partitions.iter().filter_map(|one| Some((one.clone(), start(one)?)));
    starts.collect()
}
