//! Membership of the group: when to join, heartbeats, how it is lost, how it ends.
//!
//! The eager classic protocol as librdkafka plays it. Whatever happens in the group is told to the
//! application as an event, and nothing goes on before the application has answered it.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::{HeartbeatRequest, LeaveGroupRequest, ResponseKind};
use tidemill_core::record::TopicPartition;

use super::join::join;
use super::{Core, Event};
use crate::client::embedded::link::{Outcome, Pending};
use crate::client::embedded::requests::{
    GROUP, find_coordinator, group_id, optional, text, version,
};
use crate::client::kafka::code;

/// Least time between two attempts to join that nothing asked for.
pub(super) const JOIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait before asking for the coordinator again.
const COORDINATOR_INTERVAL: Duration = Duration::from_millis(500);

pub(super) const ILLEGAL_GENERATION: i32 = 22;
pub(super) const UNKNOWN_MEMBER_ID: i32 = 25;
pub(super) const REBALANCE_IN_PROGRESS: i32 = 27;
pub(super) const FENCED_INSTANCE_ID: i32 = 82;
/// COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
pub(super) const COORDINATOR_IS_ELSEWHERE: [i32; 2] = [15, 16];

/// Where a member stands: librdkafka's join states.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    /// Not in the group, or about to join again.
    #[default]
    Init,
    Joining,
    /// An assignment was told.
    WaitAssign,
    Steady,
    /// A revocation was told.
    WaitUnassign,
}

#[derive(Debug, Default)]
pub(super) struct Member {
    started: bool,
    pub(super) subscription: Vec<String>,
    pub(super) join: Join,
    pub(super) join_at: Duration,
    /// Whether the coordinator answered to its name since it was last in doubt.
    pub(super) has_coordinator: bool,
    coordinator_at: Duration,
    pub(super) id: String,
    pub(super) generation: i32,
    pub(super) assignment: Option<Vec<TopicPartition>>,
    pub(super) lost: bool,
    /// When the session is over; `None` while there is none.
    pub(super) session_end: Option<Duration>,
    heartbeat_at: Duration,
    pub(super) max_poll_exceeded: bool,
    closing: bool,
    closed: bool,
    /// Topics whose absence was told.
    pub(super) missing: BTreeSet<String>,
}

/// Wants these topics from now on.
pub(super) fn subscribe(core: &Rc<Core>, topics: Vec<String>) {
    let started = {
        let mut member = core.member.borrow_mut();
        if member.subscription == topics {
            return;
        }
        member.subscription = topics;
        member.missing.clear();
        std::mem::replace(&mut member.started, true)
    };
    if started {
        revoke_and_rejoin(core, false);
    } else {
        core.member.borrow_mut().generation = -1;
        let of_fiber = Rc::clone(core);
        core.scheduler.spawn(core.process, "group", move || run(&of_fiber));
    }
    core.membership.raise();
}

/// The application took an assignment.
pub(super) fn assigned(core: &Core) {
    let fatal = core.fatal.borrow().is_some();
    let mut member = core.member.borrow_mut();
    member.lost = false;
    if member.join == Join::WaitAssign {
        member.join = if fatal { Join::WaitUnassign } else { Join::Steady };
    }
    drop(member);
    core.membership.raise();
}

/// The application gave its assignment back.
pub(super) fn unassigned(core: &Core) {
    let mut member = core.member.borrow_mut();
    member.lost = false;
    if member.join == Join::WaitUnassign {
        member.join = Join::Init;
        member.join_at = core.scheduler.now();
    }
    drop(member);
    core.membership.raise();
}

/// Leaves the group, waiting for it until then; false if it took longer.
pub(super) fn close(core: &Core, deadline: Duration) -> bool {
    {
        let mut member = core.member.borrow_mut();
        if !member.started {
            return true;
        }
        member.closing = true;
    }
    core.membership.raise();
    loop {
        if core.member.borrow().closed {
            return true;
        }
        if core.scheduler.now() >= deadline || core.is_dead() {
            return false;
        }
        core.scheduler.park(&core.left, Some(deadline));
    }
}

