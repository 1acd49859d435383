//! One group: its members, who leads them and what they agreed on. No requests, no timers' effects.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Buf;
use kafka_protocol::ResponseError;

use super::entry::Generation;
use super::member::Member;
use super::offsets::Offsets;
use super::state::GroupState;
use crate::engine::{Context, Millis};
use crate::journal;

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

/// What a group that prepares a rebalance waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinTimer {
    /// More first members, until `at`; `remaining` is what may still be added to it.
    Initial { at: Millis, delay: Millis, remaining: Millis },
    /// Members that have not joined again, until then.
    Rejoin(Millis),
}

impl JoinTimer {
    pub(super) fn at(self) -> Millis {
        match self {
            Self::Initial { at, .. } | Self::Rejoin(at) => at,
        }
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) state: GroupState,
    pub(super) previous: GroupState,
    /// When it came to its state.
    pub(super) since: Millis,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Ids given out to members that have not joined yet, with the time until which they may.
    pub(super) pending_joins: BTreeMap<String, Millis>,
    /// Members of this generation that have not asked for their assignment.
    pub(super) pending_syncs: BTreeSet<String>,
    /// Whether a member came during the initial delay.
    pub(super) new_member_added: bool,
    pub(super) join_timer: Option<JoinTimer>,
    pub(super) sync_timer: Option<Millis>,
    /// The generation that the journal has.
    pub(super) stored: Option<Generation>,
    pub(super) offsets: Offsets,
}

impl Group {
    pub(super) fn new(id: &str, now: Millis) -> Self {
        Self {
            id: id.to_owned(),
            state: GroupState::Empty,
            previous: GroupState::Empty,
            since: now,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending_joins: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            new_member_added: false,
            join_timer: None,
            sync_timer: None,
            stored: None,
            offsets: Offsets::default(),
        }
    }

    pub(super) fn transition(&mut self, next: GroupState, now: Millis) {
        let from = self.state;
        assert!(from.may_become(next), "group {} can't go from {from:?} to {next:?}", self.id);
        self.previous = from;
        self.state = next;
        self.since = now;
    }

    /// Puts the members' generation as of the journal in place of what there is.
    pub(super) fn restore(&mut self, stored: Generation) {
        let members = stored
            .members
            .iter()
            .map(|member| (member.id.clone(), Member::stored(member, stored.protocol.as_deref())));
        self.members = members.collect();
        self.state = if self.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        self.previous = self.state;
        self.since = stored.since;
        self.generation = stored.generation;
        self.protocol_type.clone_from(&stored.protocol_type);
        self.protocol.clone_from(&stored.protocol);
        self.leader.clone_from(&stored.leader);
        self.pending_joins.clear();
        self.pending_syncs.clear();
        self.new_member_added = false;
        self.join_timer = None;
        self.sync_timer = None;
        self.stored = Some(stored);
    }

    /// Writes this generation to the journal.
    pub(super) fn store(&mut self, ctx: &mut Context<'_>) {
        let protocol = self.protocol.as_deref();
        let generation = Generation {
            group: self.id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            since: ctx.now,
            members: self.members.values().map(|member| member.to_stored(protocol)).collect(),
        };
        self.stored = Some(generation.clone());
        ctx.journal.push(journal::Entry::Group(super::Entry::Generation(generation)));
    }

    pub(super) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(super) fn static_member(&self, instance_id: &str) -> Option<&str> {
        let of_instance = |member: &&Member| member.instance_id.as_deref() == Some(instance_id);
        self.members.values().find(of_instance).map(|member| member.id.as_str())
    }

    pub(super) fn all_joined(&self) -> bool {
        self.pending_joins.is_empty()
            && self.members.values().all(|member| member.joining.is_some())
    }

    pub(super) fn rebalance_timeout(&self) -> Millis {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or(0)
    }

    /// Checks that a request comes from a member, and from the last one of its instance id.
    pub(super) fn check_member(
        &self,
        member: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ResponseError> {
        if let Some(instance_id) = instance_id {
            match self.static_member(instance_id) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(current) if current != member => {
                    return Err(ResponseError::FencedInstanceId);
                }
                Some(_) => {}
            }
        }
        let known = self.members.contains_key(member);
        if known { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }

    /// Whether a member with these protocols can be in the group with those that are there.
    pub(super) fn supports<'a>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'a str>,
    ) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && protocols.next().is_some();
        }
        let by_all = |name: &str| self.members.values().all(|member| member.supports(name));
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.any(by_all)
    }

    pub(super) fn add(&mut self, member: Member, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.pending_joins.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id);
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
        removed
    }

    /// Makes a member that has joined the leader; false if none has.
    pub(super) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = self.leader.as_ref().and_then(|id| self.members.get(id)) else {
            return false;
        };
        if leader.joining.is_some() {
            return true;
        }
        let joined = self.members.values().find(|member| member.joining.is_some());
        let Some(joined) = joined.map(|member| member.id.clone()) else { return false };
        self.leader = Some(joined);
        true
    }

    /// The protocol with the most votes among those that all members support. Each member votes for
    /// the first of its own; with as many votes, the name that sorts first wins.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let by_all = |name: &str| self.members.values().all(|member| member.supports(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().find(|(name, _)| by_all(name));
            if let Some((name, _)) = vote {
                *votes.entry(name).or_default() += 1;
            }
        }
        let best = votes.iter().rev().max_by_key(|(_, count)| **count);
        best.map(|(name, _)| (*name).to_owned())
    }

    /// Whether members read a topic, as far as the coordinator can tell.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return false;
        }
        let Some(protocol) = self.protocol.as_deref() else { return !self.members.is_empty() };
        self.members.values().any(|member| {
            // what can't be read may be anything
            names_topic(&member.metadata(Some(protocol)), topic).unwrap_or(true)
        })
    }

    pub(super) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// When something is due by itself.
    pub(super) fn next_deadline(&self) -> Option<Millis> {
        let sessions = self.members.values().filter_map(|member| member.session_ends);
        let pending = self.pending_joins.values().copied();
        let timers = [self.join_timer.map(JoinTimer::at), self.sync_timer];
        sessions.chain(pending).chain(timers.into_iter().flatten()).min()
    }
}

/// Whether a consumer's subscription names a topic: a version, then an array of names. Read by
/// hand: a decoder that trusts the array's length would let a client ask for all memory.
fn names_topic(mut subscription: &[u8], topic: &str) -> Option<bool> {
    let _version = subscription.try_get_i16().ok()?;
    let count = subscription.try_get_i32().ok()?;
    for _ in 0..count {
        let length = usize::try_from(subscription.try_get_i16().ok()?).ok()?;
        let (name, rest) = subscription.split_at_checked(length)?;
        if name == topic.as_bytes() {
            return Some(true);
        }
        subscription = rest;
    }
    Some(false)
}
