//! DescribeGroups, ListGroups and DeleteGroups.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::member::Member;
use super::roster::Group;
use super::state::GroupState;
use super::{Entry, Groups, code};
use crate::engine::Context;

/// What a group that is not there is shown as.
const DEAD: &str = "Dead";

impl Groups {
    /// Describes groups with their members.
    pub(crate) fn describe(
        &self,
        ctx: &Context<'_>,
        version: i16,
        request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let groups = request.groups.iter().map(|id| {
            let answer = DescribedGroup::default().with_group_id(id.clone());
            if let Err(error) = self.check(id, ctx.now) {
                return answer.with_error_code(error.code());
            }
            match self.groups.get(&***id) {
                Some(group) => described(answer, group),
                None if version >= 6 => {
                    let message = format!("Group {} not found.", &***id);
                    answer
                        .with_group_state(StrBytes::from_static_str(DEAD))
                        .with_error_code(ResponseError::GroupIdNotFound.code())
                        .with_error_message(Some(StrBytes::from(message)))
                }
                None => answer.with_group_state(StrBytes::from_static_str(DEAD)),
            }
        });
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }

    /// Lists the groups in the asked states and of the asked types.
    pub(crate) fn list(&self, version: i16, request: &ListGroupsRequest) -> ListGroupsResponse {
        let wanted = |filter: &[StrBytes], is: &str| {
            filter.is_empty() || filter.iter().any(|name| name.eq_ignore_ascii_case(is))
        };
        let groups = self.groups.values().filter(|group| {
            wanted(&request.states_filter, group.state.name())
                && wanted(&request.types_filter, "classic")
        });
        let groups = groups.map(|group| {
            let protocol_type = group.protocol_type.clone().unwrap_or_default();
            let mut listed = ListedGroup::default()
                .with_group_id(GroupId(StrBytes::from(group.id.clone())))
                .with_protocol_type(StrBytes::from(protocol_type));
            if version >= 4 {
                listed.group_state = StrBytes::from_static_str(group.state.name());
            }
            if version >= 5 {
                listed.group_type = StrBytes::from_static_str("classic");
            }
            listed
        });
        ListGroupsResponse::default().with_groups(groups.collect())
    }

    /// Deletes groups without members, with their offsets.
    pub(crate) fn delete(
        &mut self,
        ctx: &mut Context<'_>,
        request: &DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let mut answer = DeleteGroupsResponse::default();
        for id in &request.groups_names {
            let allowed = self.check_delete(ctx, id);
            if allowed.is_ok() {
                self.record(ctx, Entry::Deleted { group: id.to_string() });
            }
            answer.results.push(
                DeletableGroupResult::default()
                    .with_group_id(id.clone())
                    .with_error_code(code(allowed)),
            );
        }
        answer
    }

    fn check_delete(&self, ctx: &Context<'_>, id: &str) -> Result<(), ResponseError> {
        self.check(id, ctx.now)?;
        let group = self.groups.get(id).ok_or(ResponseError::GroupIdNotFound)?;
        let empty = group.state == GroupState::Empty;
        if empty { Ok(()) } else { Err(ResponseError::NonEmptyGroup) }
    }
}

fn described(answer: DescribedGroup, group: &Group) -> DescribedGroup {
    // what has been agreed on is only known between two rebalances
    let stable = group.state == GroupState::Stable;
    let protocol = if stable { group.protocol.clone() } else { None };
    let members = group.members.values();
    let members = members.map(|member| described_member(member, protocol.as_deref()));
    answer
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_protocol_type(StrBytes::from(group.protocol_type.clone().unwrap_or_default()))
        .with_members(members.collect())
        .with_protocol_data(StrBytes::from(protocol.clone().unwrap_or_default()))
}

fn described_member(member: &Member, protocol: Option<&str>) -> DescribedGroupMember {
    let answer = DescribedGroupMember::default()
        .with_member_id(StrBytes::from(member.id.clone()))
        .with_group_instance_id(member.instance_id.clone().map(StrBytes::from))
        .with_client_id(StrBytes::from(member.client_id.clone()))
        .with_client_host(StrBytes::from(member.client_host.clone()));
    match protocol {
        Some(_) => answer
            .with_member_metadata(member.metadata(protocol))
            .with_member_assignment(member.assignment.clone()),
        None => answer,
    }
}
