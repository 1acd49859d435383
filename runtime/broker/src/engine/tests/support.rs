//! An engine with requests made short.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, FetchResponse, ProduceRequest, RequestKind, ResponseKind,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::engine::{Call, Engine, EngineConfig, Handled};
pub(super) use crate::log::tests::support::{NOBODY, NOW, batch_of, idempotent, transactional};

pub(super) const PAIR: &[(Option<&str>, Option<&str>)] = &[(Some("k"), Some("v"))];

pub(super) fn name(text: &str) -> TopicName {
    StrBytes::from_string(text.to_owned()).into()
}

pub(super) fn call(version: i16, request: impl Into<RequestKind>) -> Call {
    Call {
        connection: 1,
        client_id: "test".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        version,
        request: request.into(),
    }
}

/// The answer, which has to be there at once.
pub(super) fn ask(
    engine: &mut Engine,
    version: i16,
    request: impl Into<RequestKind>,
) -> ResponseKind {
    match engine.handle(NOW, call(version, request)) {
        Handled::Answer(answer) => *answer,
        other => panic!("no answer: {other:?}"),
    }
}

pub(super) fn engine() -> Engine {
    let mut engine = Engine::new(EngineConfig::default());
    assert_eq!(create(&mut engine, "t", 2, &[]), 0);
    engine
}

/// Makes a topic; returns the error's code.
pub(super) fn create(
    engine: &mut Engine,
    topic: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> i16 {
    let configs = configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string((*name).to_owned()))
            .with_value(Some(StrBytes::from_string((*value).to_owned())))
    });
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let ResponseKind::CreateTopics(answer) = ask(engine, 7, request) else { panic!("not it") };
    answer.topics[0].error_code
}

pub(super) fn produce_request(partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name("t")).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_topic_data(vec![topic])
}

pub(super) fn produce(
    engine: &mut Engine,
    partition: i32,
    records: Bytes,
) -> PartitionProduceResponse {
    let request = produce_request(partition, -1, records);
    let ResponseKind::Produce(mut answer) = ask(engine, 9, request) else { panic!("not it") };
    answer.responses.remove(0).partition_responses.remove(0)
}

/// Fetches from partitions 0, 1, .. at these offsets.
pub(super) fn fetch_request(offsets: &[i64], wait: i32, min_bytes: i32) -> FetchRequest {
    let partitions = (0..).zip(offsets).map(|(index, offset)| {
        FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default().with_topic(name("t")).with_partitions(partitions.collect());
    FetchRequest::default()
        .with_max_wait_ms(wait)
        .with_min_bytes(min_bytes)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic])
}

pub(super) fn fetched(answer: ResponseKind) -> FetchResponse {
    let ResponseKind::Fetch(answer) = answer else { panic!("not the answer to a fetch") };
    answer
}

pub(super) fn sizes(answer: &FetchResponse) -> Vec<usize> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|data| data.records.as_ref().expect("records are never null").len()).collect()
}