/// The assignment is over, for a reason that the group has, or because it was lost.
pub(super) fn revoke_and_rejoin(core: &Core, lost: bool) {
    let revoked = {
        let mut member = core.member.borrow_mut();
        if !matches!(member.join, Join::Init | Join::Steady) {
            // a rebalance is under way
            return;
        }
        member.lost |= lost;
        match member.assignment.take() {
            Some(assignment) => {
                member.join = Join::WaitUnassign;
                Some(assignment)
            }
            None => {
                member.join = Join::Init;
                member.join_at = core.scheduler.now();
                None
            }
        }
    };
    if let Some(assignment) = revoked {
        core.push(Event::Revoke(assignment));
    }
    core.membership.raise();
}

/// The fiber.
fn run(core: &Core) {
    let mut heartbeat = None;
    loop {
        if core.is_dead() {
            return;
        }
        if core.member.borrow().closing {
            return leave(core);
        }
        core.coordinator.drive();
        serve(core, &mut heartbeat);
        if may_join(core) {
            heartbeat = None;
            join(core);
            continue;
        }
        let wake = next_wake(core, heartbeat.is_some());
        if wake.is_some_and(|wake| wake <= core.scheduler.now()) {
            continue;
        }
        core.scheduler.park(&core.membership, wake);
    }
}

fn may_join(core: &Core) -> bool {
    let now = core.scheduler.now();
    let mut member = core.member.borrow_mut();
    if member.join != Join::Init
        || member.subscription.is_empty()
        || core.fatal.borrow().is_some()
        || now < member.join_at
    {
        return false;
    }
    // not before the application polls again
    if member.max_poll_exceeded && poll_deadline(core).is_some_and(|deadline| now >= deadline) {
        return false;
    }
    member.max_poll_exceeded = false;
    true
}

fn poll_deadline(core: &Core) -> Option<Duration> {
    core.polled.get().map(|polled| polled.saturating_add(core.settings.max_poll_interval))
}

fn is_member(join: Join) -> bool {
    matches!(join, Join::WaitAssign | Join::Steady | Join::WaitUnassign)
}

fn next_wake(core: &Core, heartbeats: bool) -> Option<Duration> {
    let member = core.member.borrow();
    let fatal = core.fatal.borrow().is_some();
    let joins = (member.join == Join::Init && !member.max_poll_exceeded && !fatal)
        .then_some(member.join_at)
        .filter(|_| !member.subscription.is_empty());
    let lives = is_member(member.join) && !member.max_poll_exceeded && !fatal;
    let beats = (lives && !heartbeats).then_some(member.heartbeat_at);
    let steady = member.join == Join::Steady && !fatal;
    // while the application is in a poll nothing can be exceeded, so it is looked at again later
    let poll = steady.then(|| {
        poll_deadline(core)
            .unwrap_or_else(|| core.scheduler.now().saturating_add(core.settings.max_poll_interval))
    });
    let session = member.session_end.filter(|_| lives);
    [joins, beats, poll, session, core.coordinator.next_wake()].into_iter().flatten().min()
}

/// Does what is due while in the group.
fn serve(core: &Core, heartbeat: &mut Option<Pending>) {
    if let Some(outcome) = heartbeat.as_ref().and_then(Pending::take) {
        *heartbeat = None;
        heard(core, &outcome);
    }
    let now = core.scheduler.now();
    if core.fatal.borrow().is_some() {
        return;
    }
    if core.join_state() == Join::Steady && poll_deadline(core).is_some_and(|end| now >= end) {
        exceeded(core);
    }
    let session_over = {
        let member = core.member.borrow();
        is_member(member.join) && member.session_end.is_some_and(|end| now >= end)
    };
    if session_over {
        tracing::warn!("the group's coordinator did not answer for a whole session");
        {
            let mut member = core.member.borrow_mut();
            member.session_end = None;
            member.id.clear();
        }
        revoke_and_rejoin(core, true);
    }
    let due = {
        let member = core.member.borrow();
        is_member(member.join) && !member.max_poll_exceeded && now >= member.heartbeat_at
    };
    if due && heartbeat.is_none() {
        *heartbeat = Some(beat(core));
    }
}

/// The application took too long: out of the group before others wait for it any longer.
fn exceeded(core: &Core) {
    let message = "Application maximum poll interval exceeded".to_owned();
    core.push(Event::Error { code: code::MAX_POLL_EXCEEDED, message });
    let id = {
        let mut member = core.member.borrow_mut();
        member.max_poll_exceeded = true;
        std::mem::take(&mut member.id)
    };
    if core.settings.instance.is_none() {
        drop(send_leave(core, &id));
    }
    revoke_and_rejoin(core, true);
}

