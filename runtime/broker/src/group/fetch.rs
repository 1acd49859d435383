//! OffsetFetch and OffsetDelete.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::messages::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::offsets::Offsets;
use super::state::GroupState;
use super::{Entry, Groups, code};
use crate::engine::Context;
use crate::log::Topics;

/// From this version on a request may be for several groups.
const BATCHED: i16 = 8;

impl Groups {
    /// Returns committed offsets, in the shape of the request's version.
    pub(crate) fn offset_fetch(
        &self,
        ctx: &Context<'_>,
        version: i16,
        request: &OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        let stable = request.require_stable;
        if version >= BATCHED {
            let groups = request.groups.iter().map(|group| {
                let topics = group.topics.as_ref().map(|topics| {
                    topics.iter().map(|topic| (&topic.name, &topic.partition_indexes[..]))
                });
                self.fetch_group(ctx, &group.group_id, topics, stable)
            });
            return OffsetFetchResponse::default().with_groups(groups.collect());
        }
        let topics = request
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|topic| (&topic.name, &topic.partition_indexes[..])));
        single(version, self.fetch_group(ctx, &request.group_id, topics, stable), request)
    }

    fn fetch_group<'a>(
        &self,
        ctx: &Context<'_>,
        id: &GroupId,
        topics: Option<impl Iterator<Item = (&'a TopicName, &'a [i32])>>,
        stable: bool,
    ) -> OffsetFetchResponseGroup {
        let answer = OffsetFetchResponseGroup::default().with_group_id(id.clone());
        if let Err(error) = self.check(id, ctx.now) {
            return answer.with_error_code(error.code());
        }
        let offsets = self.groups.get(&***id).map(|group| &group.offsets);
        let found = match topics {
            Some(topics) => topics
                .map(|(name, partitions)| of_topic(offsets, name, partitions.iter(), stable))
                .collect(),
            None => {
                let committed = offsets.iter().flat_map(|offsets| &offsets.committed);
                let of = |(name, partitions): (&String, &BTreeMap<i32, _>)| {
                    let name = TopicName(StrBytes::from(name.clone()));
                    of_topic(offsets, &name, partitions.keys(), stable)
                };
                committed.map(of).collect()
            }
        };
        answer.with_topics(found)
    }

    /// Deletes offsets of topics that no member reads.
    pub(crate) fn offset_delete(
        &mut self,
        ctx: &mut Context<'_>,
        request: &OffsetDeleteRequest,
        topics: &Topics,
    ) -> OffsetDeleteResponse {
        let group_id = &**request.group_id;
        if let Err(error) = self.check_delete_offsets(ctx, group_id) {
            return OffsetDeleteResponse::default().with_error_code(error.code());
        }
        let mut answer = OffsetDeleteResponse::default();
        for topic in &request.topics {
            let allowed = self.check_delete_topic(group_id, &topic.name, topics);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let partition = asked.partition_index;
                if allowed.is_ok() {
                    let (group, topic) = (group_id.to_owned(), topic.name.to_string());
                    self.record(ctx, Entry::OffsetDeleted { group, topic, partition });
                }
                partitions.push(
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(partition)
                        .with_error_code(code(allowed)),
                );
            }
            answer.topics.push(
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        answer
    }

    fn check_delete_offsets(&self, ctx: &Context<'_>, id: &str) -> Result<(), ResponseError> {
        self.check(id, ctx.now)?;
        let group = self.groups.get(id).ok_or(ResponseError::GroupIdNotFound)?;
        if group.state != GroupState::Empty && !group.is_of_consumers() {
            return Err(ResponseError::NonEmptyGroup);
        }
        Ok(())
    }

    fn check_delete_topic(
        &self,
        group: &str,
        topic: &str,
        topics: &Topics,
    ) -> Result<(), ResponseError> {
        if topics.partition_count(topic).is_none() {
            return Err(ResponseError::UnknownTopicOrPartition);
        }
        if self.groups.get(group).is_some_and(|group| group.is_subscribed_to(topic)) {
            return Err(ResponseError::GroupSubscribedToTopic);
        }
        Ok(())
    }
}

fn of_topic<'a>(
    offsets: Option<&Offsets>,
    name: &TopicName,
    partitions: impl Iterator<Item = &'a i32>,
    stable: bool,
) -> OffsetFetchResponseTopics {
    let partitions = partitions.map(|partition| of_partition(offsets, name, *partition, stable));
    OffsetFetchResponseTopics::default()
        .with_name(name.clone())
        .with_partitions(partitions.collect())
}

fn of_partition(
    offsets: Option<&Offsets>,
    topic: &str,
    partition: i32,
    stable: bool,
) -> OffsetFetchResponsePartitions {
    let answer = OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(StrBytes::new()));
    let Some(offsets) = offsets else { return answer };
    if stable && offsets.is_unstable(topic, partition) {
        return answer.with_error_code(ResponseError::UnstableOffsetCommit.code());
    }
    match offsets.get(topic, partition) {
        Some(committed) => answer
            .with_committed_offset(committed.offset)
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(StrBytes::from(committed.metadata.clone()))),
        None => answer,
    }
}

/// The shape of versions that know one group. The first two have no place for the group's error.
fn single(
    version: i16,
    group: OffsetFetchResponseGroup,
    request: &OffsetFetchRequest,
) -> OffsetFetchResponse {
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(partition.committed_leader_epoch)
                .with_metadata(partition.metadata)
                .with_error_code(partition.error_code)
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    let answer = OffsetFetchResponse::default().with_topics(topics.collect());
    if group.error_code == 0 || version >= 2 {
        return answer.with_error_code(group.error_code);
    }
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*partition)
                .with_committed_offset(-1)
                .with_metadata(Some(StrBytes::new()))
                .with_error_code(group.error_code)
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    answer.with_topics(topics.collect())
}
