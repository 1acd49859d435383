//! Refusals of requests about records and offsets in logs.

use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse,
    RequestKind, ResponseKind,
};

pub(super) fn refuse(request: &RequestKind, version: i16, code: i16) -> Option<ResponseKind> {
    Some(match request {
        RequestKind::Produce(request) => produce(request, code).into(),
        RequestKind::Fetch(request) => fetch(request, version, code).into(),
        RequestKind::ListOffsets(request) => list_offsets(request, code).into(),
        RequestKind::OffsetForLeaderEpoch(request) => leader_epoch(request, code).into(),
        _ => return None,
    })
}

fn produce(request: &ProduceRequest, code: i16) -> ProduceResponse {
    let topics = request.topic_data.iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|one| {
            let answer = PartitionProduceResponse::default().with_index(one.index);
            answer.with_error_code(code).with_base_offset(-1)
        });
        TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partition_responses(partitions.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}

fn fetch(request: &FetchRequest, version: i16, code: i16) -> FetchResponse {
    const WITH_ERROR: i16 = 7;
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            let answer = PartitionData::default().with_partition_index(one.partition);
            // no records are zero bytes: clients take null for damage
            answer
                .with_error_code(code)
                .with_high_watermark(-1)
                .with_records(Some(Default::default()))
        });
        FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    let answer = FetchResponse::default().with_responses(topics.collect());
    // a session that names no partition gets its error at the top
    let nowhere = version >= WITH_ERROR && request.topics.is_empty();
    if nowhere { answer.with_error_code(code) } else { answer }
}

fn list_offsets(request: &ListOffsetsRequest, code: i16) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(one.partition_index)
                .with_error_code(code)
                .with_offset(-1)
                .with_timestamp(-1)
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn leader_epoch(request: &OffsetForLeaderEpochRequest, code: i16) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|one| {
            EpochEndOffset::default().with_partition(one.partition).with_error_code(code)
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
