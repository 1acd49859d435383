//! Refusals of requests about the cluster, its topics, configs and groups.

use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, TopicResponse};
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::incremental_alter_configs_response as incremental;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    AlterConfigsResponse, ApiVersionsResponse, BrokerId, CreatePartitionsResponse,
    CreateTopicsResponse, DeleteGroupsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, DescribeClusterResponse, DescribeConfigsResponse,
    DescribeGroupsResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeTransactionsResponse, IncrementalAlterConfigsResponse, ListGroupsResponse,
    ListTransactionsResponse, MetadataRequest, MetadataResponse, OffsetDeleteResponse, RequestKind,
    ResponseKind,
};

pub(super) fn refuse(request: &RequestKind, version: i16, code: i16) -> Option<ResponseKind> {
    topics(request, version, code).or_else(|| others(request, code))
}

fn topics(request: &RequestKind, version: i16, code: i16) -> Option<ResponseKind> {
    Some(match request {
        RequestKind::Metadata(request) => metadata(request, version, code).into(),
        RequestKind::CreateTopics(request) => {
            let topics = request.topics.iter().map(|topic| {
                let one = CreatableTopicResult::default().with_name(topic.name.clone());
                one.with_error_code(code)
            });
            CreateTopicsResponse::default().with_topics(topics.collect()).into()
        }
        RequestKind::DeleteTopics(request) => delete_topics(request, version, code).into(),
        RequestKind::CreatePartitions(request) => {
            let results = request.topics.iter().map(|topic| {
                let one = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
                one.with_error_code(code)
            });
            CreatePartitionsResponse::default().with_results(results.collect()).into()
        }
        RequestKind::DeleteRecords(request) => delete_records(request, code).into(),
        RequestKind::DescribeConfigs(request) => {
            let results = request.resources.iter().map(|resource| {
                DescribeConfigsResult::default()
                    .with_error_code(code)
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone())
            });
            DescribeConfigsResponse::default().with_results(results.collect()).into()
        }
        RequestKind::AlterConfigs(request) => {
            let responses = request.resources.iter().map(|resource| {
                Altered::default()
                    .with_error_code(code)
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone())
            });
            AlterConfigsResponse::default().with_responses(responses.collect()).into()
        }
        RequestKind::IncrementalAlterConfigs(request) => {
            let responses = request.resources.iter().map(|resource| {
                incremental::AlterConfigsResourceResponse::default()
                    .with_error_code(code)
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name.clone())
            });
            IncrementalAlterConfigsResponse::default().with_responses(responses.collect()).into()
        }
        _ => return None,
    })
}

fn others(request: &RequestKind, code: i16) -> Option<ResponseKind> {
    Some(match request {
        RequestKind::ApiVersions(_) => ApiVersionsResponse::default().with_error_code(code).into(),
        RequestKind::DescribeCluster(_) => DescribeClusterResponse::default()
            .with_error_code(code)
            .with_controller_id(BrokerId(-1))
            .into(),
        RequestKind::DescribeGroups(request) => {
            let groups = request.groups.iter().map(|group| {
                DescribedGroup::default().with_group_id(group.clone()).with_error_code(code)
            });
            DescribeGroupsResponse::default().with_groups(groups.collect()).into()
        }
        RequestKind::ListGroups(_) => ListGroupsResponse::default().with_error_code(code).into(),
        RequestKind::DeleteGroups(request) => {
            let results = request.groups_names.iter().map(|group| {
                DeletableGroupResult::default().with_group_id(group.clone()).with_error_code(code)
            });
            DeleteGroupsResponse::default().with_results(results.collect()).into()
        }
        RequestKind::OffsetDelete(_) => {
            OffsetDeleteResponse::default().with_error_code(code).into()
        }
        RequestKind::DescribeProducers(request) => describe_producers(request, code).into(),
        RequestKind::DescribeTransactions(request) => {
            let states = request.transactional_ids.iter().map(|id| {
                TransactionState::default().with_transactional_id(id.clone()).with_error_code(code)
            });
            let answer = DescribeTransactionsResponse::default();
            answer.with_transaction_states(states.collect()).into()
        }
        RequestKind::ListTransactions(_) => {
            ListTransactionsResponse::default().with_error_code(code).into()
        }
        _ => return None,
    })
}

fn metadata(request: &MetadataRequest, version: i16, code: i16) -> MetadataResponse {
    const NULLABLE_NAME: i16 = 12;
    const WITH_ERROR: i16 = 13;
    let topics = request.topics.iter().flatten().map(|topic| {
        let name = topic.name.clone();
        let name = if version < NULLABLE_NAME { Some(name.unwrap_or_default()) } else { name };
        MetadataResponseTopic::default()
            .with_name(name)
            .with_topic_id(topic.topic_id)
            .with_error_code(code)
    });
    let answer = MetadataResponse::default().with_topics(topics.collect());
    let answer = answer.with_controller_id(BrokerId(-1));
    if version >= WITH_ERROR { answer.with_error_code(code) } else { answer }
}

fn delete_topics(request: &DeleteTopicsRequest, version: i16, code: i16) -> DeleteTopicsResponse {
    const WITH_IDS: i16 = 6;
    let refused = || DeletableTopicResult::default().with_error_code(code);
    let responses = if version < WITH_IDS {
        let names = request.topic_names.iter();
        names.map(|name| refused().with_name(Some(name.clone()))).collect()
    } else {
        let topics = request.topics.iter();
        let one = |name, id| refused().with_name(name).with_topic_id(id);
        topics.map(|topic| one(topic.name.clone(), topic.topic_id)).collect()
    };
    DeleteTopicsResponse::default().with_responses(responses)
}

fn delete_records(request: &DeleteRecordsRequest, code: i16) -> DeleteRecordsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            DeleteRecordsPartitionResult::default()
                .with_partition_index(one.partition_index)
                .with_low_watermark(-1)
                .with_error_code(code)
        });
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn describe_producers(request: &DescribeProducersRequest, code: i16) -> DescribeProducersResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partition_indexes.iter().map(|index| {
            PartitionResponse::default().with_partition_index(*index).with_error_code(code)
        });
        TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    });
    DescribeProducersResponse::default().with_topics(topics.collect())
}
