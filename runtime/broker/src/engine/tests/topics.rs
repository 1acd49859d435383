//! Topics: made, found, changed, deleted.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, MetadataRequest, MetadataResponse, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::support::{NOW, ask, create, engine, name};
use crate::engine::{Engine, EngineConfig};

fn metadata(engine: &mut Engine, version: i16, request: MetadataRequest) -> MetadataResponse {
    let ResponseKind::Metadata(answer) = ask(engine, version, request) else { panic!() };
    answer
}

fn asked(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(name(topic)));
    MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true)
}

#[test]
fn a_topic_is_refused_for_its_name_its_partitions_and_its_configs() {
    let mut engine = engine();
    let code = |error: ResponseError| error.code();
    assert_eq!(create(&mut engine, "t", 1, &[]), code(ResponseError::TopicAlreadyExists));
    for bad in ["", ".", "..", "a b", "a/b", &"x".repeat(250)] {
        let error = create(&mut engine, bad, 1, &[]);
        assert_eq!(error, code(ResponseError::InvalidTopicException), "{bad}");
    }
    assert_eq!(create(&mut engine, "a.b", -1, &[]), 0);
    assert_eq!(create(&mut engine, "a_b", 1, &[]), code(ResponseError::InvalidTopicException));
    assert_eq!(create(&mut engine, "p", 0, &[]), code(ResponseError::InvalidPartitions));
    for (option, value) in [("nothing", "1"), ("retention.ms", "x"), ("segment.bytes", "1")] {
        let error = create(&mut engine, "c", 1, &[(option, value)]);
        assert_eq!(error, code(ResponseError::InvalidConfig), "{option}={value}");
    }
}

#[test]
fn metadata_names_topics_by_name_by_id_and_all() {
    let mut engine = engine();
    let all = metadata(&mut engine, 12, MetadataRequest::default().with_topics(None));
    assert_eq!((all.topics.len(), all.controller_id.0, all.brokers.len()), (1, 1, 1));
    let id = all.topics[0].topic_id;
    assert_eq!(all.topics[0].partitions.len(), 2);
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let by_id = MetadataRequest::default().with_topics(Some(vec![by_id]));
    assert_eq!(metadata(&mut engine, 12, by_id).topics, all.topics);
    let missing = metadata(&mut engine, 12, asked("missing"));
    assert_eq!(missing.topics[0].error_code, ResponseError::UnknownTopicOrPartition.code());
    let none = MetadataRequest::default().with_topics(Some(Vec::new()));
    assert_eq!(metadata(&mut engine, 12, none.clone()).topics.len(), 0);
    assert_eq!(metadata(&mut engine, 0, none).topics.len(), 1, "in version 0 none means all");
}

#[test]
fn topics_are_made_by_asking_only_where_the_broker_is_told_so() {
    let config = EngineConfig { auto_create_topics: true, ..EngineConfig::default() };
    let mut engine = Engine::new(config);
    assert_eq!(metadata(&mut engine, 12, asked("new")).topics[0].error_code, 0);
    assert_eq!(engine.topics().partition_count("new"), Some(1));
}

#[test]
fn a_topic_that_is_made_again_has_another_id() {
    let mut engine = engine();
    let first = engine.topics().get("t").unwrap().id();
    let state = DeleteTopicState::default().with_topic_id(first).with_name(None);
    let request = DeleteTopicsRequest::default().with_topics(vec![state]);
    for expected in [0, ResponseError::UnknownTopicId.code()] {
        let answer = ask(&mut engine, 6, request.clone());
        let ResponseKind::DeleteTopics(answer) = answer else { panic!() };
        assert_eq!(answer.responses[0].error_code, expected);
    }
    create(&mut engine, "t", 1, &[]);
    let second = engine.topics().get("t").unwrap().id();
    assert!(first != second && first != Uuid::nil());
    let journal = engine.take_journal();
    let replayed = Engine::recover(EngineConfig::default(), journal, NOW).unwrap();
    assert_eq!(replayed.topics(), engine.topics());
}

#[test]
fn a_topic_gets_more_partitions_and_never_fewer() {
    let mut engine = engine();
    let mut extend = |count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(name("t"))
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![topic]);
        let ResponseKind::CreatePartitions(answer) = ask(&mut engine, 3, request) else { panic!() };
        answer.results[0].error_code
    };
    assert_eq!(extend(5), 0);
    assert_eq!(extend(5), ResponseError::InvalidPartitions.code());
    assert_eq!(engine.topics().partition_count("t"), Some(5));
}

#[test]
fn configs_are_shown_with_their_source_and_changed_one_by_one() {
    let mut engine = engine();
    let change = |name: &'static str, operation, value: Option<&'static str>| {
        AlterableConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_config_operation(operation)
            .with_value(value.map(StrBytes::from_static_str))
    };
    let mut alter = |changes| {
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("t"))
            .with_configs(changes);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = ask(&mut engine, 1, request);
        let ResponseKind::IncrementalAlterConfigs(answer) = answer else { panic!() };
        answer.responses[0].error_code
    };
    assert_eq!(alter(vec![change("retention.ms", 0, Some("5"))]), 0);
    assert_eq!(alter(vec![change("cleanup.policy", 2, Some("compact"))]), 0);
    let invalid = ResponseError::InvalidConfig.code();
    assert_eq!(alter(vec![change("retention.ms", 2, Some("5"))]), invalid);
    assert_eq!(alter(vec![change("retention.ms", 0, Some("-2"))]), invalid);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let ResponseKind::DescribeConfigs(answer) = ask(&mut engine, 4, request) else { panic!() };
    let configs: BTreeMap<&str, (&str, i8)> = answer.results[0]
        .configs
        .iter()
        .map(|config| {
            let value = config.value.as_ref().unwrap().as_str();
            (config.name.as_str(), (value, config.config_source))
        })
        .collect();
    assert_eq!(configs["retention.ms"], ("5", 1));
    assert_eq!(configs["cleanup.policy"], ("delete,compact", 1));
    assert_eq!(configs["segment.bytes"], ("1073741824", 5));
}
