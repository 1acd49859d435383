//! Consumer groups: members, generations and committed offsets.
//!
//! This is the classic protocol as Apache Kafka's coordinator speaks it: members join, the one that
//! leads assigns, all fetch their assignment and then send heartbeats. Requests that wait for the
//! rest of the group hold a ticket.
//!
//! ```text
//!   Empty -> PreparingRebalance -> CompletingRebalance -> Stable
//!     ^         |     ^                  |                   |
//!     +---------+     +------------------+-------------------+
//! ```
//!
//! Rules:
//! 1. What Kafka writes to `__consumer_offsets` goes to the journal, at the same moments: a
//!    generation when its leader has assigned, offsets, and the markers that decide them. A restart
//!    (or a moved coordinator) goes back to the last of these; members keep their place if they are
//!    heard of within their session.
//! 2. Nobody sees whether the client of a waiting request is still there. Timers, not connections,
//!    end the wait, so an abandoned ticket can't hold a group up.
//! 3. Offsets change through [`Entry`] only: what is done now is what a restart does.

mod admin;
mod commit;
mod entry;
mod fetch;
mod join;
mod member;
mod offsets;
mod rebalance;
mod roster;
mod session;
mod state;

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;

pub use entry::{Committed, Entry, Generation, StoredMember};
pub(crate) use member::Client;
pub use state::GroupState;

use crate::engine::{Context, Millis, Moves};
use crate::journal;
use crate::log::Marker;
use roster::Group;

/// How often groups without members and offsets are looked for (Kafka's
/// `offsets.retention.check.interval.ms`).
const CLEANUP_INTERVAL: Millis = 10 * 60 * 1000;

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    groups: BTreeMap<String, Group>,
    next_member_id: u64,
    /// Number of the next offset commit.
    next_sequence: u64,
    next_cleanup: Option<Millis>,
    moves: Moves,
}

impl Groups {
    /// Does again what the journal says was done.
    pub(crate) fn recover(&mut self, entry: Entry, now: Millis) -> Result<(), String> {
        self.apply(&entry, now);
        Ok(())
    }

    /// Starts the sessions of the members that the journal knows.
    pub(crate) fn recovered(&mut self, now: Millis) {
        for group in self.groups.values_mut() {
            group.members.values_mut().for_each(|member| member.heard(now));
        }
    }

    fn apply(&mut self, entry: &Entry, now: Millis) {
        match entry {
            Entry::NextMemberId(next) => self.next_member_id = *next,
            Entry::Generation(generation) => {
                self.group_mut(&generation.group, now).restore(generation.clone());
            }
            Entry::Deleted { group } => {
                self.groups.remove(group);
            }
            Entry::Offset { group, topic, partition, committed, producer } => {
                self.next_sequence = self.next_sequence.max(committed.sequence + 1);
                let offsets = &mut self.group_mut(group, now).offsets;
                match producer {
                    Some(producer) => offsets.pend(*producer, topic, *partition, committed.clone()),
                    None => offsets.commit(topic, *partition, committed.clone()),
                }
            }
            Entry::OffsetDeleted { group, topic, partition } => {
                if let Some(group) = self.groups.get_mut(group) {
                    group.offsets.delete(topic, *partition);
                }
            }
            Entry::Decided { group, producer, marker, at } => {
                self.group_mut(group, now).offsets.decide(*producer, *marker, *at);
            }
        }
    }

    /// Does what an entry says and puts it into the journal.
    fn record(&mut self, ctx: &mut Context<'_>, entry: Entry) {
        self.apply(&entry, ctx.now);
        ctx.journal.push(journal::Entry::Group(entry));
    }

    fn group_mut(&mut self, id: &str, now: Millis) -> &mut Group {
        self.next_cleanup.get_or_insert(now.saturating_add(CLEANUP_INTERVAL));
        if !self.groups.contains_key(id) {
            self.groups.insert(id.to_owned(), Group::new(id, now));
        }
        self.groups.get_mut(id).expect("the group is there: it was just made")
    }

    fn create(&mut self, ctx: &mut Context<'_>, id: &str) -> &mut Group {
        self.group_mut(id, ctx.now)
    }

    /// Refuses what can't be answered for this group.
    fn check(&self, group: &str, now: Millis) -> Result<(), ResponseError> {
        if group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        self.moves.check(group, now)
    }

    /// The group that a member takes itself to be in.
    fn member_of(&mut self, group: &str, now: Millis) -> Result<&mut Group, ResponseError> {
        self.check(group, now)?;
        self.groups.get_mut(group).ok_or(ResponseError::UnknownMemberId)
    }

