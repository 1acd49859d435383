//! Requests for groups and transactions, handed to their coordinators; and how tests disturb these.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{
    BrokerId, DescribeProducersRequest, DescribeProducersResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, ProducerId, RequestKind,
};
use kafka_protocol::protocol::StrBytes;

use super::{Call, Context, CoordinatorKey, Engine, Handled, MarkerTarget, Millis};
use crate::group::{Client, Groups};
use crate::log::{PartitionLog, Topics};
use crate::transaction::Transactions;

/// Key types of FindCoordinator.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// The parts of an engine that a coordinator's request touches.
struct Parts<'a> {
    topics: &'a mut Topics,
    groups: &'a mut Groups,
    transactions: &'a mut Transactions,
}

impl Engine {
    /// Handles a request that is neither about topics nor about records.
    pub(super) fn coordinate(&mut self, now: Millis, call: Call) -> Handled {
        let (mut ctx, mut parts) = self.split(now);
        match &call.request {
            RequestKind::FindCoordinator(request) => {
                Handled::answer(parts.find(&ctx, call.version, request))
            }
            RequestKind::DescribeProducers(request) => {
                Handled::answer(describe_producers(parts.topics, request))
            }
            RequestKind::JoinGroup(_)
            | RequestKind::SyncGroup(_)
            | RequestKind::Heartbeat(_)
            | RequestKind::LeaveGroup(_)
            | RequestKind::DescribeGroups(_)
            | RequestKind::ListGroups(_)
            | RequestKind::DeleteGroups(_) => parts.membership(&mut ctx, &call),
            RequestKind::OffsetCommit(_)
            | RequestKind::OffsetFetch(_)
            | RequestKind::OffsetDelete(_)
            | RequestKind::TxnOffsetCommit(_) => parts.offsets(&mut ctx, &call),
            _ => parts.transaction(&mut ctx, &call),
        }
    }

    fn split(&mut self, now: Millis) -> (Context<'_>, Parts<'_>) {
        let context = Context {
            now,
            config: &self.config,
            answers: &mut self.answers,
            journal: &mut self.journal,
        };
        let parts = Parts {
            topics: &mut self.topics,
            groups: &mut self.groups,
            transactions: &mut self.transactions,
        };
        (context, parts)
    }

    /// Holds back the transaction markers for a target until a time: what was decided is not seen
    /// there before.
    pub fn hold_markers(&mut self, target: MarkerTarget, until: Millis) {
        self.transactions.hold_markers(target, until);
    }

    /// Moves the coordinator of a group or a transactional id. Clients are refused with
    /// `NOT_COORDINATOR` until they look for the new one, which is loading until the given time.
    pub fn move_coordinator(&mut self, now: Millis, key: &CoordinatorKey, until: Millis) {
        let (mut ctx, parts) = self.split(now);
        match key {
            CoordinatorKey::Group(group) => parts.groups.move_coordinator(&mut ctx, group, until),
            CoordinatorKey::Transaction(id) => {
                parts.transactions.move_coordinator(&mut ctx, id, until);
            }
        }
    }

    /// Lets the ongoing transaction of a transactional id time out now: it is aborted and its
    /// producer fenced. False if there is none.
    pub fn time_out_transaction(&mut self, now: Millis, transactional_id: &str) -> bool {
        let (mut ctx, parts) = self.split(now);
        let others = (parts.topics, parts.groups);
        parts.transactions.time_out(&mut ctx, transactional_id, others)
    }

    /// Ends the session of a group's member now. False if there is no such member.
    pub fn kick_member(&mut self, now: Millis, group: &str, member_id: &str) -> bool {
        let (mut ctx, parts) = self.split(now);
        parts.groups.kick(&mut ctx, group, member_id)
    }

    /// The groups, for oracles.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The transactional ids, for oracles.
    #[must_use]
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }
}

