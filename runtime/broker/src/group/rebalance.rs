//! How a group comes to its next generation.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::member::Member;
use super::roster::{Group, JoinTimer};
use super::state::GroupState;
use crate::engine::{Context, Millis};

/// How long a new member may wait for its first generation before it is given up.
const NEW_MEMBER_TIMEOUT: Millis = 5 * 60 * 1000;

impl Group {
    /// Takes in a member whose join request waits with it.
    pub(super) fn add_and_rebalance(
        &mut self,
        ctx: &mut Context<'_>,
        mut member: Member,
        protocol_type: &str,
    ) {
        member.session_ends = Some(ctx.now.saturating_add(NEW_MEMBER_TIMEOUT));
        if self.state == GroupState::PreparingRebalance && self.previous == GroupState::Empty {
            self.new_member_added = true;
        }
        self.add(member, protocol_type);
        self.rebalance_or_complete_join(ctx);
    }

    pub(super) fn rebalance_or_complete_join(&mut self, ctx: &mut Context<'_>) {
        if self.state.may_become(GroupState::PreparingRebalance) {
            self.prepare_rebalance(ctx);
        } else {
            self.maybe_complete_join(ctx);
        }
    }

    /// Completes the joins if all are there. The first members of a group wait for their timer.
    pub(super) fn maybe_complete_join(&mut self, ctx: &mut Context<'_>) {
        if self.state == GroupState::PreparingRebalance
            && self.previous != GroupState::Empty
            && self.all_joined()
        {
            self.complete_join(ctx);
        }
    }

