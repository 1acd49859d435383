//! Transactions: what is seen, who is refused, and what each refusal asks for.

use tidemill_core::record::{Headers, Offset, Partition, Timestamp, TopicPartition};

use super::support::{PATIENCE, Reading, World, at, send, simulate_some, values};
use crate::client::Severity;
use crate::client::seam::{Administer, Consume, Produce};
use crate::client::types::{Isolation, OffsetCommit, OffsetSpec, Outgoing, SendError};

pub(super) fn commit(partition: TopicPartition, offset: i64, metadata: &str) -> OffsetCommit {
    OffsetCommit { partition, offset: Offset(offset), metadata: metadata.to_owned() }
}

#[test]
fn committed_records_are_seen_aborted_ones_are_not_and_the_end_lies_past_the_markers() {
    simulate_some(|world| {
        let topic = world.topic("visible", 1);
        let partition = at(&topic, 0);
        let mut producer = world.transactional("visible");
        for (values, keep) in [(["a", "b"], true), (["c", "d"], false), (["e", "f"], true)] {
            producer.begin_transaction().expect("initialised");
            values.iter().for_each(|value| send(&mut producer, &partition, value));
            if keep {
                producer.commit_transaction(PATIENCE).expect("nothing is in the way");
            } else {
                producer.flush(PATIENCE).expect("the records reach the log");
                producer.abort_transaction(PATIENCE).expect("nothing is in the way");
            }
        }
        // Three transactions of two records and a marker each.
        assert_eq!(world.settled(&partition), Offset(9));
        assert_eq!(world.values(&partition), ["a", "b", "e", "f"]);
        let mut all = world.consumer(&[("isolation.level", "read_uncommitted")]);
        assert_eq!(values(&all.whole(&partition)), ["a", "b", "c", "d", "e", "f"]);
        assert!(!producer.troubled());
    });
}

#[test]
fn inv_4_an_open_transaction_holds_the_stable_end_back_but_not_the_high_watermark() {
    simulate_some(|world| {
        let topic = world.topic("stable-end", 1);
        let partition = at(&topic, 0);
        let mut producer = world.transactional("stable-end");
        let admin = world.admin();
        let latest = |isolation| {
            let asked = [partition.clone()];
            let list = || admin.list_offsets(&asked, OffsetSpec::Latest, isolation, PATIENCE);
            world.patiently(list)[0].1
        };
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &partition, "a");
        producer.flush(PATIENCE).expect("the record reaches the log");
        assert_eq!(latest(Isolation::ReadCommitted), Offset(0));
        assert_eq!(latest(Isolation::ReadUncommitted), Offset(1));
        let mut reading = world.consumer(&[]);
        let from = [(partition.clone(), Offset::ZERO)];
        let mut reader = reading.consumer.assign(&from).expect("it exists").remove(0);
        assert_eq!(values(&reading.read_to(&mut reader, Offset(0))), [""; 0]);
        producer.commit_transaction(PATIENCE).expect("nothing is in the way");
        assert_eq!(values(&reading.read_to(&mut reader, Offset(2))), ["a"]);
        assert_eq!(latest(Isolation::ReadCommitted), Offset(2));
    });
}

#[test]
fn inv_6_a_second_producer_with_the_same_id_fences_the_first() {
    simulate_some(|world| {
        let topic = world.topic("fenced", 1);
        let mut first = world.transactional("fenced");
        first.begin_transaction().expect("initialised");
        send(&mut first, &at(&topic, 0), "of the first");
        first.flush(PATIENCE).expect("the record reaches the log");

        let mut second = world.transactional("fenced");
        let error = first.commit_transaction(PATIENCE).expect_err("superseded");
        assert_eq!(error.severity, Severity::Fenced, "{error}");
        assert_eq!(error.name, "_FENCED");
        assert!(!error.timed_out);
        let again = first.begin_transaction().expect_err("of no more use");
        assert_eq!(again.severity, Severity::Fenced, "{again}");
        drop(first);

        second.begin_transaction().expect("initialised");
        send(&mut second, &at(&topic, 0), "of the second");
        second.commit_transaction(PATIENCE).expect("nothing is in the way");
        assert_eq!(world.values(&at(&topic, 0)), ["of the second"]);
    });
}

/// A member that was assigned one partition of a topic, in a group of its own.
fn member(world: &World, topic: &str, group: &str) -> Reading {
    let mut reading = world.consumer(&[("group.id", group), ("session.timeout.ms", "6000")]);
    reading.consumer.subscribe(&[topic]).expect("the name is valid");
    reading.join(1);
    reading
}

