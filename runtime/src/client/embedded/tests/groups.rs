//! Group membership: who is told what, and who gets what a member leaves behind.

use std::time::Duration;

use tidemill_core::record::Offset;

use super::support::{PATIENCE, Reading, World, at, config, respond, simulate, simulate_some};
use crate::client::Severity;
use crate::client::embedded::{Embedded, PartitionReader};
use crate::client::kafka::LeaveError;
use crate::client::seam::{Connector, Consume, ReadPartition};
use crate::client::types::{GroupEvent, OffsetCommit};

fn member(world: &World, group: &str, topic: &str, options: &[(&str, &str)]) -> Reading {
    let mut all = vec![("group.id", group), ("heartbeat.interval.ms", "200")];
    all.extend(options);
    let mut reading = world.consumer(&all);
    reading.consumer.subscribe(&[topic]).expect("the name is valid");
    reading
}

/// Lets two members answer their events until each has as many partitions.
fn settle(members: [(&mut Reading, usize); 2]) -> [Vec<PartitionReader>; 2] {
    let mut readers = [Vec::new(), Vec::new()];
    let wanted = members.each_ref().map(|(_, count)| *count);
    let [(first, _), (second, _)] = members;
    let deadline = first.world.scheduler.now() + PATIENCE;
    while [readers[0].len(), readers[1].len()] != wanted {
        let now = first.world.scheduler.now();
        assert!(now < deadline, "the group did not settle: {readers:?}");
        for (member, readers) in [&mut *first, &mut *second].into_iter().zip(&mut readers) {
            if let Some(event) = member.consumer.poll_event(Duration::from_millis(10)) {
                *readers = respond(&mut member.consumer, event).unwrap_or_default();
            }
        }
    }
    readers
}

#[test]
fn a_second_member_takes_its_share_and_gives_it_back_when_it_closes() {
    simulate_some(|world| {
        let topic = world.topic("share", 4);
        let mut first = member(&world, "share", &topic, &[]);
        assert_eq!(first.join(4).len(), 4);
        let mut second = member(&world, "share", &topic, &[]);
        second.consumer.poll_event(Duration::ZERO);
        let revoked = first.event();
        match &revoked {
            GroupEvent::Revoked { partitions, lost } => {
                assert_eq!((partitions.len(), *lost), (4, false));
            }
            other => panic!("{other:?}"),
        }
        respond(&mut first.consumer, revoked);
        let readers = settle([(&mut first, 2), (&mut second, 2)]);
        let mut owned: Vec<_> =
            readers.iter().flatten().map(|reader| reader.topic_partition().partition.0).collect();
        owned.sort_unstable();
        assert_eq!(owned, [0, 1, 2, 3]);
        drop(readers);
        second.consumer.close(PATIENCE).expect("it answers its own revocation");
        second.consumer.close(PATIENCE).expect("closing twice does nothing");
        assert_eq!(first.join(4).len(), 4);
        first.consumer.close(PATIENCE).expect("it answers its own revocation");
    });
}

