//! Produce, ListOffsets and DeleteRecords.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::{ApiVersionsRequest, DeleteRecordsRequest, ResponseKind};

use super::support::{
    NOBODY, NOW, PAIR, ask, batch_of, call, create, engine, idempotent, name, produce,
    produce_request, transactional,
};
use crate::engine::{Engine, EngineConfig, Handled};

#[test]
fn acks_0_gets_no_answer_and_an_error_closes_the_connection() {
    let mut engine = engine();
    let request = produce_request(0, 0, batch_of(NOBODY, NOW, PAIR));
    assert!(matches!(engine.handle(NOW, call(9, request)), Handled::Silent));
    let request = produce_request(9, 0, batch_of(NOBODY, NOW, PAIR));
    assert!(matches!(engine.handle(NOW, call(9, request)), Handled::Refused(_)));
    let log = engine.topics().partition("t", 0).unwrap();
    assert_eq!(log.high_watermark(), 1);
}

#[test]
fn acks_other_than_those_of_kafka_are_refused() {
    let request = produce_request(0, 2, batch_of(NOBODY, NOW, PAIR));
    let ResponseKind::Produce(answer) = ask(&mut engine(), 9, request) else { panic!() };
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, ResponseError::InvalidRequiredAcks.code());
}

#[test]
fn an_unknown_partition_is_named_and_nothing_else_suffers() {
    let answer = produce(&mut engine(), 2, batch_of(NOBODY, NOW, PAIR));
    assert_eq!(answer.error_code, ResponseError::UnknownTopicOrPartition.code());
    assert!(answer.error_message.unwrap().contains("partition 2"));
}

#[test]
fn a_transactional_batch_outside_of_a_transaction_is_refused() {
    let mut engine = engine();
    let mut request = produce_request(0, -1, batch_of(transactional(7, 0, 0), NOW, PAIR));
    request.transactional_id = Some(kafka_protocol::protocol::StrBytes::from("x").into());
    let ResponseKind::Produce(answer) = ask(&mut engine, 9, request) else { panic!() };
    assert_ne!(answer.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(engine.topics().partition("t", 0).unwrap().high_watermark(), 0);
}

#[test]
fn a_repetition_is_recognised_after_a_restart_too() {
    let mut engine = engine();
    produce(&mut engine, 0, batch_of(NOBODY, NOW, PAIR));
    let first = produce(&mut engine, 0, batch_of(idempotent(7, 0, 0), NOW, PAIR));
    let journal = engine.take_journal();
    let config = EngineConfig::default();
    let mut replayed = Engine::recover(config.clone(), journal, NOW).unwrap();
    let mut rewritten = Engine::recover(config, engine.snapshot(), NOW).unwrap();
    for engine in [&mut engine, &mut replayed, &mut rewritten] {
        let again = produce(engine, 0, batch_of(idempotent(7, 0, 0), NOW, PAIR));
        assert_eq!((again.error_code, again.base_offset), (0, first.base_offset));
        let gap = produce(engine, 0, batch_of(idempotent(7, 0, 2), NOW, PAIR));
        assert_eq!(gap.error_code, ResponseError::OutOfOrderSequenceNumber.code());
        assert_eq!(engine.topics().partition("t", 0).unwrap().high_watermark(), 2);
    }
}

#[test]
fn entries_that_do_not_fit_are_refused_by_number() {
    let mut engine = engine();
    produce(&mut engine, 0, batch_of(NOBODY, NOW, PAIR));
    let mut journal = engine.take_journal();
    journal.push(journal.last().unwrap().clone());
    let expected = format!("entry {}", journal.len() - 1);
    let error = Engine::recover(EngineConfig::default(), journal, NOW).unwrap_err();
    assert!(error.to_string().starts_with(&expected), "{error}");
}

fn delete(engine: &mut Engine, topic: &str, offset: i64) -> (i16, i64) {
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let topic =
        DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]);
    let ResponseKind::DeleteRecords(answer) = ask(engine, 2, request) else { panic!() };
    let result = &answer.topics[0].partitions[0];
    (result.error_code, result.low_watermark)
}

#[test]
fn deleted_records_are_gone_and_compacted_topics_keep_theirs() {
    let mut engine = engine();
    for _ in 0..3 {
        produce(&mut engine, 0, batch_of(NOBODY, NOW, PAIR));
    }
    assert_eq!(delete(&mut engine, "t", 2), (0, 2));
    assert_eq!(delete(&mut engine, "t", 1), (0, 2), "the start never goes back");
    assert_eq!(delete(&mut engine, "t", 4), (ResponseError::OffsetOutOfRange.code(), -1));
    assert_eq!(delete(&mut engine, "t", -1), (0, 3));
    create(&mut engine, "c", 1, &[("cleanup.policy", "compact")]);
    assert_eq!(delete(&mut engine, "c", 0), (ResponseError::PolicyViolation.code(), -1));
}

#[test]
fn versions_that_would_mean_something_else_are_not_offered() {
    let request = ApiVersionsRequest::default();
    let ResponseKind::ApiVersions(answer) = ask(&mut engine(), 3, request) else { panic!() };
    let max = |key: i16| {
        let found = answer.api_keys.iter().find(|offered| offered.api_key == key);
        found.map(|offered| (offered.min_version, offered.max_version))
    };
    assert_eq!(max(0), Some((0, 11)), "produce, with version 0 for librdkafka");
    assert_eq!(max(26), Some((0, 4)), "end of transaction");
    assert_eq!(max(68), None, "the groups of KIP-848");
    assert!(answer.finalized_features.is_empty() && answer.supported_features.is_empty());
    let refused = engine().handle(NOW, call(12, produce_request(0, 1, Default::default())));
    assert!(matches!(refused, Handled::Refused(_)));
}