impl Parts<'_> {
    fn membership(&mut self, ctx: &mut Context<'_>, call: &Call) -> Handled {
        let groups = &mut *self.groups;
        let version = call.version;
        match &call.request {
            RequestKind::JoinGroup(request) => {
                let client = Client { id: &call.client_id, host: &call.client_host, version };
                groups.join(ctx, client, request)
            }
            RequestKind::SyncGroup(request) => groups.sync(ctx, version, request),
            RequestKind::Heartbeat(request) => Handled::answer(groups.heartbeat(ctx, request)),
            RequestKind::LeaveGroup(request) => {
                Handled::answer(groups.leave(ctx, version, request))
            }
            RequestKind::DescribeGroups(request) => {
                Handled::answer(groups.describe(ctx, version, request))
            }
            RequestKind::ListGroups(request) => Handled::answer(groups.list(version, request)),
            RequestKind::DeleteGroups(request) => Handled::answer(groups.delete(ctx, request)),
            _ => Handled::unsupported(call),
        }
    }

    fn offsets(&mut self, ctx: &mut Context<'_>, call: &Call) -> Handled {
        let groups = &mut *self.groups;
        let version = call.version;
        match &call.request {
            RequestKind::OffsetCommit(request) => {
                Handled::answer(groups.offset_commit(ctx, version, request, self.topics))
            }
            RequestKind::OffsetFetch(request) => {
                Handled::answer(groups.offset_fetch(ctx, version, request))
            }
            RequestKind::OffsetDelete(request) => {
                Handled::answer(groups.offset_delete(ctx, request, self.topics))
            }
            RequestKind::TxnOffsetCommit(request) => {
                let others = (&*self.topics, &*self.transactions);
                Handled::answer(groups.txn_offset_commit(ctx, version, request, others))
            }
            _ => Handled::unsupported(call),
        }
    }

    fn transaction(&mut self, ctx: &mut Context<'_>, call: &Call) -> Handled {
        let transactions = &mut *self.transactions;
        let others = (&mut *self.topics, &mut *self.groups);
        let version = call.version;
        match &call.request {
            RequestKind::InitProducerId(request) => {
                Handled::answer(transactions.init_producer_id(ctx, version, request, others))
            }
            RequestKind::AddPartitionsToTxn(request) => {
                Handled::answer(transactions.add_partitions(ctx, version, request, others.0))
            }
            RequestKind::AddOffsetsToTxn(request) => {
                Handled::answer(transactions.add_offsets(ctx, version, request))
            }
            RequestKind::EndTxn(request) => {
                Handled::answer(transactions.end(ctx, version, request, others))
            }
            RequestKind::ListTransactions(request) => {
                Handled::answer(transactions.list(ctx, request))
            }
            RequestKind::DescribeTransactions(request) => {
                Handled::answer(transactions.describe(ctx, request))
            }
            _ => Handled::unsupported(call),
        }
    }

    /// Names the only node as coordinator of everything.
    fn find(
        &mut self,
        ctx: &Context<'_>,
        version: i16,
        request: &FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        let config = ctx.config;
        let (host, port) = (StrBytes::from(config.host.clone()), i32::from(config.port));
        let node = BrokerId(config.node_id);
        if version < 4 {
            let answer = FindCoordinatorResponse::default();
            return match self.found(request.key_type, &request.key) {
                Ok(()) => answer.with_node_id(node).with_host(host).with_port(port),
                Err(error) => {
                    answer.with_node_id(BrokerId(-1)).with_port(-1).with_error_code(error.code())
                }
            };
        }
        let mut answer = FindCoordinatorResponse::default();
        for key in &request.coordinator_keys {
            let coordinator = Coordinator::default().with_key(key.clone());
            answer.coordinators.push(match self.found(request.key_type, key) {
                Ok(()) => coordinator.with_node_id(node).with_host(host.clone()).with_port(port),
                Err(error) => coordinator
                    .with_node_id(BrokerId(-1))
                    .with_port(-1)
                    .with_error_code(error.code()),
            });
        }
        answer
    }

    fn found(&mut self, key_type: i8, key: &str) -> Result<(), ResponseError> {
        match key_type {
            GROUP => self.groups.coordinator_found(key),
            TRANSACTION => self.transactions.coordinator_found(key),
            _ => return Err(ResponseError::InvalidRequest),
        }
        Ok(())
    }
}

fn describe_producers(
    topics: &Topics,
    request: &DescribeProducersRequest,
) -> DescribeProducersResponse {
    let described = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|partition| {
            let answer = PartitionResponse::default().with_partition_index(*partition);
            match topics.partition(&topic.name, *partition) {
                Some(log) => answer.with_active_producers(active_producers(log)),
                None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            }
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(described.collect())
}

fn active_producers(log: &PartitionLog) -> Vec<ProducerState> {
    let producers = log.producers().iter().map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id(ProducerId(*id))
            .with_producer_epoch(i32::from(producer.epoch()))
            .with_last_sequence(producer.last_sequence())
            .with_last_timestamp(producer.last_timestamp())
            .with_coordinator_epoch(producer.coordinator_epoch())
            .with_current_txn_start_offset(producer.transaction().unwrap_or(-1))
    });
    producers.collect()
}
