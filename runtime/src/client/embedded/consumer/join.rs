//! One attempt to join the group: coordinator, topics, JoinGroup, assignor, SyncGroup.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    JoinGroupRequest, JoinGroupResponse, ResponseKind, SyncGroupRequest, SyncGroupResponse,
};

use super::assignor::{Candidate, assignment, range, subscription};
use super::member::{
    COORDINATOR_IS_ELSEWHERE, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, JOIN_INTERVAL, Join,
    REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID, begin_session, coordinator_retry,
    look_for_coordinator,
};
use super::{Core, Event};
use crate::client::embedded::link::{Broken, Outcome, Pending};
use crate::client::embedded::requests::{
    group_id, metadata, optional, partition_counts, text, version, wire_millis,
};
use crate::client::kafka::{code, error};

const PROTOCOL: &str = "range";
const MEMBER_ID_REQUIRED: i32 = 79;
const COORDINATOR_LOAD_IN_PROGRESS: i32 = 14;

/// Tries to join. Afterwards the member waits for the application to take its assignment, or is
/// where it was and may try again later.
pub(super) fn join(core: &Core) {
    if !look_for_coordinator(core, None) {
        core.member.borrow_mut().join_at = coordinator_retry(core);
        return;
    }
    core.member.borrow_mut().join_at = core.scheduler.now().saturating_add(JOIN_INTERVAL);
    let Some(topics) = existing_topics(core) else { return };
    core.member.borrow_mut().join = Join::Joining;
    let joined = attempt(core, &topics);
    let mut member = core.member.borrow_mut();
    if member.join == Join::Joining && !joined {
        member.join = Join::Init;
    }
}

/// Returns the topics of the subscription that there are, and tells about those that there aren't.
fn existing_topics(core: &Core) -> Option<Vec<String>> {
    let wanted = core.member.borrow().subscription.clone();
    let names: Vec<_> = wanted.iter().map(String::as_str).collect();
    let answer = metadata(&core.data, &names, core.settings.timing.socket_timeout).ok()?;
    let counts = partition_counts(&answer);
    let mut told = Vec::new();
    {
        let mut member = core.member.borrow_mut();
        let is_missing = |name: &&String| matches!(counts.get(*name), Some(Err(_)));
        let missing: BTreeSet<_> = wanted.iter().filter(is_missing).cloned().collect();
        for name in missing.difference(&member.missing) {
            if let Some(Err(code)) = counts.get(name) {
                told.push((name.clone(), *code));
            }
        }
        member.missing = missing;
    }
    for (name, code) in told {
        let why = error::from_code("", code).message;
        let message = format!("Subscribed topic not available: {name}: {why}");
        core.push(Event::Error { code, message });
    }
    let exists = |name: &String| matches!(counts.get(name), Some(Ok(_)));
    let existing: Vec<_> = wanted.into_iter().filter(exists).collect();
    (!existing.is_empty()).then_some(existing)
}

/// Waits for an answer, unless the consumer is closed meanwhile.
fn wait(core: &Core, pending: &Pending) -> Option<Outcome> {
    loop {
        core.coordinator.drive();
        if let Some(outcome) = pending.take() {
            return Some(outcome);
        }
        if core.is_dead() || core.member.borrow().is_closing() {
            return None;
        }
        core.scheduler.park(&core.membership, core.coordinator.next_wake());
    }
}

/// Joins and syncs; true if there is an assignment.
fn attempt(core: &Core, topics: &[String]) -> bool {
    let Some(answer) = join_group(core, topics) else { return false };
    let assignments = if answer.leader == answer.member_id {
        let Some(assignments) = assign(core, &answer) else { return false };
        assignments
    } else {
        Vec::new()
    };
    let Some(answer) = sync_group(core, assignments) else { return false };
    let Some(partitions) = assignment(answer.assignment) else { return false };
    begin_session(core);
    {
        let mut member = core.member.borrow_mut();
        member.assignment = Some(partitions.clone());
        member.join = Join::WaitAssign;
    }
    core.push(Event::Assign(partitions));
    true
}

