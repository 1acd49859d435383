//! JoinGroup: who may be in a group, and static members that come back.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};

use super::Groups;
use super::member::{Client, Member, Parked};
use super::rebalance::{for_version, join_refused};
use super::roster::Group;
use super::state::GroupState;
use crate::engine::{Context, Handled, Millis};
use crate::journal;

/// From this version on a dynamic member joins with an id that it was given before.
const REQUIRES_MEMBER_ID: i16 = 4;
/// From this version on a leader that comes back can be told to keep the assignment.
const SUPPORTS_SKIPPING_ASSIGNMENT: i16 = 9;

/// One join request on its way.
struct Join<'a> {
    client: Client<'a>,
    request: &'a JoinGroupRequest,
}

impl Groups {
    /// Lets a member into a group, or asks for its vote again.
    pub(crate) fn join(
        &mut self,
        ctx: &mut Context<'_>,
        client: Client<'_>,
        request: &JoinGroupRequest,
    ) -> Handled {
        let join = Join { client, request };
        let member_id = &*request.member_id;
        if let Err(error) = self.check_join(ctx, request) {
            return join.refuse(member_id, error);
        }
        let group_id = &**request.group_id;
        if !self.groups.contains_key(group_id) {
            if !member_id.is_empty() {
                return join.refuse(member_id, ResponseError::UnknownMemberId);
            }
            self.create(ctx, group_id).store(ctx);
        }
        let new_id = if member_id.is_empty() { Some(self.new_member_id(ctx, join)) } else { None };
        let join = Join { client, request };
        let Some(group) = self.groups.get_mut(group_id) else {
            return join.refuse(member_id, ResponseError::UnknownMemberId);
        };
        let names = request.protocols.iter().map(|protocol| &*protocol.name);
        if !group.supports(&request.protocol_type, names) {
            return join.refuse(member_id, ResponseError::InconsistentGroupProtocol);
        }
        match new_id {
            Some(new_id) => join.new_member(ctx, group, new_id),
            None => join.existing_member(ctx, group),
        }
    }

    fn check_join(
        &self,
        ctx: &Context<'_>,
        request: &JoinGroupRequest,
    ) -> Result<(), ResponseError> {
        self.check(&request.group_id, ctx.now)?;
        let session = Millis::from(request.session_timeout_ms);
        let shortest = ctx.config.group_min_session_timeout_ms;
        if session < shortest || session > ctx.config.group_max_session_timeout_ms {
            return Err(ResponseError::InvalidSessionTimeout);
        }
        Ok(())
    }

    /// Ids are numbered, so that the same calls give the same ones.
    fn new_member_id(&mut self, ctx: &mut Context<'_>, join: Join<'_>) -> String {
        let number = self.next_member_id;
        self.next_member_id += 1;
        let entry = super::Entry::NextMemberId(self.next_member_id);
        ctx.journal.push(journal::Entry::Group(entry));
        let prefix = join.request.group_instance_id.as_deref().unwrap_or(join.client.id);
        format!("{prefix}-{number:08x}")
    }
}

