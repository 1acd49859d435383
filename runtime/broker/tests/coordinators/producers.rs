//! Producer ids and epochs: InitProducerId.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError::*;
use kafka_protocol::messages::*;

use crate::kit::*;

#[test]
fn producer_ids_are_never_given_twice_not_even_after_a_restart() {
    let mut broker = Broker::new();
    let mut seen = BTreeSet::new();
    for number in 0..10 {
        let idempotent = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(-1);
        let answer = broker.ask(4, idempotent);
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
        assert!(seen.insert(*answer.producer_id));
        assert!(seen.insert(broker.init(&format!("t{number}")).unwrap().0));
        if number % 3 == 0 {
            broker.restart();
        }
    }
}

#[test]
fn a_new_producer_gets_the_next_epoch() {
    let mut broker = Broker::new();
    let (id, epoch) = broker.init("t").unwrap();
    assert_eq!(epoch, 0);
    assert_eq!(broker.init("t"), Ok((id, 1)));
    broker.restart();
    assert_eq!(broker.init("t"), Ok((id, 2)));
}

#[test]
fn a_producer_that_names_its_epoch_goes_on_with_the_next_and_may_repeat_itself() {
    let mut broker = Broker::new();
    let (id, _) = broker.init("t").unwrap();
    assert_eq!(broker.init_as("t", (id, 0)), Ok((id, 1)));
    assert_eq!(broker.init_as("t", (id, 0)), Ok((id, 1)), "the answer was lost");
    assert_eq!(broker.init_as("t", (id, 1)), Ok((id, 2)));
    assert_eq!(broker.init_as("t", (id, 0)), Err(ProducerFenced.code()));
    assert_eq!(broker.init_as("t", (id + 1, 2)), Err(ProducerFenced.code()));
    assert_eq!(broker.init("t"), Ok((id, 3)));
    assert_eq!(broker.init_as("t", (id, 2)), Err(ProducerFenced.code()), "a new one is there");
}

#[test]
fn an_older_client_is_told_of_fencing_in_older_words() {
    let mut broker = Broker::new();
    let (id, _) = broker.init("t").unwrap();
    broker.init("t").unwrap();
    let fenced = [(3, InvalidProducerEpoch), (4, ProducerFenced)];
    for (version, error) in fenced {
        let answer = broker.ask(version, init_request("t", (id, 7)));
        assert_eq!(answer.error_code, error.code());
        assert_eq!((*answer.producer_id, answer.producer_epoch), (-1, -1));
    }
    for (version, error) in [(1, InvalidProducerEpoch), (2, ProducerFenced)] {
        assert_eq!(broker.ask(version, end_request("t", (id, 0), true)).error_code, error.code());
        let answer = broker.ask(version, add_request("t", (id, 0), "out", 0));
        let partition = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
        assert_eq!(partition.partition_error_code, error.code());
    }
}

#[test]
fn time_outs_that_are_not_allowed_are_refused() {
    let mut broker = Broker::new();
    let limit = i32::try_from(15 * MINUTE).unwrap();
    for (timeout, error) in [(0, 50), (-1, 50), (limit + 1, 50), (limit, 0)] {
        let request = init_request("t", (-1, -1)).with_transaction_timeout_ms(timeout);
        assert_eq!(broker.ask(4, request).error_code, error, "{timeout}");
    }
    assert_eq!(broker.init(""), Err(InvalidRequest.code()));
    assert_eq!(broker.init_as("t", (5, -1)), Err(InvalidRequest.code()));
}

#[test]
fn a_producer_without_epochs_left_gets_a_new_id() {
    let mut broker = Broker::new();
    let (id, _) = broker.init("t").unwrap();
    for epoch in 1..i16::MAX {
        assert_eq!(broker.init("t"), Ok((id, epoch)));
    }
    let last = (id, i16::MAX - 1);
    let (next, epoch) = broker.init_as("t", last).unwrap();
    assert_eq!(epoch, 0);
    assert!(next > id);
    assert_eq!(broker.init_as("t", last), Ok((next, 0)), "the answer was lost");
    assert_eq!(broker.add("t", last, 0), InvalidProducerIdMapping.code());
}

#[test]
fn the_last_epoch_is_kept_for_fencing() {
    let mut broker = Broker::new();
    let (id, _) = broker.init("t").unwrap();
    for epoch in 1..i16::MAX {
        assert_eq!(broker.init("t"), Ok((id, epoch)));
    }
    assert_eq!(broker.add("t", (id, i16::MAX - 1), 0), 0);
    assert_eq!(broker.init("t"), Err(ConcurrentTransactions.code()));
    let (next, epoch) = broker.init("t").unwrap();
    assert_eq!(epoch, 0);
    assert!(next > id);
}

#[test]
fn a_transactional_id_that_nobody_uses_is_forgotten() {
    let mut broker = Broker::new();
    let (id, _) = broker.init("t").unwrap();
    broker.pass(7 * 24 * 60 * MINUTE - 1);
    assert_eq!(broker.state("t"), "Empty");
    broker.pass(1);
    assert_eq!(broker.state("t"), "");
    let (next, epoch) = broker.init("t").unwrap();
    assert_eq!(epoch, 0);
    assert!(next > id);
}
