//! What the group knows: committed offsets, read and written.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse, RequestKind, ResponseKind,
};
use tidemill_core::record::{Offset, TopicPartition};

use super::member::{
    COORDINATOR_IS_ELSEWHERE, ILLEGAL_GENERATION, Join, UNKNOWN_MEMBER_ID, coordinator_retry,
    look_for_coordinator, revoke_and_rejoin,
};
use super::{Consumer, Core};
use crate::client::embedded::link::{Broken, Outcome};
use crate::client::embedded::requests::{by_topic, group_id, optional, text, topic_name, version};
use crate::client::error::ClientError;
use crate::client::kafka::{code, error};
use crate::client::types::{Committed, OffsetCommit};

const UNSTABLE_OFFSET_COMMIT: i32 = 88;
const COORDINATOR_LOAD_IN_PROGRESS: i32 = 14;

impl Consumer {
    /// See [`crate::client::Consumer::committed`].
    pub(super) fn committed_offsets(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Committed>, ClientError> {
        const OPERATION: &str = "read committed offsets";
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let core = &*self.core;
        let deadline = core.scheduler.now().saturating_add(timeout);
        let topics = by_topic(partitions.iter().map(|partition| (partition, ())));
        let topics = topics.into_iter().map(|(name, numbers)| {
            let numbers = numbers.into_iter().map(|(number, ())| number).collect();
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(name))
                .with_partition_indexes(numbers)
        });
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(&core.settings.group))
            .with_topics(Some(topics.collect()))
            .with_require_stable(core.settings.read_committed);
        loop {
            let failed = match ask(core, version::OFFSET_FETCH, request.clone(), deadline) {
                Ok(ResponseKind::OffsetFetch(answer)) => match found(&answer) {
                    Ok(found) => return Ok(in_order(partitions, &found)),
                    Err(failed) => failed,
                },
                Ok(_) => code::FAIL,
                Err(broken) => broken.code(),
            };
            again(core, OPERATION, failed, deadline)?;
        }
    }

    /// See [`crate::client::Consumer::commit_sync`].
    pub(super) fn commit_offsets(
        &self,
        offsets: &[OffsetCommit],
        timeout: Duration,
    ) -> Result<(), ClientError> {
        const OPERATION: &str = "commit offsets";
        if offsets.is_empty() {
            return Ok(());
        }
        let core = &*self.core;
        let deadline = core.scheduler.now().saturating_add(timeout);
        let partition = |number, commit: &OffsetCommit| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(number)
                .with_committed_offset(commit.offset.0)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(text(&commit.metadata)))
        };
        let topics = by_topic(offsets.iter().map(|commit| (&commit.partition, commit)));
        let topics = topics.into_iter().map(|(name, commits)| {
            let partitions = commits.into_iter().map(|(number, one)| partition(number, one));
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.collect())
        });
        let identity = self.identity();
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(&identity.group))
            .with_generation_id_or_member_epoch(identity.generation)
            .with_member_id(text(&identity.member))
            .with_group_instance_id(optional(identity.instance.as_deref()))
            .with_topics(topics.collect());
        loop {
            let failed = match ask(core, version::OFFSET_COMMIT, request.clone(), deadline) {
                Ok(ResponseKind::OffsetCommit(answer)) => {
                    let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
                    let failed = partitions.find(|one| one.error_code != 0);
                    match failed {
                        None => return Ok(()),
                        Some(one) => i32::from(one.error_code),
                    }
                }
                Ok(_) => code::FAIL,
                Err(broken) => broken.code(),
            };
            moved_on(core, failed);
            again(core, OPERATION, failed, deadline)?;
        }
    }
}

/// Asks the group's coordinator, not longer than until then.
fn ask(core: &Core, version: i16, request: impl Into<RequestKind>, deadline: Duration) -> Outcome {
    while !look_for_coordinator(core, Some(deadline)) {
        let retry = coordinator_retry(core);
        if core.is_dead() {
            return Err(Broken::Closed);
        }
        if retry >= deadline {
            core.scheduler.sleep(deadline.saturating_sub(core.scheduler.now()));
            return Err(Broken::TimedOut);
        }
        core.scheduler.sleep(retry.saturating_sub(core.scheduler.now()));
    }
    core.coordinator.call_until(version, request, deadline)
}

/// Comes back when the request may be repeated, or with what the caller is told.
fn again(
    core: &Core,
    operation: &'static str,
    failed: i32,
    deadline: Duration,
) -> Result<(), ClientError> {
    let coordinator = COORDINATOR_IS_ELSEWHERE.contains(&failed) || failed == code::TRANSPORT;
    if coordinator {
        core.member.borrow_mut().has_coordinator = false;
    }
    let passes = [UNSTABLE_OFFSET_COMMIT, COORDINATOR_LOAD_IN_PROGRESS].contains(&failed);
    let now = core.scheduler.now();
    if (coordinator || passes) && now < deadline {
        let backoff = core.settings.timing.retry_backoff(0).min(deadline.saturating_sub(now));
        core.scheduler.sleep(backoff);
        if core.scheduler.now() < deadline {
            return Ok(());
        }
        return Err(error::from_code(operation, code::TIMED_OUT));
    }
    Err(error::from_code(operation, failed))
}

/// A refused commit may be the first to tell that the membership is over.
fn moved_on(core: &Core, failed: i32) {
    match failed {
        UNKNOWN_MEMBER_ID => {
            core.member.borrow_mut().id.clear();
            revoke_and_rejoin(core, true);
        }
        ILLEGAL_GENERATION if core.join_state() == Join::Steady => {
            core.member.borrow_mut().generation = -1;
            revoke_and_rejoin(core, true);
        }
        _ => {}
    }
}

type Found = BTreeMap<(String, i32), (i64, String)>;

/// What an answer has for each partition, or the first code that is none.
fn found(answer: &OffsetFetchResponse) -> Result<Found, i32> {
    if answer.error_code != 0 {
        return Err(i32::from(answer.error_code));
    }
    let mut found = Found::new();
    for topic in &answer.topics {
        for one in &topic.partitions {
            if one.error_code != 0 {
                return Err(i32::from(one.error_code));
            }
            let metadata = one.metadata.as_ref().map(ToString::to_string).unwrap_or_default();
            let key = (topic.name.to_string(), one.partition_index);
            found.insert(key, (one.committed_offset, metadata));
        }
    }
    Ok(found)
}

fn in_order(partitions: &[TopicPartition], found: &Found) -> Vec<Committed> {
    let answer = |partition: &TopicPartition| {
        let key = (partition.topic.to_string(), partition.partition.0);
        let (offset, metadata) = found.get(&key).cloned().unwrap_or((-1, String::new()));
        let offset = (offset >= 0).then_some(Offset(offset));
        Committed { partition: partition.clone(), offset, metadata }
    };
    partitions.iter().map(answer).collect()
}
