//! Requests of every API and version, answered and written.

use bytes::BytesMut;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, RequestKind, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::frame::{self, Origin};
use super::shape::tests::random_body;
use crate::engine::{Call, Engine, EngineConfig, Handled, Millis, is_offered};
use crate::fault::{Random, ResponseError, refuse};

fn call(version: i16, request: RequestKind) -> Call {
    let (client_id, client_host) = ("test".to_owned(), "/127.0.0.1".to_owned());
    Call { connection: 1, client_id, client_host, version, request }
}

/// An engine with the topics that random requests ask for: their names are of so many `x`.
fn engine() -> Engine {
    let config = EngineConfig { auto_create_topics: true, ..EngineConfig::default() };
    let mut engine = Engine::new(config);
    let topics = (1..6).map(|length| {
        CreatableTopic::default()
            .with_name(TopicName(StrBytes::from_string("x".repeat(length))))
            .with_num_partitions(1)
            .with_replication_factor(-1)
    });
    let request = CreateTopicsRequest::default().with_topics(topics.collect());
    engine.handle(0, call(5, request.into()));
    engine
}

/// The codecs refuse to write a field that the version does not have. A client would find its
/// connection closed then.
#[test]
fn every_answer_can_be_written_in_the_version_of_its_request() {
    let mut random = Random::new(3);
    let mut engine = engine();
    let mut waiting = std::collections::BTreeMap::new();
    let mut written = 0;
    let mut write = |key: ApiKey, version: i16, answer: &_| {
        let (mut out, origin) = (BytesMut::new(), Origin { correlation_id: 1, version });
        frame::write(&mut out, origin, answer)
            .unwrap_or_else(|error| panic!("{key:?} {version}: {error}: {answer:?}"));
        written += 1;
    };
    for round in 0..20_000 {
        let now: Millis = round * 100;
        let (api, version, body) = random_body(&mut random);
        if !is_offered(api, version) {
            continue;
        }
        let key = ApiKey::try_from(api).unwrap();
        let request = RequestKind::decode(key, &mut body.into(), version).unwrap();
        if let Some(answer) = refuse(&request, version, ResponseError::NotCoordinator) {
            write(key, version, &answer);
        }
        match engine.handle(now, call(version, request)) {
            Handled::Answer(answer) => write(key, version, &answer),
            Handled::Waiting(ticket) => drop(waiting.insert(ticket, (key, version))),
            Handled::Silent | Handled::Refused(_) => {}
        }
        engine.advance(now);
        engine.take_journal();
        for (ticket, answer) in engine.take_answers() {
            let (key, version) = waiting.remove(&ticket).unwrap();
            write(key, version, &answer);
        }
    }
    assert!(written > 10_000, "only {written} answers were written");
}
