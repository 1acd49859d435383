//! Dynamic members: joining, agreeing, assigning, going.

use kafka_protocol::ResponseError::*;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::*;
use tidemill_broker::engine::EngineConfig;
use tidemill_broker::group::GroupState;

use crate::kit::*;

/// The group `g` with two members, the first of which leads, in generation 2.
fn group_of_two(broker: &mut Broker) -> (String, String) {
    let first = broker.group_of_one();
    let (second, handled) = broker.join_new(&["range"]);
    let second_waits = waits(&handled);
    assert_eq!(broker.heartbeat(1, &first), RebalanceInProgress.code());
    let led = joined(&broker.join(9, &first, None, &["range"]), 9);
    assert_eq!((led.generation_id, led.members.len()), (2, 2));
    let followed =
        broker.answer::<JoinGroupRequest>(9, second_waits).expect("the second has joined");
    assert_eq!((followed.generation_id, followed.members.len()), (2, 0));
    let waiting = broker.ask_later(5, sync_request(2, &second, &[]));
    let assignments = [(&*first, "one"), (&*second, "two")];
    let synced = broker.ask(5, sync_request(2, &first, &assignments));
    assert_eq!(&synced.assignment[..], b"one");
    let synced = broker.answer::<SyncGroupRequest>(5, waiting).expect("the leader has assigned");
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"two"[..]));
    (first, second)
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let mut broker = Broker::new();
    let (first, second) = group_of_two(&mut broker);
    assert_eq!(broker.heartbeat(2, &first), 0);
    assert_eq!(broker.heartbeat(2, &second), 0);
    assert_eq!(broker.heartbeat(1, &second), IllegalGeneration.code());
    assert_eq!(broker.heartbeat(2, "nobody"), UnknownMemberId.code());
}

#[test]
fn a_member_id_is_required_from_version_4_on_and_never_given_twice() {
    let mut broker = Broker::new();
    let old = joined(&broker.join(3, "", None, &["range"]), 3);
    assert_eq!((old.error_code, old.generation_id), (0, 1));
    let (id, _) = broker.join_new(&["range"]);
    assert_ne!(*old.member_id, *id);
    broker.restart();
    let next = broker.ask(9, join_request("", None, &["range"]));
    assert_eq!(next.error_code, MemberIdRequired.code());
    assert_ne!(*next.member_id, *id);
    let unknown = joined(&broker.join(9, "made-up", None, &["range"]), 9);
    assert_eq!(unknown.error_code, UnknownMemberId.code());
}

#[test]
fn every_version_of_an_answer_fits_its_form() {
    for version in 0..=9 {
        let mut broker = Broker::new();
        let mut answer = joined(&broker.join(version, "", None, &["range"]), version);
        if version >= 4 {
            assert_eq!(answer.error_code, MemberIdRequired.code());
            let handled = broker.join(version, &answer.member_id, None, &["range"]);
            answer = joined(&handled, version);
        }
        assert_eq!((answer.error_code, answer.generation_id), (0, 1));
        let id = answer.member_id.to_string();
        let synced = broker.ask(version.min(5), sync_request(1, &id, &[(&id, "all")]));
        assert_eq!(&synced.assignment[..], b"all");
        let leave = LeaveGroupRequest::default().with_group_id(GroupId(text("g")));
        let leave = match version {
            0..=2 => leave.with_member_id(text(&id)),
            _ => leave.with_members(vec![MemberIdentity::default().with_member_id(text(&id))]),
        };
        let left = broker.ask(version.min(5), leave.clone());
        assert_eq!(left.error_code, 0);
        let again = broker.ask(version.min(5), leave);
        let error = match version {
            0..=2 => again.error_code,
            _ => again.members[0].error_code,
        };
        assert_eq!(error, UnknownMemberId.code(), "version {version}");
    }
}

#[test]
fn the_protocol_with_the_most_votes_that_all_support_wins() {
    let mut broker = Broker::new();
    let (first, _) = broker.join_new(&["sticky", "range"]);
    let (_, second) = broker.join_new(&["range", "sticky"]);
    let (_, third) = broker.join_new(&["range", "other", "sticky"]);
    let led = joined(&broker.join(9, &first, None, &["sticky", "range"]), 9);
    assert_eq!(led.protocol_name.as_deref(), Some("range"));
    for handled in [second, third] {
        let answer = broker.answer::<JoinGroupRequest>(9, waits(&handled)).unwrap();
        assert_eq!(answer.protocol_name.as_deref(), Some("range"));
    }
    let stranger = broker.ask(9, join_request("", None, &["other"]));
    assert_eq!(stranger.error_code, InconsistentGroupProtocol.code());
}

