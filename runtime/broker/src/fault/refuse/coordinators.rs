//! Refusals of requests to the coordinators of groups and transactions.

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, BrokerId,
    EndTxnResponse, FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatResponse,
    InitProducerIdResponse, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, ProducerId,
    RequestKind, ResponseKind, SyncGroupResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

const NOBODY: BrokerId = BrokerId(-1);

pub(super) fn refuse(request: &RequestKind, version: i16, code: i16) -> Option<ResponseKind> {
    Some(match request {
        RequestKind::FindCoordinator(request) => find_coordinator(request, version, code).into(),
        RequestKind::JoinGroup(request) => JoinGroupResponse::default()
            .with_error_code(code)
            .with_generation_id(-1)
            // null only where the schema lets it be
            .with_protocol_name((version < 7).then(Default::default))
            .with_member_id(request.member_id.clone())
            .into(),
        RequestKind::SyncGroup(_) => SyncGroupResponse::default().with_error_code(code).into(),
        RequestKind::Heartbeat(_) => HeartbeatResponse::default().with_error_code(code).into(),
        RequestKind::LeaveGroup(request) => leave_group(request, version, code).into(),
        RequestKind::OffsetCommit(request) => offset_commit(request, code).into(),
        RequestKind::OffsetFetch(request) => offset_fetch(request, version, code).into(),
        RequestKind::InitProducerId(_) => InitProducerIdResponse::default()
            .with_error_code(code)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
            .into(),
        RequestKind::AddPartitionsToTxn(request) => add_partitions(request, version, code).into(),
        RequestKind::AddOffsetsToTxn(_) => {
            AddOffsetsToTxnResponse::default().with_error_code(code).into()
        }
        RequestKind::TxnOffsetCommit(request) => transactional_offsets(request, code).into(),
        RequestKind::EndTxn(_) => EndTxnResponse::default().with_error_code(code).into(),
        _ => return None,
    })
}

fn find_coordinator(
    request: &FindCoordinatorRequest,
    version: i16,
    code: i16,
) -> FindCoordinatorResponse {
    const MANY: i16 = 4;
    let answer = FindCoordinatorResponse::default();
    if version < MANY {
        return answer.with_error_code(code).with_node_id(NOBODY).with_port(-1);
    }
    let keys = request.coordinator_keys.iter().map(|key| {
        let one = Coordinator::default().with_key(key.clone()).with_error_code(code);
        one.with_node_id(NOBODY).with_port(-1)
    });
    answer.with_coordinators(keys.collect())
}

fn leave_group(request: &LeaveGroupRequest, version: i16, code: i16) -> LeaveGroupResponse {
    const MANY: i16 = 3;
    let answer = LeaveGroupResponse::default().with_error_code(code);
    if version < MANY {
        return answer;
    }
    let members = request.members.iter().map(|member| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code)
    });
    answer.with_members(members.collect())
}

fn offset_commit(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(one.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn offset_fetch(request: &OffsetFetchRequest, version: i16, code: i16) -> OffsetFetchResponse {
    const WITH_ERROR: i16 = 2;
    const MANY: i16 = 8;
    let answer = OffsetFetchResponse::default();
    if version >= MANY {
        let groups = request.groups.iter().map(|group| {
            let one = OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone());
            one.with_error_code(code)
        });
        return answer.with_groups(groups.collect());
    }
    if version >= WITH_ERROR {
        return answer.with_error_code(code);
    }
    let topics = request.topics.iter().flatten().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(*index)
                .with_committed_offset(-1)
                .with_metadata(Some(Default::default()))
                .with_error_code(code)
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    answer.with_topics(topics.collect())
}

fn add_partitions(
    request: &AddPartitionsToTxnRequest,
    version: i16,
    code: i16,
) -> AddPartitionsToTxnResponse {
    const MANY: i16 = 4;
    let results = |topics: &[AddPartitionsToTxnTopic]| {
        let results = topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|index| {
                AddPartitionsToTxnPartitionResult::default()
                    .with_partition_index(*index)
                    .with_partition_error_code(code)
            });
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(partitions.collect())
        });
        results.collect()
    };
    let answer = AddPartitionsToTxnResponse::default();
    if version < MANY {
        return answer.with_results_by_topic_v3_and_below(results(&request.v3_and_below_topics));
    }
    let transactions = request.transactions.iter().map(|one| {
        AddPartitionsToTxnResult::default()
            .with_transactional_id(one.transactional_id.clone())
            .with_topic_results(results(&one.topics))
    });
    answer.with_results_by_transaction(transactions.collect())
}

fn transactional_offsets(request: &TxnOffsetCommitRequest, code: i16) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(one.partition_index)
                .with_error_code(code)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}