    pub(super) fn prepare_rebalance(&mut self, ctx: &mut Context<'_>) {
        if self.state == GroupState::CompletingRebalance {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
            }
            self.answer_syncs(ctx, Some(ResponseError::RebalanceInProgress));
        }
        self.pending_syncs.clear();
        self.sync_timer = None;
        let first = self.state == GroupState::Empty;
        self.transition(GroupState::PreparingRebalance, ctx.now);
        if first {
            let delay = ctx.config.group_initial_rebalance_delay_ms.max(0);
            let remaining = (self.rebalance_timeout() - delay).max(0);
            self.join_timer = Some(JoinTimer::Initial { at: ctx.now + delay, delay, remaining });
            self.on_join_timer(ctx);
        } else if self.all_joined() {
            self.complete_join(ctx);
        } else {
            self.join_timer = Some(JoinTimer::Rejoin(ctx.now + self.rebalance_timeout()));
        }
    }

    /// Does what the join timer is for, if it is due.
    pub(super) fn on_join_timer(&mut self, ctx: &mut Context<'_>) {
        let Some(timer) = self.join_timer.filter(|timer| timer.at() <= ctx.now) else { return };
        match timer {
            JoinTimer::Initial { delay, remaining, .. }
                if self.new_member_added && remaining > 0 =>
            {
                self.new_member_added = false;
                let next = ctx.config.group_initial_rebalance_delay_ms.max(0).min(remaining);
                let remaining = (remaining - delay).max(0);
                let at = ctx.now + next;
                self.join_timer = Some(JoinTimer::Initial { at, delay: next, remaining });
            }
            JoinTimer::Initial { .. } | JoinTimer::Rejoin(_) => self.complete_join(ctx),
        }
    }

    /// Goes on with those that have joined. Dynamic members that have not are out; static ones keep
    /// their place until their session ends.
    pub(super) fn complete_join(&mut self, ctx: &mut Context<'_>) {
        self.join_timer = None;
        let late = self.members.values();
        let late = late.filter(|member| member.joining.is_none() && member.instance_id.is_none());
        let late: Vec<String> = late.map(|member| member.id.clone()).collect();
        for id in late {
            self.remove(&id);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            self.join_timer = Some(JoinTimer::Rejoin(ctx.now + self.rebalance_timeout()));
            return;
        }
        self.generation = self.generation.saturating_add(1);
        self.pending_syncs.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.transition(GroupState::Empty, ctx.now);
            self.store(ctx);
            return;
        }
        self.protocol = self.select_protocol();
        self.transition(GroupState::CompletingRebalance, ctx.now);
        self.answer_joins(ctx);
        self.pending_syncs = self.members.keys().cloned().collect();
        self.sync_timer = Some(ctx.now + self.rebalance_timeout());
    }

    fn answer_joins(&mut self, ctx: &mut Context<'_>) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id, self.is_leader(&id));
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.answer_join(ctx.answers, |version| for_version(version, answer));
            member.heard(ctx.now);
            member.is_new = false;
        }
    }

    /// What a member of this generation is told when it has joined.
    pub(super) fn joined(&self, member: &str, with_members: bool) -> JoinGroupResponse {
        let members = if with_members { self.joined_members() } else { Vec::new() };
        JoinGroupResponse::default()
            .with_generation_id(self.generation)
            .with_protocol_type(self.protocol_type.clone().map(StrBytes::from))
            .with_protocol_name(self.protocol.clone().map(StrBytes::from))
            .with_leader(StrBytes::from(self.leader.clone().unwrap_or_default()))
            .with_member_id(StrBytes::from(member.to_owned()))
            .with_members(members)
    }

    fn joined_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref();
        let members = self.members.values().map(|member| {
            JoinGroupResponseMember::default()
                .with_member_id(StrBytes::from(member.id.clone()))
                .with_group_instance_id(member.instance_id.clone().map(StrBytes::from))
                .with_metadata(member.metadata(protocol))
        });
        members.collect()
    }

    /// Gives each member what the leader has assigned to it.
    pub(super) fn assign(
        &mut self,
        ctx: &mut Context<'_>,
        mut assignments: BTreeMap<String, Bytes>,
    ) {
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
        }
        self.store(ctx);
        self.answer_syncs(ctx, None);
        self.transition(GroupState::Stable, ctx.now);
    }

    fn answer_syncs(&mut self, ctx: &mut Context<'_>, error: Option<ResponseError>) {
        let now = ctx.now;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = match error {
                Some(error) => SyncGroupResponse::default().with_error_code(error.code()),
                None => self.synced(&id),
            };
            let Some(member) = self.members.get_mut(&id) else { continue };
            if member.answer_sync(ctx.answers, |_| answer) {
                member.heard(now);
            }
        }
    }

    /// What a member of a stable group is told when it asks for its assignment.
    pub(super) fn synced(&self, member: &str) -> SyncGroupResponse {
        let assignment = self.members.get(member).map(|member| member.assignment.clone());
        SyncGroupResponse::default()
            .with_protocol_type(self.protocol_type.clone().map(StrBytes::from))
            .with_protocol_name(self.protocol.clone().map(StrBytes::from))
            .with_assignment(assignment.unwrap_or_default())
    }

    /// Removes a member and tells it so, if it waits for something.
    pub(super) fn expel(&mut self, ctx: &mut Context<'_>, id: &str) {
        let Some(mut member) = self.remove(id) else { return };
        let error = ResponseError::UnknownMemberId;
        member.answer_join(ctx.answers, |version| join_refused(version, "", error));
        let refused = SyncGroupResponse::default().with_error_code(error.code());
        member.answer_sync(ctx.answers, |_| refused);
    }

    /// Tells everyone who waits that this is the wrong place.
    pub(super) fn refuse_waiting(&mut self, ctx: &mut Context<'_>, error: ResponseError) {
        for member in self.members.values_mut() {
            let id = member.id.clone();
            member.answer_join(ctx.answers, |version| join_refused(version, &id, error));
            let refused = SyncGroupResponse::default().with_error_code(error.code());
            member.answer_sync(ctx.answers, |_| refused);
        }
    }

    /// Goes on without a member that is gone.
    pub(super) fn go_on(&mut self, ctx: &mut Context<'_>) {
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.rebalance_or_complete_join(ctx);
            }
            GroupState::PreparingRebalance if self.all_joined() => self.complete_join(ctx),
            GroupState::PreparingRebalance | GroupState::Empty => {}
        }
    }

    /// Does what is due: sessions first, by member, then the rebalance.
    pub(super) fn advance(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now;
        let late = self.pending_joins.extract_if(.., |_, until| *until <= now).count();
        if late > 0 && self.state == GroupState::PreparingRebalance && self.all_joined() {
            self.complete_join(ctx);
        }
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            if member.session_ends.is_none_or(|ends| ends > now) {
                continue;
            }
            member.session_ends = None;
            if !member.is_excused() {
                tracing::debug!(group = %self.id, member = %id, "the member's session has ended");
                self.expel(ctx, &id);
                self.go_on(ctx);
            }
        }
        self.on_join_timer(ctx);
        self.on_sync_timer(ctx);
    }

    fn on_sync_timer(&mut self, ctx: &mut Context<'_>) {
        if self.sync_timer.is_none_or(|at| at > ctx.now) {
            return;
        }
        self.sync_timer = None;
        let late = std::mem::take(&mut self.pending_syncs);
        let waits = matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable);
        if waits && !late.is_empty() {
            for id in late {
                self.expel(ctx, &id);
            }
            self.prepare_rebalance(ctx);
        }
    }
}

/// Fits an answer to the request's version.
pub(super) fn for_version(version: i16, mut answer: JoinGroupResponse) -> JoinGroupResponse {
    if version < 7 {
        answer.protocol_type = None;
        answer.protocol_name.get_or_insert_default();
    }
    answer
}

pub(super) fn join_refused(
    version: i16,
    member_id: &str,
    error: ResponseError,
) -> JoinGroupResponse {
    let answer = JoinGroupResponse::default()
        .with_member_id(StrBytes::from(member_id.to_owned()))
        .with_protocol_name(None)
        .with_error_code(error.code());
    for_version(version, answer)
}
