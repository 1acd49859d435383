//! Group membership: who is told what, and who gets what a member leaves behind.

use std::time::{Duration, Instant};

use tidemill::client::{
    GroupEvent, LeaveError, OffsetCommit, PartitionReader, Severity, leave_group,
};
use tidemill_core::record::Offset;

use crate::support::{PATIENCE, Reading, at, config, consumer, respond, topic, unique};

fn member(group: &str, topic: &str, options: &[(&str, &str)]) -> Reading {
    let mut all = vec![("group.id", group), ("heartbeat.interval.ms", "200")];
    all.extend(options);
    let mut reading = consumer(&all);
    reading.consumer.subscribe(&[topic]).expect("the name is valid");
    reading
}

/// Lets two members answer their events until each has as many partitions.
fn settle(members: [(&mut Reading, usize); 2]) -> [Vec<PartitionReader>; 2] {
    let deadline = Instant::now() + PATIENCE;
    let mut readers = [Vec::new(), Vec::new()];
    let wanted = members.each_ref().map(|(_, count)| *count);
    let [(first, _), (second, _)] = members;
    while [readers[0].len(), readers[1].len()] != wanted {
        assert!(Instant::now() < deadline, "the group did not settle: {readers:?}");
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
    let (topic, group) = (topic("share", 4), unique("share"));
    let mut first = member(&group, &topic, &[]);
    assert_eq!(first.join(4).len(), 4);
    let mut second = member(&group, &topic, &[]);
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
}

#[test]
fn a_topic_that_does_not_exist_is_told_by_name() {
    let name = unique("does-not-exist");
    let mut reading = member(&unique("nobody"), &name, &[]);
    match reading.event() {
        GroupEvent::Failed(error) => {
            assert_eq!(error.severity, Severity::Fatal);
            assert!(error.is_unknown_topic_or_partition(), "{error:?}");
            assert!(error.message.contains(&name), "{error}");
        }
        other => panic!("{other:?}"),
    }
    reading.consumer.close(PATIENCE).expect("there is nothing to leave");
}

#[test]
fn a_second_member_with_the_same_instance_id_fences_the_first() {
    let (topic, group) = (topic("instance", 1), unique("instance"));
    let options = [("group.instance.id", "worker-0"), ("session.timeout.ms", "6000")];
    let mut first = member(&group, &topic, &options);
    first.join(1);
    let mut second = member(&group, &topic, &options);
    second.join(1);
    let error = first.until("the fence", |consumer| match consumer.poll_event(Duration::ZERO)? {
        GroupEvent::Failed(error) => Some(error),
        other => {
            respond(consumer, other);
            None
        }
    });
    assert_eq!(error.severity, Severity::Fenced, "{error}");
    first.consumer.close(PATIENCE).expect("a fenced member has nothing to leave");
    second.consumer.close(PATIENCE).expect("it answers its own revocation");
}

#[test]
fn offsets_are_committed_with_their_metadata_outside_transactions_too() {
    let (topic, group) = (topic("plain-commit", 2), unique("plain-commit"));
    let mut reading = member(&group, &topic, &[]);
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
    assert_eq!((found[1].offset, found[1].metadata.as_str()), (Some(Offset(42)), "stream time 17"));
    reading.consumer.close(PATIENCE).expect("it answers its own revocation");
}

#[test]
fn a_static_member_that_leaves_makes_room_at_once() {
    let (topic, group) = (topic("leave", 1), unique("leave"));
    // Longer than the test's patience: without the request the second member waits in vain.
    let session = ("session.timeout.ms", "60000");
    let mut first = member(&group, &topic, &[session, ("group.instance.id", "worker-0")]);
    first.join(1);
    first.consumer.close(PATIENCE).expect("it answers its own revocation");
    drop(first);
    leave_group(&config(&[]), &group, "worker-0", PATIENCE).expect("it is a member");
    leave_group(&config(&[]), &group, "worker-0", PATIENCE).expect("out is out");
    let mut second = member(&group, &topic, &[session, ("group.instance.id", "worker-1")]);
    assert_eq!(second.join(1).len(), 1);
    second.consumer.close(PATIENCE).expect("it answers its own revocation");
    leave_group(&config(&[]), &group, "worker-1", PATIENCE).expect("it is a member");
}

#[test]
fn a_static_member_comes_back_to_its_partitions_without_a_rebalance() {
    let (topic, group) = (topic("return", 2), unique("return"));
    let session = ("session.timeout.ms", "60000");
    let mut first = member(&group, &topic, &[session, ("group.instance.id", "worker-0")]);
    first.join(2);
    let mut second = member(&group, &topic, &[session, ("group.instance.id", "worker-1")]);
    let before = settle([(&mut first, 1), (&mut second, 1)]);
    let mine = before[1][0].topic_partition().clone();
    drop(before);
    second.consumer.close(PATIENCE).expect("it answers its own revocation");
    drop(second);
    let mut second = member(&group, &topic, &[session, ("group.instance.id", "worker-1")]);
    assert_eq!(second.join(1)[0].topic_partition(), &mine);
    assert_eq!(first.consumer.poll_event(Duration::ZERO), None);
    for (mut member, id) in [(first, "worker-0"), (second, "worker-1")] {
        member.consumer.close(PATIENCE).expect("it answers its own revocation");
        leave_group(&config(&[]), &group, id, PATIENCE).expect("it is a member");
    }
}

#[test]
fn reading_alone_keeps_the_membership_and_doing_nothing_loses_the_partitions() {
    let (topic, group) = (topic("interval", 1), unique("interval"));
    let interval = Duration::from_millis(1_500);
    let options = [("session.timeout.ms", "1500"), ("max.poll.interval.ms", "1500")];
    let mut reading = member(&group, &topic, &options);
    let mut reader = reading.join(1).remove(0);
    let until = Instant::now() + 2 * interval;
    while Instant::now() < until {
        reader.read(10, &mut |_| {});
        reading.waker.wait(Duration::from_millis(50));
    }
    assert_eq!(reading.consumer.poll_event(Duration::ZERO), None);

    // Not a wait for something to happen: that nothing happens here is the point.
    std::thread::sleep(2 * interval);
    match reading.event() {
        GroupEvent::Revoked { partitions, lost } => {
            assert_eq!((partitions, lost), (vec![at(&topic, 0)], true));
        }
        other => panic!("{other:?}"),
    }
    reading.consumer.unassign().expect("we were asked to");
    assert_eq!(reading.join(1).len(), 1, "it joins again by itself");
    reading.consumer.close(PATIENCE).expect("it answers its own revocation");
}

#[test]
fn leaving_over_anything_but_plaintext_is_refused_with_the_reason() {
    let options = config(&[("security.protocol", "SASL_SSL")]);
    let error = leave_group(&options, "group", "worker-0", PATIENCE).expect_err("not spoken here");
    assert!(matches!(&error, LeaveError::Unsupported { protocol } if protocol == "SASL_SSL"));
}

#[test]
fn leaving_through_a_broker_that_is_not_there_ends_in_time() {
    let options = config(&[("bootstrap.servers", "127.0.0.1:1")]);
    let timeout = Duration::from_millis(300);
    let error = leave_group(&options, "group", "worker-0", timeout).expect_err("nobody is there");
    assert!(matches!(error, LeaveError::Unreachable { .. }), "{error:?}");
}
