//! OffsetCommit and TxnOffsetCommit: who may commit, and what becomes of it.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::roster::Group;
use super::state::GroupState;
use super::{Committed, Entry, Groups, code};
use crate::engine::{Context, Millis};
use crate::log::Topics;
use crate::transaction::Transactions;

/// Who commits, as the request says.
#[derive(Clone, Copy)]
struct Committer<'a> {
    member: &'a str,
    instance_id: Option<&'a str>,
    generation: i32,
    transactional: bool,
}

/// One offset of a request.
struct Asked<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: &'a str,
}

impl Groups {
    /// Commits offsets, of a member or of a client that assigns partitions by itself.
    pub(crate) fn offset_commit(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &OffsetCommitRequest,
        topics: &Topics,
    ) -> OffsetCommitResponse {
        let known =
            request.topics.iter().any(|topic| topics.partition_count(&topic.name).is_some());
        let allowed = if known { self.check_commit(ctx, version, request) } else { Ok(()) };
        let mut answer = OffsetCommitResponse::default();
        for topic in &request.topics {
            let exists = topics.partition_count(&topic.name).is_some();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let result = exists_or(exists).and(allowed).and_then(|()| {
                    let asked = Asked {
                        topic: &topic.name,
                        partition: asked.partition_index,
                        offset: asked.committed_offset,
                        leader_epoch: asked.committed_leader_epoch,
                        metadata: asked.committed_metadata.as_deref().unwrap_or_default(),
                    };
                    self.commit(ctx, &request.group_id, None, &asked)
                });
                partitions.push(
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(asked.partition_index)
                        .with_error_code(code(result)),
                );
            }
            answer.topics.push(
                OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        answer
    }

    fn check_commit(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ResponseError> {
        let generation = request.generation_id_or_member_epoch;
        let committer = Committer {
            member: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation,
            transactional: false,
        };
        let group = self.committed_group(ctx, &request.group_id, generation);
        let group = group.map_err(|error| match error {
            // clients that know the newer error are told that there is no such group
            ResponseError::IllegalGeneration if version >= 9 => ResponseError::GroupIdNotFound,
            error => error,
        })?;
        group.check_committer(committer)?;
        let heard = matches!(group.state, GroupState::Stable | GroupState::PreparingRebalance);
        if let Some(member) = group.members.get_mut(&*request.member_id).filter(|_| heard) {
            member.heard(ctx.now);
        }
        Ok(())
    }

    /// Keeps offsets until their transaction is decided.
    ///
    /// Apache Kafka asks the transaction coordinator only when the offsets' partition has no open
    /// transaction of this producer and epoch; so is it here, for that is what lets a late request
    /// in.
    pub(crate) fn txn_offset_commit(
        &mut self,
        ctx: &mut Context<'_>,
        version: i16,
        request: &TxnOffsetCommitRequest,
        (topics, transactions): (&Topics, &Transactions),
    ) -> TxnOffsetCommitResponse {
        let known =
            request.topics.iter().any(|topic| topics.partition_count(&topic.name).is_some());
        let allowed =
            if known { self.check_txn_commit(ctx, request, transactions) } else { Ok(()) };
        let allowed = allowed.map_err(|error| match error {
            ResponseError::CoordinatorLoadInProgress if version < 2 => {
                ResponseError::CoordinatorNotAvailable
            }
            error => error,
        });
        let producer = Some((*request.producer_id, request.producer_epoch));
        let mut answer = TxnOffsetCommitResponse::default();
        for topic in &request.topics {
            let exists = topics.partition_count(&topic.name).is_some();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let result = exists_or(exists).and(allowed).and_then(|()| {
                    let asked = Asked {
                        topic: &topic.name,
                        partition: asked.partition_index,
                        offset: asked.committed_offset,
                        leader_epoch: asked.committed_leader_epoch,
                        metadata: asked.committed_metadata.as_deref().unwrap_or_default(),
                    };
                    self.commit(ctx, &request.group_id, producer, &asked)
                });
                partitions.push(
                    TxnOffsetCommitResponsePartition::default()
                        .with_partition_index(asked.partition_index)
                        .with_error_code(code(result)),
                );
            }
            answer.topics.push(
                TxnOffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        answer
    }

    fn check_txn_commit(
        &mut self,
        ctx: &mut Context<'_>,
        request: &TxnOffsetCommitRequest,
        transactions: &Transactions,
    ) -> Result<(), ResponseError> {
        self.check(&request.group_id, ctx.now)?;
        let producer = (*request.producer_id, request.producer_epoch);
        let offsets = self.groups.get(&**request.group_id).map(|group| &group.offsets);
        if !offsets.is_some_and(|offsets| offsets.is_open(producer)) {
            let id = &request.transactional_id;
            transactions.verify_group(ctx.now, id, producer, &request.group_id)?;
        }
        let group = self.committed_group(ctx, &request.group_id, request.generation_id)?;
        group.check_committer(Committer {
            member: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
            transactional: true,
        })?;
        let known = group.offsets.producers.get(&producer.0);
        if known.is_some_and(|known| producer.1 < known.epoch) {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        Ok(())
    }

    /// The group to commit to. Clients that are no members make it by committing.
    fn committed_group(
        &mut self,
        ctx: &mut Context<'_>,
        id: &StrBytes,
        generation: i32,
    ) -> Result<&mut Group, ResponseError> {
        self.check(id, ctx.now)?;
        if !self.groups.contains_key(&**id) && generation >= 0 {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok(self.create(ctx, id))
    }

    fn commit(
        &mut self,
        ctx: &mut Context<'_>,
        group: &str,
        producer: Option<(i64, i16)>,
        asked: &Asked<'_>,
    ) -> Result<(), ResponseError> {
        if asked.metadata.len() > ctx.config.offset_metadata_max_bytes {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        let committed = Committed {
            offset: asked.offset,
            leader_epoch: asked.leader_epoch,
            metadata: asked.metadata.to_owned(),
            at: ctx.now,
            sequence: self.next_sequence,
        };
        let entry = Entry::Offset {
            group: group.to_owned(),
            topic: asked.topic.to_owned(),
            partition: asked.partition,
            committed,
            producer,
        };
        self.record(ctx, entry);
        Ok(())
    }

    /// Deletes offsets that nobody has renewed, and groups of which nothing is left.
    pub(super) fn clean_up(&mut self, ctx: &mut Context<'_>) {
        let before = ctx.now.saturating_sub(ctx.config.offsets_retention_ms);
        let idle_before = ctx.now.saturating_sub(ctx.config.producer_id_expiration_ms);
        let mut entries = Vec::new();
        for group in self.groups.values_mut() {
            let expiry = |at: Millis| at <= before;
            group.offsets.forget_producers(idle_before);
            if group.state != GroupState::Empty || !group.pending_joins.is_empty() {
                continue;
            }
            let mut left = group.offsets.has_open();
            for (topic, partition) in group.offsets.partitions() {
                let committed = group.offsets.get(&topic, partition);
                let at = match group.protocol_type {
                    Some(_) => Some(group.since),
                    None => committed.map(|committed| committed.at),
                };
                if at.is_some_and(expiry) && !group.offsets.is_unstable(&topic, partition) {
                    let group = group.id.clone();
                    entries.push(Entry::OffsetDeleted { group, topic, partition });
                } else {
                    left = true;
                }
            }
            if !left {
                entries.push(Entry::Deleted { group: group.id.clone() });
            }
        }
        for entry in entries {
            self.record(ctx, entry);
        }
    }
}

impl Group {
    fn check_committer(&self, committer: Committer<'_>) -> Result<(), ResponseError> {
        let Committer { member, instance_id, generation, transactional } = committer;
        if generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if generation >= 0 || !member.is_empty() || instance_id.is_some() {
            self.check_member(member, instance_id)?;
            if generation != self.generation {
                return Err(ResponseError::IllegalGeneration);
            }
        } else if !transactional {
            return Err(ResponseError::UnknownMemberId);
        }
        if !transactional && self.state == GroupState::CompletingRebalance {
            return Err(ResponseError::RebalanceInProgress);
        }
        Ok(())
    }
}

fn exists_or(exists: bool) -> Result<(), ResponseError> {
    if exists { Ok(()) } else { Err(ResponseError::UnknownTopicOrPartition) }
}