fn join_group(core: &Core, topics: &[String]) -> Option<JoinGroupResponse> {
    let settings = &core.settings;
    loop {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(PROTOCOL))
            .with_metadata(subscription(topics));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&settings.group))
            .with_session_timeout_ms(wire_millis(settings.session_timeout))
            .with_rebalance_timeout_ms(wire_millis(settings.max_poll_interval))
            .with_member_id(text(&core.member.borrow().id))
            .with_group_instance_id(optional(settings.instance.as_deref()))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        // the coordinator answers when the last member has come, or when it waits no longer
        let timeout = settings.max_poll_interval.saturating_add(Duration::from_secs(3));
        let pending =
            core.coordinator.post(version::JOIN_GROUP, request, timeout, &core.membership);
        let failed = match wait(core, &pending)? {
            Ok(ResponseKind::JoinGroup(answer)) => {
                let failed = i32::from(answer.error_code);
                if failed == code::NO_ERROR || failed == MEMBER_ID_REQUIRED {
                    core.member.borrow_mut().id = answer.member_id.to_string();
                }
                if failed == code::NO_ERROR {
                    core.member.borrow_mut().generation = answer.generation_id;
                    return Some(answer);
                }
                failed
            }
            Ok(_) => code::FAIL,
            Err(broken) => broken.code(),
        };
        if failed != MEMBER_ID_REQUIRED {
            refused(core, failed, "JoinGroup failed");
            return None;
        }
    }
}

/// Reacts to a refusal; the next attempt comes by itself.
fn refused(core: &Core, failed: i32, what: &str) {
    let mut member = core.member.borrow_mut();
    match failed {
        UNKNOWN_MEMBER_ID => member.id.clear(),
        ILLEGAL_GENERATION => member.generation = -1,
        FENCED_INSTANCE_ID => {
            drop(member);
            core.set_fatal(FENCED_INSTANCE_ID);
        }
        REBALANCE_IN_PROGRESS => member.join_at = core.scheduler.now(),
        COORDINATOR_LOAD_IN_PROGRESS => {}
        _ if failed == code::TRANSPORT || COORDINATOR_IS_ELSEWHERE.contains(&failed) => {
            member.has_coordinator = false;
        }
        _ if code::timed_out(failed) => member.has_coordinator = false,
        _ => {
            drop(member);
            let message = format!("{what}: {}", error::from_code("", failed).message);
            core.push(Event::Error { code: failed, message });
        }
    }
}

/// The leader's task.
fn assign(core: &Core, joined: &JoinGroupResponse) -> Option<Vec<SyncGroupRequestAssignment>> {
    let mut candidates: Vec<_> = joined.members.iter().filter_map(Candidate::new).collect();
    let topics: BTreeSet<&str> =
        candidates.iter().flat_map(|one| one.topics.iter().map(String::as_str)).collect();
    let topics: Vec<_> = topics.into_iter().collect();
    let answer = metadata(&core.data, &topics, core.settings.timing.socket_timeout).ok()?;
    let counts: BTreeMap<String, i32> = partition_counts(&answer)
        .into_iter()
        .filter_map(|(topic, count)| Some((topic, count.ok()?)))
        .collect();
    let given = range(&mut candidates, &counts).into_iter();
    let assignment = |(id, assignment): (_, Bytes)| {
        SyncGroupRequestAssignment::default().with_member_id(id).with_assignment(assignment)
    };
    Some(given.map(assignment).collect())
}

fn sync_group(
    core: &Core,
    assignments: Vec<SyncGroupRequestAssignment>,
) -> Option<SyncGroupResponse> {
    for retries in 0.. {
        let request = {
            let member = core.member.borrow();
            SyncGroupRequest::default()
                .with_group_id(group_id(&core.settings.group))
                .with_generation_id(member.generation)
                .with_member_id(text(&member.id))
                .with_group_instance_id(optional(core.settings.instance.as_deref()))
                .with_assignments(assignments.clone())
        };
        let timeout = core.settings.session_timeout.max(Duration::from_secs(10));
        let pending =
            core.coordinator.post(version::SYNC_GROUP, request, timeout, &core.membership);
        let failed = match wait(core, &pending)? {
            Ok(ResponseKind::SyncGroup(answer)) if answer.error_code == 0 => return Some(answer),
            Ok(ResponseKind::SyncGroup(answer)) => i32::from(answer.error_code),
            Ok(_) => code::FAIL,
            Err(Broken::Closed) => return None,
            Err(broken) => broken.code(),
        };
        // a connection that was lost is no reason to begin anew
        if failed != code::TRANSPORT || retries >= 3 {
            refused(core, failed, "SyncGroup failed");
            return None;
        }
        core.scheduler.sleep(core.settings.timing.retry_backoff(retries));
    }
    None
}
