//! Static members (`group.instance.id`): they come back without a rebalance and fence themselves.

use kafka_protocol::ResponseError::*;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::*;

use crate::kit::*;

/// The group `g` with the static members `a`, which leads, and `b`.
fn group_of_two(broker: &mut Broker) -> (String, String) {
    let a = joined(&broker.join(9, "", Some("a"), &["range"]), 9).member_id.to_string();
    let b = waits(&broker.join(9, "", Some("b"), &["range"]));
    let led = joined(&broker.join(9, &a, Some("a"), &["range"]), 9);
    assert_eq!((led.generation_id, &*led.leader), (2, &*a));
    let b = broker.answer::<JoinGroupRequest>(9, b).expect("b has joined").member_id.to_string();
    let assignments = [(&*a, "one"), (&*b, "two")];
    assert_eq!(&broker.ask(5, sync_request(2, &a, &assignments)).assignment[..], b"one");
    assert_eq!(&broker.ask(5, sync_request(2, &b, &[])).assignment[..], b"two");
    (a, b)
}

fn heartbeat(broker: &mut Broker, member: &str, instance: &str) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id(2)
        .with_member_id(text(member))
        .with_group_instance_id(Some(text(instance)));
    broker.ask(4, request).error_code
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_old_self() {
    let mut broker = Broker::new();
    let (a, b) = group_of_two(&mut broker);
    let back = joined(&broker.join(9, "", Some("b"), &["range"]), 9);
    assert_eq!((back.error_code, back.generation_id), (0, 2));
    assert_ne!(*back.member_id, *b);
    assert!(!back.skip_assignment, "a follower has nothing to skip");
    assert_eq!(heartbeat(&mut broker, &a, "a"), 0);
    assert_eq!(heartbeat(&mut broker, &b, "b"), FencedInstanceId.code());
    assert_eq!(heartbeat(&mut broker, &back.member_id, "b"), 0);
    let synced = broker.ask(5, sync_request(2, &back.member_id, &[]));
    assert_eq!(&synced.assignment[..], b"two", "it keeps its assignment");
}

#[test]
fn a_static_leader_that_comes_back_skips_the_assignment() {
    let mut broker = Broker::new();
    let (_, b) = group_of_two(&mut broker);
    let back = joined(&broker.join(9, "", Some("a"), &["range"]), 9);
    assert_eq!((back.error_code, back.generation_id, back.skip_assignment), (0, 2, true));
    assert_eq!((&back.leader, back.members.len()), (&back.member_id, 2));
    assert_eq!(heartbeat(&mut broker, &b, "b"), 0);
}

#[test]
fn an_older_static_leader_that_comes_back_takes_itself_for_a_follower() {
    let mut broker = Broker::new();
    let (a, _) = group_of_two(&mut broker);
    let back = joined(&broker.join(8, "", Some("a"), &["range"]), 8);
    assert_eq!((back.error_code, back.generation_id), (0, 2));
    assert_eq!((&*back.leader, back.members.len()), (&*a, 0));
    assert_ne!(back.leader, back.member_id);
}

#[test]
fn a_static_member_that_changes_the_agreed_protocol_causes_a_rebalance() {
    let mut broker = Broker::new();
    let a = joined(&broker.join(9, "", Some("a"), &["range", "other"]), 9).member_id.to_string();
    assert_eq!(broker.ask(5, sync_request(1, &a, &[(&a, "all")])).error_code, 0);
    let back = joined(&broker.join(9, "", Some("a"), &["other"]), 9);
    assert_eq!((back.error_code, back.generation_id), (0, 2));
    assert_eq!(back.protocol_name.as_deref(), Some("other"));
}

#[test]
fn the_waiting_requests_of_a_fenced_member_are_answered() {
    let mut broker = Broker::new();
    let (_, b) = group_of_two(&mut broker);
    let waiting = waits(&broker.join(9, &b, Some("b"), &["range", "new"]));
    let back = waits(&broker.join(9, "", Some("b"), &["range", "new"]));
    let fenced = broker.answer::<JoinGroupRequest>(9, waiting).unwrap();
    assert_eq!(fenced.error_code, FencedInstanceId.code());
    assert!(broker.answer::<JoinGroupRequest>(9, back).is_none(), "the leader is not there yet");
}

#[test]
fn a_static_member_keeps_its_place_through_a_rebalance_that_it_misses() {
    let mut broker = Broker::new();
    let (a, b) = group_of_two(&mut broker);
    let waiting = waits(&broker.join(9, &a, Some("a"), &["range", "new"]));
    for _ in 0..12 {
        broker.pass(5_000);
        let _alive = heartbeat(&mut broker, &b, "b");
    }
    let led = broker.answer::<JoinGroupRequest>(9, waiting).unwrap();
    assert_eq!((led.generation_id, led.members.len()), (3, 2));
}

#[test]
fn a_static_member_can_be_removed_by_its_instance_id() {
    let mut broker = Broker::new();
    let (_, b) = group_of_two(&mut broker);
    let leave = |instance: &str| {
        LeaveGroupRequest::default().with_group_id(GroupId(text("g"))).with_members(vec![
            MemberIdentity::default().with_group_instance_id(Some(text(instance))),
        ])
    };
    assert_eq!(broker.ask(5, leave("b")).members[0].error_code, 0);
    assert_eq!(broker.ask(5, leave("b")).members[0].error_code, UnknownMemberId.code());
    assert_eq!(heartbeat(&mut broker, &b, "b"), UnknownMemberId.code());
}