#[test]
fn a_member_that_does_not_join_in_time_is_left_behind() {
    let mut broker = Broker::new();
    let (first, second) = group_of_two(&mut broker);
    let rejoin = waits(&broker.join(9, &first, None, &["range", "new"]));
    for _ in 0..11 {
        broker.pass(5_000);
        let _still_there = broker.heartbeat(2, &second);
    }
    assert!(broker.answer::<JoinGroupRequest>(9, rejoin).is_none(), "the second may still come");
    broker.pass(5_000);
    let answer = broker.answer::<JoinGroupRequest>(9, rejoin).unwrap();
    assert_eq!((answer.generation_id, answer.members.len()), (3, 1));
    assert_eq!(broker.heartbeat(2, &second), UnknownMemberId.code());
}

#[test]
fn a_silent_member_loses_its_place_after_its_session() {
    let mut broker = Broker::new();
    let (first, second) = group_of_two(&mut broker);
    broker.pass(9_000);
    assert_eq!(broker.heartbeat(2, &first), 0);
    broker.pass(1_000);
    assert_eq!(broker.heartbeat(2, &first), RebalanceInProgress.code());
    assert_eq!(broker.heartbeat(2, &second), UnknownMemberId.code());
    broker.pass(11_000);
    assert_eq!(broker.engine.groups().members("g"), Some((GroupState::Empty, 3, vec![])));
}

#[test]
fn members_that_never_ask_for_their_assignment_are_removed() {
    let mut broker = Broker::new();
    let (id, _) = broker.join_new(&["range"]);
    for _ in 0..11 {
        broker.pass(5_000);
        assert_eq!(broker.heartbeat(1, &id), 0);
    }
    broker.pass(5_000);
    assert_eq!(broker.heartbeat(1, &id), UnknownMemberId.code());
}

#[test]
fn an_abandoned_request_does_not_hold_the_group_up() {
    let mut broker = Broker::new();
    let first = broker.group_of_one();
    let (second, handled) = broker.join_new(&["range"]);
    broker.engine.abandon(waits(&handled));
    let led = joined(&broker.join(9, &first, None, &["range"]), 9);
    assert_eq!((led.generation_id, led.members.len()), (2, 2), "Kafka does not see it either");
    let synced = broker.ask(5, sync_request(2, &first, &[(&first, "one"), (&second, "two")]));
    assert_eq!(synced.error_code, 0);
    for _ in 0..12 {
        broker.pass(1_000);
        let _state = broker.heartbeat(2, &first);
    }
    let led = joined(&broker.join(9, &first, None, &["range"]), 9);
    assert_eq!((led.generation_id, led.members.len()), (3, 1));
}

#[test]
fn the_first_members_wait_for_each_other_if_told_to() {
    let config =
        EngineConfig { group_initial_rebalance_delay_ms: 3_000, ..EngineConfig::default() };
    let mut broker = Broker::with(config);
    let (_, first) = broker.join_new(&["range"]);
    broker.pass(2_000);
    let (_, second) = broker.join_new(&["range"]);
    broker.pass(3_999);
    assert!(broker.answer::<JoinGroupRequest>(9, waits(&first)).is_none(), "one more came");
    broker.pass(1);
    let first = broker.answer::<JoinGroupRequest>(9, waits(&first)).unwrap();
    let second = broker.answer::<JoinGroupRequest>(9, waits(&second)).unwrap();
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!(first.members.len() + second.members.len(), 2);
}

#[test]
fn a_member_that_leaves_makes_the_others_join_again() {
    let mut broker = Broker::new();
    let (first, second) = group_of_two(&mut broker);
    let leave = LeaveGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_members(vec![MemberIdentity::default().with_member_id(text(&first))]);
    assert_eq!(broker.ask(5, leave).members[0].error_code, 0);
    assert_eq!(broker.heartbeat(2, &second), RebalanceInProgress.code());
    let led = joined(&broker.join(9, &second, None, &["range"]), 9);
    assert_eq!((led.generation_id, &*led.leader), (3, &*second));
}

#[test]
fn a_kicked_member_is_unknown_and_its_group_rebalances() {
    let mut broker = Broker::new();
    let (first, second) = group_of_two(&mut broker);
    assert!(broker.engine.kick_member(broker.now, "g", &second));
    assert!(!broker.engine.kick_member(broker.now, "g", &second));
    assert_eq!(broker.heartbeat(2, &first), RebalanceInProgress.code());
    assert_eq!(broker.heartbeat(2, &second), UnknownMemberId.code());
}

#[test]
fn sessions_outside_the_allowed_range_are_refused() {
    let mut broker = Broker::new();
    for timeout in [5_999, 30 * 60_000 + 1] {
        let request = join_request("", None, &["range"]).with_session_timeout_ms(timeout);
        assert_eq!(broker.ask(9, request).error_code, InvalidSessionTimeout.code());
    }
}

#[test]
fn a_group_goes_only_where_the_table_says() {
    use GroupState::*;
    let allowed = [
        (Empty, PreparingRebalance),
        (Stable, PreparingRebalance),
        (CompletingRebalance, PreparingRebalance),
        (PreparingRebalance, CompletingRebalance),
        (PreparingRebalance, Empty),
        (CompletingRebalance, Stable),
    ];
    for from in GroupState::ALL {
        for to in GroupState::ALL {
            assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from:?} to {to:?}");
        }
    }
}