impl Join<'_> {
    fn refuse(&self, member_id: &str, error: ResponseError) -> Handled {
        Handled::answer(join_refused(self.client.version, member_id, error))
    }

    fn answer(&self, answer: JoinGroupResponse) -> Handled {
        Handled::answer(for_version(self.client.version, answer))
    }

    fn new_member(self, ctx: &mut Context<'_>, group: &mut Group, new_id: String) -> Handled {
        let Some(instance_id) = self.request.group_instance_id.as_deref() else {
            if self.client.version >= REQUIRES_MEMBER_ID {
                let until = ctx.now + Millis::from(self.request.session_timeout_ms);
                let refused = self.refuse(&new_id, ResponseError::MemberIdRequired);
                group.pending_joins.insert(new_id, until);
                return refused;
            }
            return self.add(ctx, group, new_id);
        };
        match group.static_member(instance_id).map(str::to_owned) {
            Some(old_id) => self.replace(ctx, group, &old_id, new_id),
            None => self.add(ctx, group, new_id),
        }
    }

    fn add(self, ctx: &mut Context<'_>, group: &mut Group, id: String) -> Handled {
        let mut member = Member::new(id, self.client, self.request);
        let ticket = ctx.answers.ticket();
        member.joining = Some(Parked { ticket, version: self.client.version });
        group.add_and_rebalance(ctx, member, &self.request.protocol_type);
        ctx.answers.settle(ticket)
    }

    fn existing_member(self, ctx: &mut Context<'_>, group: &mut Group) -> Handled {
        let id = &*self.request.member_id;
        let instance_id = self.request.group_instance_id.as_deref();
        if group.pending_joins.contains_key(id) && instance_id.is_none() {
            return self.add(ctx, group, id.to_owned());
        }
        if let Err(error) = group.check_member(id, instance_id) {
            return self.refuse(id, error);
        }
        let same = group.members.get(id).is_some_and(|member| member.matches(self.request));
        let leads = group.is_leader(id);
        match group.state {
            GroupState::CompletingRebalance if same => self.answer(group.joined(id, leads)),
            GroupState::Stable if same && !leads => self.answer(group.joined(id, false)),
            GroupState::Empty => self.refuse(id, ResponseError::UnknownMemberId),
            _ => {
                let handled = self.park(ctx, group, id);
                group.rebalance_or_complete_join(ctx);
                handled.settle(ctx.answers)
            }
        }
    }

    /// Takes over what the member asks for now and lets its request wait.
    fn park(&self, ctx: &mut Context<'_>, group: &mut Group, id: &str) -> Handled {
        let version = self.client.version;
        let Some(member) = group.members.get_mut(id) else {
            return self.refuse(id, ResponseError::UnknownMemberId);
        };
        // a second request of the same member: the first one's client is not there any more
        let error = ResponseError::RebalanceInProgress;
        member.answer_join(ctx.answers, |version| join_refused(version, id, error));
        member.update(version, self.request);
        let ticket = ctx.answers.ticket();
        member.joining = Some(Parked { ticket, version });
        Handled::Waiting(ticket)
    }

    /// A static member comes back under a new id: the old one is fenced. The group stays stable if
    /// the member's protocols do not change what the group has agreed on.
    fn replace(
        self,
        ctx: &mut Context<'_>,
        group: &mut Group,
        old_id: &str,
        new_id: String,
    ) -> Handled {
        let old_leader = group.leader.clone();
        let Some(mut member) = group.members.remove(old_id) else {
            return self.refuse("", ResponseError::UnknownMemberId);
        };
        let error = ResponseError::FencedInstanceId;
        member.answer_join(ctx.answers, |version| join_refused(version, old_id, error));
        let fenced = SyncGroupResponse::default().with_error_code(error.code());
        member.answer_sync(ctx.answers, |_| fenced);
        member.id.clone_from(&new_id);
        member.is_new = false;
        member.heard(ctx.now);
        group.members.insert(new_id.clone(), member);
        if group.is_leader(old_id) {
            group.leader = Some(new_id.clone());
        }
        if group.pending_syncs.remove(old_id) {
            group.pending_syncs.insert(new_id.clone());
        }
        let handled = self.park(ctx, group, &new_id);
        match group.state {
            GroupState::Stable if group.protocol == group.select_protocol() => {
                group.store(ctx);
                let answer = self.kept(group, &new_id, old_leader.unwrap_or_default());
                if let Some(member) = group.members.get_mut(&new_id) {
                    member.answer_join(ctx.answers, |version| for_version(version, answer));
                }
            }
            GroupState::Stable | GroupState::CompletingRebalance => group.prepare_rebalance(ctx),
            GroupState::PreparingRebalance | GroupState::Empty => group.maybe_complete_join(ctx),
        }
        handled.settle(ctx.answers)
    }

    /// What a static member is told that came back without disturbing the group. A client that
    /// can't skip the assignment is told the leader's old id: it takes itself for a follower.
    fn kept(&self, group: &Group, id: &str, old_leader: String) -> JoinGroupResponse {
        if self.client.version >= SUPPORTS_SKIPPING_ASSIGNMENT {
            let leads = group.is_leader(id);
            return group.joined(id, leads).with_skip_assignment(leads);
        }
        group.joined(id, false).with_leader(old_leader.into())
    }
}
