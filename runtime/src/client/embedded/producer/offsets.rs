//! Offsets in a transaction: first the transaction coordinator is told, then the group's.

use std::time::Duration;

use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, ProducerId, ResponseKind, TxnOffsetCommitRequest,
};

use super::state::State;
use super::{
    CONCURRENT_TRANSACTIONS, COORDINATOR_IS_ELSEWHERE, COORDINATOR_LOAD_IN_PROGRESS, Core,
    INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING, INVALID_TXN_STATE, UNAUTHORIZED, flagged,
    normalized,
};
use crate::client::embedded::consumer::GroupMetadata;
use crate::client::embedded::requests::{
    GROUP, by_topic, find_coordinator, group_id, optional, text, topic_name, version,
};
use crate::client::kafka::code;
use crate::client::kafka::error::{self, Flag};
use crate::client::types::OffsetCommit;

/// Before a refused offset commit is repeated.
const COMMIT_RETRY: Duration = Duration::from_millis(500);
const UNSUPPORTED_FOR_MESSAGE_FORMAT: i32 = 43;

enum Reaction {
    Fatal,
    Abort,
    Retry,
}

/// Sends the offsets; the call that waits is told.
pub(super) fn send(
    core: &Core,
    offsets: &[OffsetCommit],
    group: &GroupMetadata,
    deadline: Duration,
) {
    if add(core, group, deadline) && commit(core, offsets, group, deadline) {
        core.txn.borrow_mut().offsets_sent = true;
    }
}

fn is_over(core: &Core, deadline: Duration) -> bool {
    core.scheduler.now() >= deadline
}

/// Tells the transaction coordinator that offsets of this group are part of it.
fn add(core: &Core, group: &GroupMetadata, deadline: Duration) -> bool {
    for retries in 0.. {
        if !core.find_coordinator() {
            return false;
        }
        let writer = core.writer();
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(core.transactional_id())
            .with_producer_id(ProducerId(writer.producer_id))
            .with_producer_epoch(writer.epoch)
            .with_group_id(group_id(&group.group));
        core.txn.borrow_mut().touched = true;
        let timeout = core.settings.timing.socket_timeout;
        let failed = match core.transactions.call(version::ADD_OFFSETS_TO_TXN, request, timeout) {
            Ok(ResponseKind::AddOffsetsToTxn(answer)) => i32::from(answer.error_code),
            Ok(_) => code::FAIL,
            Err(broken) => broken.code(),
        };
        let failed = match failed {
            code::NO_ERROR if !is_over(core, deadline) => return true,
            code::NO_ERROR => code::TIMED_OUT,
            other => other,
        };
        if core.is_dead() {
            return false;
        }
        if COORDINATOR_IS_ELSEWHERE.contains(&failed) {
            core.lose_coordinator();
        }
        let reaction = match failed {
            _ if code::transport(failed) || COORDINATOR_IS_ELSEWHERE.contains(&failed) => {
                Reaction::Retry
            }
            code::UNKNOWN_TOPIC_OR_PART
            | COORDINATOR_LOAD_IN_PROGRESS
            | CONCURRENT_TRANSACTIONS => Reaction::Retry,
            INVALID_PRODUCER_EPOCH | INVALID_TXN_STATE | UNSUPPORTED_FOR_MESSAGE_FORMAT => {
                Reaction::Fatal
            }
            _ if UNAUTHORIZED.contains(&failed) => Reaction::Fatal,
            _ => Reaction::Abort,
        };
        if matches!(reaction, Reaction::Retry) && !is_over(core, deadline) {
            core.scheduler.sleep(core.settings.timing.retry_backoff(retries));
            continue;
        }
        fail(core, failed, &reaction, "Failed to add offsets to transaction");
        return false;
    }
    false
}