    /// Returns entries that recover to this state.
    pub(crate) fn snapshot(&self) -> Vec<journal::Entry> {
        let mut entries = vec![Entry::NextMemberId(self.next_member_id)];
        for group in self.groups.values() {
            entries.extend(group.stored.clone().map(Entry::Generation));
            entries.extend(group.offsets.snapshot(&group.id));
        }
        entries.into_iter().map(journal::Entry::Group).collect()
    }

    /// Does what is due: sessions, rebalances, coordinators that have loaded, old offsets.
    pub(crate) fn advance(&mut self, ctx: &mut Context<'_>) {
        for id in self.moves.arrived(ctx.now) {
            if let Some(group) = self.groups.get_mut(&id) {
                group.members.values_mut().for_each(|member| member.heard(ctx.now));
            }
        }
        for group in self.groups.values_mut() {
            let due = group.next_deadline().is_some_and(|deadline| deadline <= ctx.now);
            if due && !self.moves.is_away(&group.id, ctx.now) {
                group.advance(ctx);
            }
        }
        if self.next_cleanup.is_some_and(|at| at <= ctx.now) {
            self.clean_up(ctx);
            let next = ctx.now.saturating_add(CLEANUP_INTERVAL);
            self.next_cleanup = (!self.groups.is_empty()).then_some(next);
        }
    }

    /// When [`Groups::advance`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        let groups = self.groups.values();
        let due = groups.filter_map(|group| group.next_deadline().max(self.moves.until(&group.id)));
        due.chain(self.next_cleanup).chain(self.moves.next()).min()
    }

    /// Decides the pending offsets of a producer's transaction.
    pub(crate) fn apply_marker(
        &mut self,
        ctx: &mut Context<'_>,
        group: &str,
        producer: (i64, i16),
        marker: Marker,
    ) {
        let group = group.to_owned();
        self.record(ctx, Entry::Decided { group, producer, marker, at: ctx.now });
    }

    /// Forgets the offsets of a topic that was deleted.
    pub(crate) fn topic_deleted(&mut self, ctx: &mut Context<'_>, topic: &str) {
        let of_topic = |group: &Group| {
            let partitions = group.offsets.partitions();
            let id = group.id.clone();
            let gone = partitions.into_iter().filter(|(name, _)| name == topic);
            gone.map(move |(topic, partition)| Entry::OffsetDeleted {
                group: id.clone(),
                topic,
                partition,
            })
            .collect::<Vec<Entry>>()
        };
        let entries: Vec<Entry> = self.groups.values().flat_map(of_topic).collect();
        for entry in entries {
            self.record(ctx, entry);
        }
    }

    /// Moves a group's coordinator; the new one has loaded at `until`. Waiting requests are
    /// refused, and the group goes back to what the journal has, as it does on a real cluster.
    pub(crate) fn move_coordinator(&mut self, ctx: &mut Context<'_>, id: &str, until: Millis) {
        self.moves.start(id, until);
        let Some(group) = self.groups.get_mut(id) else { return };
        group.refuse_waiting(ctx, ResponseError::NotCoordinator);
        let nothing = Group::new(id, ctx.now);
        let offsets = std::mem::take(&mut group.offsets);
        let stored = group.stored.take();
        *group = nothing;
        group.offsets = offsets;
        if let Some(stored) = stored {
            group.restore(stored);
        }
    }

    /// A client was told where the coordinator of a group is.
    pub(crate) fn coordinator_found(&mut self, group: &str) {
        self.moves.found(group);
    }

    /// Ends a member's session now; false if there is no such member.
    pub(crate) fn kick(&mut self, ctx: &mut Context<'_>, group: &str, member: &str) -> bool {
        let Some(group) = self.groups.get_mut(group) else { return false };
        if !group.members.contains_key(member) {
            return false;
        }
        group.expel(ctx, member);
        group.go_on(ctx);
        true
    }

    /// The committed offsets of a group by topic and partition, for oracles.
    pub fn committed(&self, group: &str) -> impl Iterator<Item = (&str, i32, &Committed)> {
        let offsets = self.groups.get(group).map(|group| &group.offsets.committed);
        offsets.into_iter().flatten().flat_map(|(topic, partitions)| {
            partitions.iter().map(|(partition, committed)| (topic.as_str(), *partition, committed))
        })
    }

    /// State, generation and ids of the members of a group, for oracles.
    #[must_use]
    pub fn members(&self, group: &str) -> Option<(GroupState, i32, Vec<&str>)> {
        let group = self.groups.get(group)?;
        let members = group.members.keys().map(String::as_str).collect();
        Some((group.state, group.generation, members))
    }

    /// Names of the groups, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }
}

/// The code of a result, 0 if it is none of an error.
fn code(result: Result<(), ResponseError>) -> i16 {
    result.err().map_or(0, |error| error.code())
}
