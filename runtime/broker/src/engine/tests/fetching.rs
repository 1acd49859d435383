//! Fetches that are answered at once, later, or never.

use kafka_protocol::ResponseError;

use super::support::{
    NOBODY, NOW, PAIR, ask, batch_of, call, engine, fetch_request, fetched, produce, sizes,
};
use crate::engine::{Engine, Handled, Ticket};

fn wait(engine: &mut Engine, offsets: &[i64], min_bytes: i32) -> Ticket {
    match engine.handle(NOW, call(12, fetch_request(offsets, 500, min_bytes))) {
        Handled::Waiting(ticket) => ticket,
        other => panic!("it does not wait: {other:?}"),
    }
}

#[test]
fn a_fetch_waits_for_records_and_is_woken_by_them() {
    let mut engine = engine();
    let ticket = wait(&mut engine, &[0, 0], 1);
    assert!(engine.take_answers().is_empty());
    produce(&mut engine, 1, batch_of(NOBODY, NOW, PAIR));
    let (answered, answer) = engine.take_answers().remove(0);
    assert_eq!(answered, ticket);
    assert_eq!(sizes(&fetched(answer)), [0, batch_of(NOBODY, NOW, PAIR).len()]);
}

#[test]
fn a_fetch_is_answered_with_nothing_when_its_time_is_over() {
    let mut engine = engine();
    let ticket = wait(&mut engine, &[0], 1);
    assert_eq!(engine.next_deadline(), Some(NOW + 500));
    engine.advance(NOW + 499);
    assert!(engine.take_answers().is_empty());
    engine.advance(NOW + 500);
    let (answered, answer) = engine.take_answers().remove(0);
    let answer = fetched(answer);
    assert_eq!((answered, sizes(&answer)), (ticket, vec![0]));
    assert_eq!(answer.responses[0].partitions[0].error_code, 0);
}

#[test]
fn a_fetch_waits_until_there_is_enough() {
    let mut engine = engine();
    let size = batch_of(NOBODY, NOW, PAIR).len();
    wait(&mut engine, &[0, 0], 2 * size as i32);
    produce(&mut engine, 0, batch_of(NOBODY, NOW, PAIR));
    assert!(engine.take_answers().is_empty());
    produce(&mut engine, 1, batch_of(NOBODY, NOW, PAIR));
    assert_eq!(engine.take_answers().len(), 1);
}

#[test]
fn an_abandoned_fetch_is_never_answered() {
    let mut engine = engine();
    let ticket = wait(&mut engine, &[0], 1);
    engine.abandon(ticket);
    produce(&mut engine, 0, batch_of(NOBODY, NOW, PAIR));
    engine.advance(NOW + 1_000);
    assert!(engine.take_answers().is_empty());
}

#[test]
fn an_error_of_one_partition_is_told_at_once() {
    let mut engine = engine();
    let answer = fetched(ask(&mut engine, 12, fetch_request(&[0, 5], 500, 1)));
    let codes: Vec<i16> =
        answer.responses[0].partitions.iter().map(|data| data.error_code).collect();
    assert_eq!(codes, [0, ResponseError::OffsetOutOfRange.code()]);
}

#[test]
fn a_topic_is_fetched_by_its_id() {
    let mut engine = engine();
    produce(&mut engine, 0, batch_of(NOBODY, NOW, PAIR));
    let id = engine.topics().get("t").unwrap().id();
    let mut request = fetch_request(&[0], 0, 1);
    request.topics[0].topic_id = id;
    let answer = fetched(ask(&mut engine, 13, request.clone()));
    assert_eq!((answer.responses[0].topic_id, sizes(&answer)[0] > 0), (id, true));
    request.topics[0].topic_id = uuid::Uuid::from_u128(77);
    let answer = fetched(ask(&mut engine, 13, request));
    let code = answer.responses[0].partitions[0].error_code;
    assert_eq!(code, ResponseError::UnknownTopicId.code());
}

#[test]
fn the_first_records_come_however_small_the_limits_are() {
    let mut engine = engine();
    produce(&mut engine, 0, batch_of(NOBODY, NOW, PAIR));
    produce(&mut engine, 1, batch_of(NOBODY, NOW, PAIR));
    let request = fetch_request(&[0, 0], 0, 1).with_max_bytes(1);
    let answer = fetched(ask(&mut engine, 12, request));
    assert_eq!(sizes(&answer), [batch_of(NOBODY, NOW, PAIR).len(), 0]);
}

#[test]
fn a_session_that_was_never_granted_is_unknown() {
    let mut engine = engine();
    let request = fetch_request(&[0], 0, 1).with_session_id(3).with_session_epoch(1);
    let answer = fetched(ask(&mut engine, 12, request));
    assert_eq!(answer.error_code, ResponseError::FetchSessionIdNotFound.code());
    let request = fetch_request(&[0], 0, 1).with_session_epoch(0);
    assert_eq!(fetched(ask(&mut engine, 12, request)).session_id, 0, "none is granted");
}
