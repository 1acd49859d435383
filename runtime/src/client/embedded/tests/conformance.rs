//! One row a situation: what the real client would say of it, this one says too.
//!
//! The expected codes and severities are librdkafka's (`rdkafka_txnmgr.c`, `rdkafka_request.c`)
//! through the translation that both clients share. A refusal by the broker is the situation.

use std::time::Duration;

use tidemill_broker::fault::{Action, Api, Faults, ResponseError};

use super::support::{PATIENCE, World, at, send, simulate};
use super::transactions::commit;
use crate::client::embedded::{GroupMetadata, Producer};
use crate::client::seam::{Consume, Produce};
use crate::client::{ClientError, Severity};

const FENCED: i32 = -144;

fn begun(world: &World, api: Api, refusal: ResponseError) -> (Producer, GroupMetadata) {
    let topic = world.topic("conformance", 1);
    let mut reading = world.consumer(&[("group.id", "conformance")]);
    reading.consumer.subscribe(&[&topic]).expect("the name is valid");
    reading.join(1);
    let group = reading.consumer.group_metadata().expect("there is a group");
    let mut producer = world.transactional("conformance");
    producer.begin_transaction().expect("initialised");
    world.network.set_faults(Faults::plan().on(api).nth(1).then(Action::Refuse(refusal)));
    (producer, group)
}

fn whole(producer: &mut Producer, group: &GroupMetadata) -> Result<(), ClientError> {
    send(producer, &at("conformance", 0), "a");
    // a flush that fails is told by the commit
    let _flushed = producer.flush(PATIENCE);
    producer.send_offsets(&[commit(at("conformance", 0), 1, "")], group, PATIENCE)?;
    producer.commit_transaction(PATIENCE)
}

#[test]
fn a_refusal_has_the_code_and_the_severity_that_the_real_client_gives_it() {
    use ResponseError as E;
    let rows = [
        (Api::AddPartitionsToTxn, E::InvalidProducerEpoch, FENCED, Severity::Fenced),
        (Api::AddPartitionsToTxn, E::ProducerFenced, FENCED, Severity::Fenced),
        (Api::AddPartitionsToTxn, E::InvalidTxnState, 48, Severity::Fenced),
        (Api::AddPartitionsToTxn, E::InvalidProducerIdMapping, 49, Severity::Abort),
        (Api::AddPartitionsToTxn, E::UnknownProducerId, 59, Severity::Abort),
        (Api::AddPartitionsToTxn, E::TopicAuthorizationFailed, 29, Severity::Abort),
        (Api::AddPartitionsToTxn, E::TransactionalIdAuthorizationFailed, 53, Severity::Fatal),
        (Api::AddOffsetsToTxn, E::InvalidProducerEpoch, FENCED, Severity::Fenced),
        (Api::AddOffsetsToTxn, E::InvalidTxnState, 48, Severity::Fenced),
        (Api::AddOffsetsToTxn, E::GroupAuthorizationFailed, 30, Severity::Abort),
        (Api::AddOffsetsToTxn, E::InvalidProducerIdMapping, 49, Severity::Abort),
        (Api::TxnOffsetCommit, E::IllegalGeneration, 22, Severity::Abort),
        (Api::TxnOffsetCommit, E::UnknownMemberId, 25, Severity::Abort),
        (Api::TxnOffsetCommit, E::FencedInstanceId, 82, Severity::Abort),
        (Api::TxnOffsetCommit, E::InvalidProducerEpoch, FENCED, Severity::Fenced),
        (Api::TxnOffsetCommit, E::InvalidProducerIdMapping, 49, Severity::Fenced),
        (Api::TxnOffsetCommit, E::InvalidTxnState, 48, Severity::Fenced),
        (Api::EndTxn, E::InvalidProducerEpoch, FENCED, Severity::Fenced),
        (Api::EndTxn, E::ProducerFenced, FENCED, Severity::Fenced),
        (Api::EndTxn, E::InvalidTxnState, 48, Severity::Fenced),
        (Api::EndTxn, E::UnknownProducerId, 59, Severity::Abort),
        (Api::EndTxn, E::InvalidProducerIdMapping, 49, Severity::Abort),
        (Api::Produce, E::InvalidProducerEpoch, FENCED, Severity::Fenced),
        (Api::Produce, E::OutOfOrderSequenceNumber, 45, Severity::Fenced),
        (Api::Produce, E::InvalidTxnState, 48, Severity::Abort),
        (Api::Produce, E::UnknownProducerId, 59, Severity::Abort),
        (Api::Produce, E::TopicAuthorizationFailed, 29, Severity::Abort),
    ];
    for (api, refusal, code, severity) in rows {
        simulate(1, move |world| {
            let (mut producer, group) = begun(&world, api, refusal);
            let error = whole(&mut producer, &group).expect_err("it was refused");
            assert_eq!(
                (error.code, error.severity),
                (code, severity),
                "{api:?} {refusal:?}: {error}"
            );
            assert!(!error.timed_out);
            if api == Api::AddPartitionsToTxn && severity == Severity::Abort {
                // the client ends what the broker never began (LRK#4849)
                let error = producer.abort_transaction(PATIENCE).expect_err("nothing was begun");
                assert_eq!((error.code, error.severity), (48, Severity::Fenced), "{error}");
            } else if severity == Severity::Abort {
                producer.abort_transaction(PATIENCE).expect("it can be aborted");
                producer.begin_transaction().expect("and the next one begun");
                if api == Api::Produce && refusal != E::UnknownProducerId {
                    // the numbers of what was refused are missing: the client notices late, and
                    // raises its epoch when that transaction is aborted
                    let error = whole(&mut producer, &group).expect_err("there is a gap");
                    assert_eq!((error.code, error.severity), (45, Severity::Abort), "{error}");
                    producer.abort_transaction(PATIENCE).expect("it can be aborted");
                    producer.begin_transaction().expect("and the next one begun");
                }
                whole(&mut producer, &group).expect("and committed");
            } else {
                let again = producer.begin_transaction().expect_err("of no more use");
                assert_eq!((again.code, again.severity), (code, severity), "{api:?} {refusal:?}");
            }
        });
    }
}

