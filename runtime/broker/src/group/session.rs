//! SyncGroup, Heartbeat and LeaveGroup: the life of a member in a generation.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::Groups;
use super::code;
use super::member::Parked;
use super::roster::Group;
use super::state::GroupState;
use crate::engine::{Context, Handled};

impl Groups {
    /// Gives a member its assignment, as soon as the leader has brought it.
    pub(crate) fn sync(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &SyncGroupRequest,
    ) -> Handled {
        let refuse = |error: ResponseError| {
            Handled::answer(SyncGroupResponse::default().with_error_code(error.code()))
        };
        if version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
            return refuse(ResponseError::InconsistentGroupProtocol);
        }
        let group = match self.member_of(&request.group_id, ctx.now) {
            Ok(group) => group,
            Err(error) => return refuse(error),
        };
        let id = &*request.member_id;
        if let Err(error) = check_sync(group, request) {
            return refuse(error);
        }
        match group.state {
            GroupState::Empty => refuse(ResponseError::UnknownMemberId),
            GroupState::PreparingRebalance => refuse(ResponseError::RebalanceInProgress),
            GroupState::Stable => {
                group.pending_syncs.remove(id);
                Handled::answer(group.synced(id))
            }
            GroupState::CompletingRebalance => {
                group.pending_syncs.remove(id);
                let ticket = ctx.answers.ticket();
                if let Some(member) = group.members.get_mut(id) {
                    // a second request of the same member: nobody waits for the first one's answer
                    let error = ResponseError::RebalanceInProgress;
                    let stale = SyncGroupResponse::default().with_error_code(error.code());
                    member.answer_sync(ctx.answers, |_| stale);
                    member.syncing = Some(Parked { ticket, version });
                }
                if group.is_leader(id) {
                    let assignments = request.assignments.iter();
                    let assignments: BTreeMap<String, Bytes> = assignments
                        .map(|to| (to.member_id.to_string(), to.assignment.clone()))
                        .collect();
                    group.assign(ctx, assignments);
                }
                ctx.answers.settle(ticket)
            }
        }
    }

    /// Keeps a member's session alive and tells it of rebalances.
    pub(crate) fn heartbeat(
        &mut self,
        ctx: &mut Context<'_>,
        request: &HeartbeatRequest,
    ) -> HeartbeatResponse {
        let result = self.member_of(&request.group_id, ctx.now).and_then(|group| {
            group.check_member(&request.member_id, request.group_instance_id.as_deref())?;
            if request.generation_id != group.generation {
                return Err(ResponseError::IllegalGeneration);
            }
            if group.state == GroupState::Empty {
                return Err(ResponseError::UnknownMemberId);
            }
            if let Some(member) = group.members.get_mut(&*request.member_id) {
                member.heard(ctx.now);
            }
            match group.state {
                GroupState::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
                _ => Ok(()),
            }
        });
        HeartbeatResponse::default().with_error_code(code(result))
    }

    /// Lets members go. Before version 3 there is one, named by its id.
    pub(crate) fn leave(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let single = MemberIdentity::default().with_member_id(request.member_id.clone());
        let leaving =
            if version < 3 { std::slice::from_ref(&single) } else { &request.members[..] };
        let group = match self.member_of(&request.group_id, ctx.now) {
            Ok(group) => group,
            Err(error) if version < 3 || error != ResponseError::UnknownMemberId => {
                return LeaveGroupResponse::default().with_error_code(error.code());
            }
            Err(error) => {
                let refused = leaving.iter().map(|member| left(member, Err(error)));
                return LeaveGroupResponse::default().with_members(refused.collect());
            }
        };
        let mut answers = Vec::new();
        for member in leaving {
            answers.push(left(member, leave_one(ctx, group, member)));
        }
        if answers.iter().any(|answer| answer.error_code == 0) {
            match group.state {
                GroupState::Stable | GroupState::CompletingRebalance => {
                    group.rebalance_or_complete_join(ctx);
                }
                GroupState::PreparingRebalance => group.maybe_complete_join(ctx),
                GroupState::Empty => {}
            }
        }
        if version < 3 {
            let error = answers.first().map_or(0, |answer| answer.error_code);
            return LeaveGroupResponse::default().with_error_code(error);
        }
        LeaveGroupResponse::default().with_members(answers)
    }
}

fn check_sync(group: &Group, request: &SyncGroupRequest) -> Result<(), ResponseError> {
    group.check_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(ResponseError::IllegalGeneration);
    }
    let differs = |asked: &Option<StrBytes>, agreed: &Option<String>| match (asked, agreed) {
        (Some(asked), Some(agreed)) => **asked != **agreed,
        _ => false,
    };
    if differs(&request.protocol_type, &group.protocol_type)
        || differs(&request.protocol_name, &group.protocol)
    {
        return Err(ResponseError::InconsistentGroupProtocol);
    }
    Ok(())
}

fn leave_one(
    ctx: &mut Context<'_>,
    group: &mut Group,
    leaving: &MemberIdentity,
) -> Result<(), ResponseError> {
    let id = &*leaving.member_id;
    let instance_id = leaving.group_instance_id.as_deref();
    if id.is_empty() {
        let current = instance_id.and_then(|instance_id| group.static_member(instance_id));
        let current = current.ok_or(ResponseError::UnknownMemberId)?.to_owned();
        group.expel(ctx, &current);
        return Ok(());
    }
    if group.pending_joins.remove(id).is_some() {
        return Ok(());
    }
    group.check_member(id, instance_id)?;
    group.expel(ctx, id);
    Ok(())
}

fn left(leaving: &MemberIdentity, result: Result<(), ResponseError>) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(leaving.member_id.clone())
        .with_group_instance_id(leaving.group_instance_id.clone())
        .with_error_code(code(result))
}
