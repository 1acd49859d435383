//! What a killed broker still knows.

use kafka_protocol::ResponseError::*;
use kafka_protocol::messages::*;
use tidemill_broker::engine::{Engine, EngineConfig, MarkerTarget};
use tidemill_broker::journal::Entry;
use tidemill_broker::transaction;

use crate::kit::*;

#[test]
fn a_prepared_transaction_is_completed_after_a_restart() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add("t", producer, 0), 0);
    assert_eq!(broker.add_offsets("t", producer), 0);
    assert_eq!(broker.txn_commit("t", producer, 5), 0);
    broker.engine.hold_markers(MarkerTarget::Group("g".into()), broker.now + MINUTE);
    assert_eq!(broker.end("t", producer, true), 0);
    broker.restart();
    assert_eq!(broker.committed(true), Err(UnstableOffsetCommit.code()));
    assert_eq!(broker.state("t"), "PrepareCommit");
    broker.pass(0);
    assert_eq!(broker.state("t"), "CompleteCommit");
    assert_eq!(broker.committed(true), Ok(5));
    broker.restart();
    assert_eq!(broker.committed(true), Ok(5));
    assert_eq!(broker.end("t", producer, true), 0, "the same answer again");
}

#[test]
fn an_ongoing_transaction_goes_on_after_a_restart_or_times_out() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add_offsets("t", producer), 0);
    assert_eq!(broker.txn_commit("t", producer, 5), 0);
    broker.restart();
    assert_eq!(broker.committed(true), Err(UnstableOffsetCommit.code()));
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.committed(true), Ok(5));
    assert_eq!(broker.add_offsets("t", producer), 0);
    assert_eq!(broker.txn_commit("t", producer, 6), 0);
    broker.pass(MINUTE / 2);
    broker.restart();
    broker.pass(MINUTE / 2 + 1);
    assert_eq!(broker.committed(true), Ok(5));
    assert_eq!(broker.end("t", producer, true), ProducerFenced.code());
}

#[test]
fn members_keep_their_places_if_they_are_heard_of_in_time() {
    let mut broker = Broker::new();
    let id = broker.group_of_one();
    broker.restart();
    broker.pass(9_999);
    assert_eq!(broker.heartbeat(1, &id), 0);
    let synced = broker.ask(5, sync_request(1, &id, &[]));
    assert_eq!(&synced.assignment[..], b"all");
    broker.restart();
    broker.pass(10_000);
    assert_eq!(broker.heartbeat(1, &id), UnknownMemberId.code());
    let (_, handled) = broker.join_new(&["range"]);
    assert_eq!(joined(&handled, 9).generation_id, 3, "generations go on");
}

#[test]
fn a_rebalance_that_was_not_complete_is_forgotten_with_the_broker() {
    let mut broker = Broker::new();
    let first = broker.group_of_one();
    let (second, _) = broker.join_new(&["range"]);
    assert_eq!(broker.heartbeat(1, &first), RebalanceInProgress.code());
    broker.restart();
    assert_eq!(broker.heartbeat(1, &first), 0);
    let unknown = joined(&broker.join(9, &second, None, &["range"]), 9);
    assert_eq!(unknown.error_code, UnknownMemberId.code());
}

/// What the coordinators know, as the least entries that lead to it, without the coordinator's
/// epoch, which a start changes.
pub(crate) fn state(engine: &Engine) -> Vec<Entry> {
    let of_coordinators = |entry: &Entry| match entry {
        Entry::Group(_) => true,
        Entry::Transaction(entry) => !matches!(entry, transaction::Entry::CoordinatorEpoch(_)),
        _ => false,
    };
    engine.snapshot().into_iter().filter(of_coordinators).collect()
}

#[test]
fn a_rewritten_journal_leads_to_the_same_broker() {
    let mut broker = Broker::new();
    let id = broker.group_of_one();
    let producer = broker.init("t").unwrap();
    let other = broker.init("u").unwrap();
    assert_eq!(broker.commit(1, &id, 3), 0);
    for (id, producer, offset) in [("t", producer, 4), ("u", other, 5)] {
        assert_eq!(broker.add(id, producer, 0), 0);
        assert_eq!(broker.add_offsets(id, producer), 0);
        assert_eq!(broker.txn_commit(id, producer, offset), 0);
    }
    assert_eq!(broker.end("u", other, true), 0);
    let snapshot = broker.engine.snapshot();
    let again = Engine::recover(EngineConfig::default(), snapshot, broker.now).unwrap();
    assert_eq!(state(&again), state(&broker.engine));
    let replayed =
        Engine::recover(EngineConfig::default(), broker.journal.clone(), broker.now).unwrap();
    assert_eq!(state(&replayed), state(&broker.engine));
    broker.journal = broker.engine.snapshot();
    broker.restart();
    assert_eq!(broker.committed(true), Err(UnstableOffsetCommit.code()));
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.committed(true), Ok(5), "the later of the two commits");
    assert_eq!(broker.heartbeat(1, &id), 0);
}

#[test]
fn the_same_calls_write_the_same_journal() {
    let run = || {
        let mut broker = Broker::new();
        let id = broker.group_of_one();
        let producer = broker.init("t").unwrap();
        assert_eq!(broker.add_offsets("t", producer), 0);
        assert_eq!(broker.txn_commit_as("t", producer, 5, (1, &id)), 0);
        assert_eq!(broker.end("t", producer, true), 0);
        broker.pass(MINUTE);
        let found = broker.ask(5, ListGroupsRequest::default());
        (broker.journal, found)
    };
    assert_eq!(run(), run());
}
