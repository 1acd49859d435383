//! Offsets: who may commit, what is pending, what is found.

use kafka_protocol::ResponseError::*;
use kafka_protocol::messages::*;
use tidemill_broker::engine::MarkerTarget;

use crate::kit::*;

/// A producer of `t` with offset `offset` pending for the group.
fn pending(broker: &mut Broker, offset: i64) -> (i64, i16) {
    let producer = broker.init("t").expect("nobody else has the id");
    assert_eq!(broker.add_offsets("t", producer), 0);
    assert_eq!(broker.txn_commit("t", producer, offset), 0);
    producer
}

#[test]
fn a_client_that_is_no_member_commits_while_the_group_is_empty() {
    let mut broker = Broker::new();
    assert_eq!(broker.committed(true), Ok(-1));
    assert_eq!(broker.commit(-1, "", 7), 0);
    assert_eq!(broker.committed(true), Ok(7));
    broker.group_of_one();
    assert_eq!(broker.commit(-1, "", 8), UnknownMemberId.code());
    assert_eq!(broker.committed(true), Ok(7));
}

#[test]
fn a_member_commits_in_its_generation_only() {
    let mut broker = Broker::new();
    let id = broker.group_of_one();
    assert_eq!(broker.commit(1, &id, 5), 0);
    assert_eq!(broker.commit(0, &id, 6), IllegalGeneration.code());
    assert_eq!(broker.commit(1, "other", 6), UnknownMemberId.code());
    let late = broker.ask(8, commit_request(1, &id, 6, "").with_group_id(GroupId(text("no"))));
    assert_eq!(late.topics[0].partitions[0].error_code, IllegalGeneration.code());
    let late = broker.ask(9, commit_request(1, &id, 6, "").with_group_id(GroupId(text("no"))));
    assert_eq!(late.topics[0].partitions[0].error_code, GroupIdNotFound.code());
    assert_eq!(broker.committed(true), Ok(5));
    let rejoined = joined(&broker.join(9, &id, None, &["range", "new"]), 9);
    assert_eq!(rejoined.generation_id, 2);
    assert_eq!(broker.commit(2, &id, 6), RebalanceInProgress.code());
}

#[test]
fn metadata_that_is_too_long_is_refused() {
    let mut broker = Broker::new();
    for (length, error) in [(4096, 0), (4097, OffsetMetadataTooLarge.code())] {
        let answer = broker.ask(9, commit_request(-1, "", 1, &"x".repeat(length)));
        assert_eq!(answer.topics[0].partitions[0].error_code, error);
    }
}

#[test]
fn an_offset_of_an_unknown_topic_is_refused() {
    let mut broker = Broker::new();
    let mut request = commit_request(-1, "", 1, "");
    request.topics[0].name = TopicName(text("nowhere"));
    let answer = broker.ask(9, request);
    assert_eq!(answer.topics[0].partitions[0].error_code, UnknownTopicOrPartition.code());
    assert!(broker.engine.groups().names().next().is_none(), "no group was made");
}

#[test]
fn every_version_of_an_offset_fetch_finds_the_same() {
    let mut broker = Broker::new();
    assert_eq!(broker.ask(9, commit_request(-1, "", 7, "kept")).topics.len(), 1);
    for version in 1..=9 {
        let request = OffsetFetchRequest::default();
        let request = if version < 8 {
            let request = request.with_group_id(GroupId(text("g")));
            let topic = offset_fetch_request::OffsetFetchRequestTopic::default()
                .with_name(TopicName(text("in")))
                .with_partition_indexes(vec![0]);
            request.with_topics((version < 2).then(|| vec![topic]))
        } else {
            let group = offset_fetch_request::OffsetFetchRequestGroup::default();
            let group = group.with_group_id(GroupId(text("g"))).with_topics(None);
            request.with_groups(vec![group])
        };
        let answer = broker.ask(version, request);
        let found = if version < 8 {
            let partition = &answer.topics[0].partitions[0];
            (partition.committed_offset, partition.metadata.clone())
        } else {
            let partition = &answer.groups[0].topics[0].partitions[0];
            (partition.committed_offset, partition.metadata.clone())
        };
        assert_eq!(found, (7, Some(text("kept"))), "version {version}");
    }
}