#[test]
fn a_topic_that_does_not_exist_is_told_by_name() {
    simulate_some(|world| {
        let mut reading = member(&world, "nobody", "does-not-exist", &[]);
        match reading.event() {
            GroupEvent::Failed(error) => {
                assert_eq!(error.severity, Severity::Fatal);
                assert!(error.is_unknown_topic_or_partition(), "{error:?}");
                assert!(error.message.contains("does-not-exist"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        reading.consumer.close(PATIENCE).expect("there is nothing to leave");
    });
}

#[test]
fn a_second_member_with_the_same_instance_id_fences_the_first() {
    simulate_some(|world| {
        let topic = world.topic("instance", 1);
        let options = [("group.instance.id", "worker-0"), ("session.timeout.ms", "6000")];
        let mut first = member(&world, "instance", &topic, &options);
        first.join(1);
        let mut second = member(&world, "instance", &topic, &options);
        second.join(1);
        let error =
            first.until("the fence", |consumer| match consumer.poll_event(Duration::ZERO)? {
                GroupEvent::Failed(error) => Some(error),
                other => {
                    respond(consumer, other);
                    None
                }
            });
        assert_eq!((error.severity, error.code), (Severity::Fenced, 82), "{error}");
        first.consumer.close(PATIENCE).expect("a fenced member has nothing to leave");
        second.consumer.close(PATIENCE).expect("it answers its own revocation");
    });
}

#[test]
fn offsets_are_committed_with_their_metadata_outside_transactions_too() {
    simulate_some(|world| {
        let topic = world.topic("plain-commit", 2);
        let mut reading = member(&world, "plain-commit", &topic, &[]);
        reading.join(2);
        let commit = OffsetCommit {
            partition: at(&topic, 1),
            offset: Offset(42),
            metadata: "stream time 17".to_owned(),
        };
        reading.consumer.commit_sync(&[commit], PATIENCE).expect("we own the partition");
        let asked = [at(&topic, 0), at(&topic, 1)];
        let found = reading.consumer.committed(&asked, PATIENCE).expect("the broker answers");
        assert_eq!((found[0].offset, found[0].metadata.as_str()), (None, ""));
        let second = (found[1].offset, found[1].metadata.as_str());
        assert_eq!(second, (Some(Offset(42)), "stream time 17"));
        reading.consumer.close(PATIENCE).expect("it answers its own revocation");
    });
}

#[test]
fn a_static_member_that_leaves_makes_room_at_once() {
    simulate_some(|world| {
        let topic = world.topic("leave", 1);
        // Longer than the test's patience: without the request the second member waits in vain.
        let session = ("session.timeout.ms", "60000");
        let instance = |id| ("group.instance.id", id);
        let mut first = member(&world, "leave", &topic, &[session, instance("worker-0")]);
        first.join(1);
        first.consumer.close(PATIENCE).expect("it answers its own revocation");
        drop(first);
        let leave = |id| world.client.leave_group(&config(&[]), "leave", id, PATIENCE);
        leave("worker-0").expect("it is a member");
        leave("worker-0").expect("out is out");
        let mut second = member(&world, "leave", &topic, &[session, instance("worker-1")]);
        assert_eq!(second.join(1).len(), 1);
        second.consumer.close(PATIENCE).expect("it answers its own revocation");
        leave("worker-1").expect("it is a member");
    });
}

#[test]
fn a_static_member_comes_back_to_its_partitions_without_a_rebalance() {
    simulate_some(|world| {
        let topic = world.topic("return", 2);
        let session = ("session.timeout.ms", "60000");
        let instance = |id| ("group.instance.id", id);
        let mut first = member(&world, "return", &topic, &[session, instance("worker-0")]);
        first.join(2);
        let mut second = member(&world, "return", &topic, &[session, instance("worker-1")]);
        let before = settle([(&mut first, 1), (&mut second, 1)]);
        let mine = before[1][0].topic_partition().clone();
        drop(before);
        second.consumer.close(PATIENCE).expect("it answers its own revocation");
        drop(second);
        let mut second = member(&world, "return", &topic, &[session, instance("worker-1")]);
        assert_eq!(second.join(1)[0].topic_partition(), &mine);
        assert_eq!(first.consumer.poll_event(Duration::ZERO), None);
    });
}

#[test]
fn reading_alone_keeps_the_membership_and_doing_nothing_loses_the_partitions() {
    simulate_some(|world| {
        let topic = world.topic("interval", 1);
        let interval = Duration::from_millis(6_000);
        let options = [("session.timeout.ms", "6000"), ("max.poll.interval.ms", "6000")];
        let mut reading = member(&world, "interval", &topic, &options);
        let mut reader = reading.join(1).remove(0);
        let until = world.scheduler.now() + 2 * interval;
        while world.scheduler.now() < until {
            reader.read(10, &mut |_| {});
            reading.wait(Duration::from_millis(50));
        }
        assert_eq!(reading.consumer.poll_event(Duration::ZERO), None);

        world.scheduler.sleep(2 * interval);
        match reading.event() {
            GroupEvent::Revoked { partitions, lost } => {
                assert_eq!((partitions, lost), (vec![at(&topic, 0)], true));
            }
            other => panic!("{other:?}"),
        }
        reading.consumer.unassign().expect("we were asked to");
        assert_eq!(reading.join(1).len(), 1, "it joins again by itself");
        reading.consumer.close(PATIENCE).expect("it answers its own revocation");
    });
}

#[test]
fn a_frozen_member_loses_its_partitions_to_another_and_is_told_so_when_it_goes_on() {
    simulate_some(|world| {
        let topic = world.topic("frozen", 1);
        let options = [("session.timeout.ms", "6000")];
        let frozen = world.scheduler.new_process("frozen");
        let of_frozen = World {
            process: frozen,
            client: Embedded::new(&world.network, frozen),
            ..world.clone()
        };
        let told = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let (tell, name) = (std::rc::Rc::clone(&told), topic.clone());
        world.scheduler.spawn(frozen, "member", move || {
            let mut reading = member(&of_frozen, "frozen", &name, &options);
            loop {
                let event = reading.event();
                tell.borrow_mut().push(event.clone());
                respond(&mut reading.consumer, event);
            }
        });
        while told.borrow().is_empty() {
            world.scheduler.sleep(Duration::from_millis(100));
        }
        world.scheduler.freeze(frozen);
        let mut heir = member(&world, "frozen", &topic, &options);
        assert_eq!(heir.join(1).len(), 1, "the session of the other is over");
        world.scheduler.thaw(frozen);
        let deadline = world.scheduler.now() + PATIENCE;
        while told.borrow().len() < 2 && world.scheduler.now() < deadline {
            heir.consumer.poll_event(Duration::from_millis(100));
        }
        match &told.borrow()[1] {
            GroupEvent::Revoked { partitions, lost } => {
                assert_eq!((partitions.len(), *lost), (1, true));
            }
            other => panic!("{other:?}"),
        }
        world.scheduler.kill(frozen);
    });
}

#[test]
fn leaving_over_anything_but_plaintext_is_refused_with_the_reason() {
    simulate(1, |world| {
        let options = config(&[("security.protocol", "SASL_SSL")]);
        let left = world.client.leave_group(&options, "group", "worker-0", PATIENCE);
        let error = left.expect_err("not spoken here");
        assert!(matches!(&error, LeaveError::Unsupported { protocol } if protocol == "SASL_SSL"));
    });
}

#[test]
fn leaving_through_a_broker_that_is_not_there_ends_in_time() {
    simulate_some(|world| {
        world.network.crash();
        let timeout = Duration::from_millis(300);
        let before = world.scheduler.now();
        let left = world.client.leave_group(&config(&[]), "group", "worker-0", timeout);
        let error = left.expect_err("nobody is there");
        assert!(matches!(error, LeaveError::Unreachable { .. }), "{error:?}");
        assert!(world.scheduler.now() <= before + timeout + Duration::from_millis(1));
    });
}