#[test]
fn what_the_real_client_repeats_by_itself_is_not_told() {
    use ResponseError as E;
    let rows = [
        (Api::AddPartitionsToTxn, E::ConcurrentTransactions),
        (Api::AddPartitionsToTxn, E::NotCoordinator),
        (Api::AddPartitionsToTxn, E::CoordinatorLoadInProgress),
        (Api::AddOffsetsToTxn, E::ConcurrentTransactions),
        (Api::AddOffsetsToTxn, E::CoordinatorNotAvailable),
        (Api::TxnOffsetCommit, E::ConcurrentTransactions),
        (Api::TxnOffsetCommit, E::NotCoordinator),
        (Api::EndTxn, E::ConcurrentTransactions),
        (Api::EndTxn, E::NotCoordinator),
        (Api::EndTxn, E::CoordinatorLoadInProgress),
        (Api::Produce, E::NotLeaderOrFollower),
        (Api::Produce, E::NotEnoughReplicas),
        (Api::Produce, E::KafkaStorageError),
        (Api::Produce, E::UnknownTopicOrPartition),
        (Api::Produce, E::RequestTimedOut),
    ];
    for (api, refusal) in rows {
        simulate(1, move |world| {
            let (mut producer, group) = begun(&world, api, refusal);
            whole(&mut producer, &group).expect("it is repeated until it works");
            assert_eq!(world.values(&at("conformance", 0)), ["a"]);
            assert!(!producer.troubled(), "{api:?} {refusal:?}: every request was answered");
        });
    }
}

#[test]
fn an_initialisation_that_is_refused_is_told_as_the_real_client_does() {
    use ResponseError as E;
    let rows = [
        (E::ProducerFenced, FENCED, Severity::Fenced),
        (E::InvalidProducerEpoch, FENCED, Severity::Fenced),
        (E::InvalidTransactionTimeout, 50, Severity::Fatal),
        (E::TransactionalIdAuthorizationFailed, 53, Severity::Fatal),
        // in time, or with the reason why not
        (E::ConcurrentTransactions, 51, Severity::Retry),
    ];
    for (refusal, code, severity) in rows {
        simulate(1, move |world| {
            let faults = Faults::plan().on(Api::InitProducerId).first(2);
            world.network.set_faults(faults.then(Action::Refuse(refusal)));
            let mut producer = world.producer(&[("transactional.id", "refused")]);
            let timeout = Duration::from_millis(700);
            let error = producer.init_transactions(timeout).expect_err("it was refused");
            assert_eq!((error.code, error.severity), (code, severity), "{refusal:?}: {error}");
            if severity == Severity::Retry {
                producer.init_transactions(PATIENCE).expect("the same call takes it up again");
                producer.begin_transaction().expect("initialised");
            }
        });
    }
}

#[test]
fn a_producer_without_a_transactional_id_has_no_transactions() {
    simulate(1, |world| {
        let mut producer = world.producer(&[]);
        let error = producer.init_transactions(PATIENCE).expect_err("there is no id");
        assert_eq!((error.code, error.severity), (-145, Severity::Fatal), "{error}");
    });
}

#[test]
fn an_option_error_names_the_option_and_never_its_value() {
    simulate(1, |world| {
        use super::support::config;
        use crate::client::seam::Connector;
        for (name, value) in [("sasl.pasword", "hunter2"), ("linger.ms", "hunter2")] {
            let made = world.client.producer(&config(&[(name, value)]));
            let error = made.expect_err("the option is not valid");
            assert_eq!(error.severity, Severity::Fatal);
            assert!(error.to_string().contains(name), "{error}");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        }
    });
}
