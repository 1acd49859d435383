//! One member of a group.

use bytes::Bytes;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};

use super::entry::StoredMember;
use crate::engine::{Answers, Millis, Ticket};

/// Who sent a request, as far as groups care.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client<'a> {
    /// `client.id`.
    pub(crate) id: &'a str,
    /// Where it is.
    pub(crate) host: &'a str,
    /// Version of the request.
    pub(crate) version: i16,
}

/// A request that waits for the rest of the group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parked {
    pub(super) ticket: Ticket,
    pub(super) version: i16,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout: Millis,
    pub(super) session_timeout: Millis,
    /// Names and metadata, most wanted first.
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    pub(super) joining: Option<Parked>,
    pub(super) syncing: Option<Parked>,
    /// Until its first generation: then it can be expired even while its join waits.
    pub(super) is_new: bool,
    /// When its session ends if nothing is heard.
    pub(super) session_ends: Option<Millis>,
}

impl Member {
    pub(super) fn new(id: String, client: Client<'_>, request: &JoinGroupRequest) -> Self {
        Self {
            id,
            instance_id: request.group_instance_id.as_ref().map(|id| id.to_string()),
            client_id: client.id.to_owned(),
            client_host: client.host.to_owned(),
            rebalance_timeout: rebalance_timeout(client.version, request),
            session_timeout: Millis::from(request.session_timeout_ms),
            protocols: protocols(request),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            is_new: true,
            session_ends: None,
        }
    }

    /// A member as it was when its generation was stored.
    pub(super) fn stored(stored: &StoredMember, protocol: Option<&str>) -> Self {
        let protocol = protocol.map(|name| (name.to_owned(), stored.metadata.clone()));
        Self {
            id: stored.id.clone(),
            instance_id: stored.instance_id.clone(),
            client_id: stored.client_id.clone(),
            client_host: stored.client_host.clone(),
            rebalance_timeout: stored.rebalance_timeout,
            session_timeout: stored.session_timeout,
            protocols: protocol.into_iter().collect(),
            assignment: stored.assignment.clone(),
            joining: None,
            syncing: None,
            is_new: false,
            session_ends: None,
        }
    }

    pub(super) fn to_stored(&self, protocol: Option<&str>) -> StoredMember {
        StoredMember {
            id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout: self.rebalance_timeout,
            session_timeout: self.session_timeout,
            metadata: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    /// Takes over what a member asks for when it joins again.
    pub(super) fn update(&mut self, version: i16, request: &JoinGroupRequest) {
        self.protocols = protocols(request);
        self.rebalance_timeout = rebalance_timeout(version, request);
        self.session_timeout = Millis::from(request.session_timeout_ms);
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// Whether a request names the same protocols, with the same metadata, in the same order.
    pub(super) fn matches(&self, request: &JoinGroupRequest) -> bool {
        let asked = request.protocols.iter().map(|asked| (&*asked.name, &asked.metadata));
        self.protocols.iter().map(|(name, metadata)| (&**name, metadata)).eq(asked)
    }

    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Hears of the member: its session starts again.
    pub(super) fn heard(&mut self, now: Millis) {
        self.session_ends = Some(now.saturating_add(self.session_timeout));
    }

    /// Whether it is not expected to send heartbeats: it waits for the coordinator.
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.joining.is_some() || self.syncing.is_some())
    }

    pub(super) fn answer_join(
        &mut self,
        answers: &mut Answers,
        build: impl FnOnce(i16) -> JoinGroupResponse,
    ) -> bool {
        let Some(parked) = self.joining.take() else { return false };
        answers.complete(parked.ticket, build(parked.version).into());
        true
    }

    pub(super) fn answer_sync(
        &mut self,
        answers: &mut Answers,
        build: impl FnOnce(i16) -> SyncGroupResponse,
    ) -> bool {
        let Some(parked) = self.syncing.take() else { return false };
        answers.complete(parked.ticket, build(parked.version).into());
        true
    }
}

fn protocols(request: &JoinGroupRequest) -> Vec<(String, Bytes)> {
    let protocols = request.protocols.iter();
    protocols.map(|asked| (asked.name.to_string(), asked.metadata.clone())).collect()
}

/// Before version 1 there was only the session's timeout.
fn rebalance_timeout(version: i16, request: &JoinGroupRequest) -> Millis {
    let asked =
        if version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
    Millis::from(asked.max(0))
}