#[test]
fn inv_1_offsets_and_their_metadata_are_committed_with_the_records_or_not_at_all() {
    simulate_some(|world| {
        let input = world.topic("offsets-in", 2);
        let output = world.topic("offsets-out", 1);
        let options = [("group.id", "offsets"), ("session.timeout.ms", "6000")];
        let mut reading = world.consumer(&options);
        reading.consumer.subscribe(&[&input]).expect("the name is valid");
        reading.join(2);
        let mine = reading.consumer.group_metadata().expect("there is a group");
        let asked = [at(&input, 1), at(&input, 0)];
        let mut producer = world.transactional("offsets");
        let cases = [(7, "AgAAAAA=", true), (9, "not this", false), (8, "", true)];
        for (offset, metadata, keep) in cases {
            producer.begin_transaction().expect("initialised");
            send(&mut producer, &at(&output, 0), metadata);
            let commits = [commit(at(&input, 1), offset, metadata)];
            producer.send_offsets(&commits, &mine, PATIENCE).expect("we own the partition");
            if keep {
                producer.commit_transaction(PATIENCE).expect("nothing is in the way");
                let found =
                    reading.consumer.committed(&asked, PATIENCE).expect("the broker answers");
                assert_eq!(found[0].partition, asked[0]);
                assert_eq!(found[0].offset, Some(Offset(offset)));
                assert_eq!(found[0].metadata, metadata);
                assert_eq!((&found[1].partition, found[1].offset), (&asked[1], None));
            } else {
                producer.abort_transaction(PATIENCE).expect("nothing is in the way");
            }
        }
        assert_eq!(world.values(&at(&output, 0)), ["AgAAAAA=", ""]);
        reading.consumer.close(PATIENCE).expect("it answers its own revocation");
    });
}

#[test]
fn inv_7_offsets_of_an_assignment_that_moved_on_are_refused_with_abort() {
    simulate_some(|world| {
        let input = world.topic("stale-in", 1);
        let output = world.topic("stale-out", 1);
        let mut zombie = member(&world, &input, "stale");
        let stale = zombie.consumer.group_metadata().expect("there is a group");
        zombie.consumer.close(PATIENCE).expect("it answers its own revocation");
        let mut heir = member(&world, &input, "stale");

        let mut producer = world.transactional("stale");
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at(&output, 0), "of a zombie");
        let commits = [commit(at(&input, 0), 1, "")];
        let refused = producer.send_offsets(&commits, &stale, PATIENCE).expect_err("moved on");
        assert_eq!(refused.severity, Severity::Abort, "{refused}");
        let refused = producer.commit_transaction(PATIENCE).expect_err("it must be aborted");
        assert_eq!(refused.severity, Severity::Abort, "{refused}");
        let topic = producer.topic(&output).expect("the name is valid");
        let late = Outgoing {
            topic,
            partition: Some(Partition(0)),
            key: None,
            value: None,
            timestamp: Timestamp(1),
            headers: &Headers::new(),
            position: None,
        };
        match producer.send(&late) {
            Err(SendError::Failed(error)) => assert_eq!(error.severity, Severity::Abort, "{error}"),
            other => panic!("{other:?}"),
        }
        producer.abort_transaction(PATIENCE).expect("that is what was asked for");

        let fresh = heir.consumer.group_metadata().expect("there is a group");
        producer.begin_transaction().expect("aborted, not fenced");
        producer.send_offsets(&commits, &fresh, PATIENCE).expect("the heir owns it");
        producer.commit_transaction(PATIENCE).expect("nothing is in the way");
        let found =
            heir.consumer.committed(&[at(&input, 0)], PATIENCE).expect("the broker answers");
        assert_eq!(found[0].offset, Some(Offset(1)));
        assert!(world.values(&at(&output, 0)).is_empty());
        heir.consumer.close(PATIENCE).expect("it answers its own revocation");
    });
}

#[test]
fn a_call_out_of_order_is_fatal_and_harmless() {
    simulate_some(|world| {
        let mut producer = world.transactional("order");
        let early = producer.commit_transaction(PATIENCE).expect_err("nothing was begun");
        assert_eq!(early.severity, Severity::Fatal, "{early}");
        producer.begin_transaction().expect("initialised");
        let twice = producer.begin_transaction().expect_err("one is open");
        assert_eq!(twice.severity, Severity::Fatal, "{twice}");
        producer.commit_transaction(PATIENCE).expect("it is still open");
    });
}

#[test]
fn a_record_that_is_not_delivered_aborts_its_transaction() {
    simulate_some(|world| {
        let mut producer = world.producer(&[
            ("transactional.id", "undelivered"),
            ("topic.metadata.propagation.max.ms", "10"),
        ]);
        producer.init_transactions(PATIENCE).expect("nobody else has this id");
        producer.begin_transaction().expect("initialised");
        send(&mut producer, &at("does-not-exist", 0), "lost");
        let error = producer.commit_transaction(PATIENCE).expect_err("it was not delivered");
        assert_eq!(error.severity, Severity::Abort, "{error}");
        let told = producer.delivery_error().map(|error| error.topic);
        assert_eq!(told.as_deref(), Some("does-not-exist"));
        producer.abort_transaction(PATIENCE).expect("that is what was asked for");
        producer.begin_transaction().expect("aborted, not fenced");
        assert_eq!(producer.delivery_error(), None);
    });
}