fn beat(core: &Core) -> Pending {
    let mut member = core.member.borrow_mut();
    member.heartbeat_at = core.scheduler.now().saturating_add(core.settings.heartbeat_interval);
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(&core.settings.group))
        .with_generation_id(member.generation)
        .with_member_id(text(&member.id))
        .with_group_instance_id(optional(core.settings.instance.as_deref()));
    drop(member);
    let timeout = core.settings.session_timeout;
    core.coordinator.post(version::HEARTBEAT, request, timeout, &core.membership)
}

fn heard(core: &Core, outcome: &Outcome) {
    let failed = match outcome {
        Ok(ResponseKind::Heartbeat(answer)) => i32::from(answer.error_code),
        Ok(_) => code::FAIL,
        Err(broken) => broken.code(),
    };
    if !is_member(core.join_state()) {
        return;
    }
    match failed {
        code::NO_ERROR => renew_session(core),
        REBALANCE_IN_PROGRESS => {
            renew_session(core);
            if core.join_state() != Join::WaitAssign {
                revoke_and_rejoin(core, false);
            }
        }
        UNKNOWN_MEMBER_ID => {
            core.member.borrow_mut().id.clear();
            revoke_and_rejoin(core, true);
        }
        ILLEGAL_GENERATION => {
            core.member.borrow_mut().generation = -1;
            revoke_and_rejoin(core, true);
        }
        FENCED_INSTANCE_ID => {
            core.set_fatal(FENCED_INSTANCE_ID);
            revoke_and_rejoin(core, true);
        }
        other => {
            if other == code::TRANSPORT || COORDINATOR_IS_ELSEWHERE.contains(&other) {
                core.member.borrow_mut().has_coordinator = false;
                look_for_coordinator(core, None);
            }
        }
    }
}

fn renew_session(core: &Core) {
    let mut member = core.member.borrow_mut();
    if member.session_end.is_some() {
        let end = core.scheduler.now().saturating_add(core.settings.session_timeout);
        member.session_end = Some(end);
    }
}

/// Starts a session, after a rebalance.
pub(super) fn begin_session(core: &Core) {
    let now = core.scheduler.now();
    let mut member = core.member.borrow_mut();
    member.session_end = Some(now.saturating_add(core.settings.session_timeout));
    member.heartbeat_at = now.saturating_add(core.settings.heartbeat_interval);
}

/// Asks for the coordinator unless it is known, waiting until then; true if it is known now. At
/// most twice a second.
pub(super) fn look_for_coordinator(core: &Core, until: Option<Duration>) -> bool {
    let now = core.scheduler.now();
    {
        let mut member = core.member.borrow_mut();
        if member.has_coordinator {
            return true;
        }
        if now < member.coordinator_at {
            return false;
        }
        member.coordinator_at = now.saturating_add(COORDINATOR_INTERVAL);
    }
    let until = until.unwrap_or(now.saturating_add(core.settings.timing.socket_timeout));
    let found = find_coordinator(&core.data, GROUP, &core.settings.group, until);
    core.member.borrow_mut().has_coordinator = found == code::NO_ERROR;
    found == code::NO_ERROR
}

/// When the coordinator may be asked for again.
pub(super) fn coordinator_retry(core: &Core) -> Duration {
    core.member.borrow().coordinator_at.max(core.scheduler.now())
}

fn send_leave(core: &Core, id: &str) -> Pending {
    let request = LeaveGroupRequest::default()
        .with_group_id(group_id(&core.settings.group))
        .with_member_id(text(id));
    let timeout = core.settings.timing.socket_timeout;
    core.coordinator.post(version::LEAVE_GROUP, request, timeout, &core.membership)
}

/// Leaves for good. A static member only stops: its partitions wait for its return.
fn leave(core: &Core) {
    let (id, known) = {
        let mut member = core.member.borrow_mut();
        (std::mem::take(&mut member.id), member.has_coordinator)
    };
    if core.settings.instance.is_none() && known && !id.is_empty() {
        let pending = send_leave(core, &id);
        while pending.take().is_none() && !core.is_dead() {
            core.coordinator.drive();
            core.scheduler.park(&core.membership, core.coordinator.next_wake());
        }
    }
    core.member.borrow_mut().closed = true;
    core.left.raise();
}

impl Member {
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }
}