#[test]
fn a_transactions_offsets_are_pending_until_its_marker() {
    let mut broker = Broker::new();
    let producer = pending(&mut broker, 5);
    assert_eq!(broker.committed(true), Err(UnstableOffsetCommit.code()));
    assert_eq!(broker.committed(false), Ok(-1));
    broker.engine.hold_markers(MarkerTarget::Group("g".into()), broker.now + 100);
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.committed(true), Err(UnstableOffsetCommit.code()));
    broker.pass(99);
    assert_eq!(broker.committed(true), Err(UnstableOffsetCommit.code()));
    broker.pass(1);
    assert_eq!(broker.committed(true), Ok(5));
}

#[test]
fn an_aborted_transactions_offsets_never_happened() {
    let mut broker = Broker::new();
    assert_eq!(broker.commit(-1, "", 3), 0);
    let producer = pending(&mut broker, 5);
    assert_eq!(broker.end("t", producer, false), 0);
    assert_eq!(broker.committed(true), Ok(3));
}

#[test]
fn a_commit_after_the_transactions_wins_over_its_marker() {
    let mut broker = Broker::new();
    let producer = pending(&mut broker, 5);
    assert_eq!(broker.commit(-1, "", 9), 0);
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.committed(true), Ok(9));
}

#[test]
fn offsets_of_a_transaction_that_does_not_have_the_group_are_refused() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.txn_commit("t", producer, 1), InvalidTxnState.code());
    assert_eq!(broker.add_offsets("t", producer), 0);
    assert_eq!(broker.txn_commit("t", producer, 1), 0);
    assert_eq!(broker.txn_commit("u", producer, 1), 0, "the open transaction is not asked for");
    let zombie = (producer.0, producer.1 + 1);
    assert_eq!(broker.txn_commit("t", zombie, 1), InvalidProducerEpoch.code());
    assert_eq!(broker.txn_commit("t", (99, 0), 1), InvalidProducerIdMapping.code());
}

#[test]
fn a_zombies_transaction_is_refused_by_generation_and_member() {
    let mut broker = Broker::new();
    let id = broker.group_of_one();
    let producer = broker.init("t").unwrap();
    assert_eq!(broker.add_offsets("t", producer), 0);
    let zombie = |broker: &mut Broker, member| broker.txn_commit_as("t", producer, 1, member);
    assert_eq!(zombie(&mut broker, (0, &id)), IllegalGeneration.code());
    assert_eq!(zombie(&mut broker, (1, "other")), UnknownMemberId.code());
    assert_eq!(zombie(&mut broker, (1, &id)), 0);
    assert_eq!(zombie(&mut broker, (-1, "")), 0, "older clients say nothing of their group");
}

#[test]
fn a_late_offset_of_the_same_epoch_is_part_of_the_transaction_that_is_not_yet_marked() {
    // what transactions V1 let happen: nothing tells it from one that came in time
    let mut broker = Broker::new();
    let producer = pending(&mut broker, 5);
    broker.engine.hold_markers(MarkerTarget::Group("g".into()), broker.now + 100);
    assert_eq!(broker.end("t", producer, true), 0);
    assert_eq!(broker.txn_commit("t", producer, 6), 0);
    broker.pass(100);
    assert_eq!(broker.committed(true), Ok(6));
    assert_eq!(broker.txn_commit("t", producer, 7), InvalidTxnState.code());
}

#[test]
fn a_fenced_producers_offsets_are_refused_for_good() {
    let mut broker = Broker::new();
    let zombie = pending(&mut broker, 5);
    assert_eq!(broker.init("t"), Err(ConcurrentTransactions.code()));
    let producer = broker.init("t").unwrap();
    assert_eq!((producer.0, producer.1), (zombie.0, zombie.1 + 2));
    assert_eq!(broker.txn_commit("t", zombie, 6), InvalidProducerEpoch.code());
    assert_eq!(broker.committed(true), Ok(-1));
}