/// Hands the offsets to the group's coordinator.
fn commit(
    core: &Core,
    offsets: &[OffsetCommit],
    group: &GroupMetadata,
    deadline: Duration,
) -> bool {
    let partition = |number, commit: &OffsetCommit| {
        TxnOffsetCommitRequestPartition::default()
            .with_partition_index(number)
            .with_committed_offset(commit.offset.0)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text(&commit.metadata)))
    };
    let topics = by_topic(offsets.iter().map(|commit| (&commit.partition, commit)));
    let topics = topics.into_iter().map(|(name, commits)| {
        let partitions = commits.into_iter().map(|(number, one)| partition(number, one));
        TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name(name))
            .with_partitions(partitions.collect())
    });
    let writer = core.writer();
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(core.transactional_id())
        .with_group_id(group_id(&group.group))
        .with_producer_id(ProducerId(writer.producer_id))
        .with_producer_epoch(writer.epoch)
        .with_generation_id(group.generation)
        .with_member_id(text(&group.member))
        .with_group_instance_id(optional(group.instance.as_deref()))
        .with_topics(topics.collect());
    loop {
        let failed = attempt(core, &request, group, deadline);
        if core.is_dead() {
            return false;
        }
        let reaction = match failed {
            code::NO_ERROR => return true,
            _ if code::transport(failed) || COORDINATOR_IS_ELSEWHERE.contains(&failed) => {
                Reaction::Retry
            }
            code::UNKNOWN_TOPIC_OR_PART
            | COORDINATOR_LOAD_IN_PROGRESS
            | CONCURRENT_TRANSACTIONS => Reaction::Retry,
            INVALID_PRODUCER_ID_MAPPING
            | INVALID_PRODUCER_EPOCH
            | INVALID_TXN_STATE
            | UNSUPPORTED_FOR_MESSAGE_FORMAT => Reaction::Fatal,
            _ if UNAUTHORIZED.contains(&failed) => Reaction::Fatal,
            // illegal generation, unknown member, fenced instance, and whatever else there is
            _ => Reaction::Abort,
        };
        core.group_coordinator.replace(None);
        if matches!(reaction, Reaction::Retry) && !is_over(core, deadline) {
            core.scheduler.sleep(COMMIT_RETRY);
            continue;
        }
        // unlike the first request, this one aborts when its time is over
        let reaction = match reaction {
            Reaction::Retry => Reaction::Abort,
            other => other,
        };
        fail(core, failed, &reaction, "Failed to commit offsets to transaction");
        return false;
    }
}

fn attempt(
    core: &Core,
    request: &TxnOffsetCommitRequest,
    group: &GroupMetadata,
    deadline: Duration,
) -> i32 {
    if core.group_coordinator.borrow().as_ref() != Some(&group.group) {
        let found = find_coordinator(&core.data, GROUP, &group.group, deadline);
        if found != code::NO_ERROR {
            return found;
        }
        core.group_coordinator.replace(Some(group.group.clone()));
    }
    if core.txn.borrow().state != State::InTransaction {
        return code::STATE;
    }
    let timeout = core.settings.timing.socket_timeout;
    match core.data.call(version::TXN_OFFSET_COMMIT, request.clone(), timeout) {
        Ok(ResponseKind::TxnOffsetCommit(answer)) => {
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let failed = partitions.find(|one| one.error_code != 0);
            failed.map_or(code::NO_ERROR, |one| i32::from(one.error_code))
        }
        Ok(_) => code::FAIL,
        Err(broken) => broken.code(),
    }
}

fn fail(core: &Core, failed: i32, reaction: &Reaction, what: &str) {
    let failed = normalized(failed);
    let message = format!("{what}: {}", error::from_code("", failed).message);
    let flag = match reaction {
        Reaction::Fatal => {
            core.set_fatal(failed, &message);
            Flag::Fatal
        }
        Reaction::Abort => {
            core.set_abortable(failed, &message, false);
            Flag::Abort
        }
        Reaction::Retry => Flag::Retriable,
    };
    core.txn.borrow_mut().fail(flagged(failed, message, flag));
}
