//! What tools ask: lists, descriptions, deletions.

use kafka_protocol::ResponseError::*;
use kafka_protocol::messages::*;

use crate::kit::*;

fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut broker = Broker::new();
    broker.group_of_one();
    let simple = commit_request(-1, "", 1, "").with_group_id(group_id("simple"));
    assert_eq!(broker.ask(9, simple).topics[0].partitions[0].error_code, 0);
    for version in 0..=5 {
        let listed = broker.ask(version, ListGroupsRequest::default()).groups;
        let names: Vec<&str> = listed.iter().map(|group| &**group.group_id).collect();
        assert_eq!(names, ["g", "simple"]);
        let state = if version < 4 { "" } else { "Stable" };
        assert_eq!(&*listed[0].group_state, state);
    }
    let stable = ListGroupsRequest::default().with_states_filter(vec![text("stable")]);
    assert_eq!(broker.ask(5, stable).groups.len(), 1);
    let share = ListGroupsRequest::default().with_types_filter(vec![text("share")]);
    assert_eq!(broker.ask(5, share).groups.len(), 0);
}

#[test]
fn a_group_is_described_with_its_members() {
    let mut broker = Broker::new();
    let id = broker.group_of_one();
    for version in 0..=6 {
        let groups = vec![group_id("g"), group_id("none")];
        let described =
            broker.ask(version, DescribeGroupsRequest::default().with_groups(groups)).groups;
        let group = &described[0];
        assert_eq!((&*group.group_state, &*group.protocol_data), ("Stable", "range"));
        let member = &group.members[0];
        assert_eq!((&*member.member_id, &*member.client_id), (&*id, "client"));
        assert_eq!(&member.member_assignment[..], b"all");
        assert_eq!(&*described[1].group_state, "Dead");
        let error = if version < 6 { 0 } else { GroupIdNotFound.code() };
        assert_eq!(described[1].error_code, error);
    }
}

#[test]
fn only_a_group_without_members_can_be_deleted() {
    let mut broker = Broker::new();
    let id = broker.group_of_one();
    assert_eq!(broker.commit(1, &id, 5), 0);
    let names = vec![group_id("g"), group_id("none")];
    let delete = DeleteGroupsRequest::default().with_groups_names(names);
    let errors = |answer: &DeleteGroupsResponse| -> Vec<i16> {
        answer.results.iter().map(|result| result.error_code).collect()
    };
    let answer = broker.ask(2, delete.clone());
    assert_eq!(errors(&answer), [NonEmptyGroup.code(), GroupIdNotFound.code()]);
    assert!(broker.engine.kick_member(broker.now, "g", &id));
    assert_eq!(broker.committed(true), Ok(5));
    assert_eq!(errors(&broker.ask(2, delete)), [0, GroupIdNotFound.code()]);
    broker.restart();
    assert_eq!(broker.committed(true), Ok(-1));
}

fn delete_offset() -> OffsetDeleteRequest {
    use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let partition = OffsetDeleteRequestPartition::default();
    let topic = OffsetDeleteRequestTopic::default()
        .with_name(TopicName(text("in")))
        .with_partitions(vec![partition]);
    OffsetDeleteRequest::default().with_group_id(group_id("g")).with_topics(vec![topic])
}

#[test]
fn offsets_that_a_member_may_still_read_are_not_deleted() {
    let mut broker = Broker::new();
    assert_eq!(broker.ask(0, delete_offset()).error_code, GroupIdNotFound.code());
    let id = broker.group_of_one();
    assert_eq!(broker.commit(1, &id, 5), 0);
    // the metadata of these members is not a subscription: what they read is unknown
    let answer = broker.ask(0, delete_offset());
    assert_eq!(answer.topics[0].partitions[0].error_code, GroupSubscribedToTopic.code());
    assert!(broker.engine.kick_member(broker.now, "g", &id));
    let answer = broker.ask(0, delete_offset());
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    assert_eq!(broker.committed(true), Ok(-1));
}

#[test]
fn offsets_of_topics_that_no_member_reads_can_be_deleted() {
    for (topic, error) in [("in", GroupSubscribedToTopic.code()), ("out", 0)] {
        let mut subscription = vec![0, 1, 0, 0, 0, 1, 0, u8::try_from(topic.len()).unwrap()];
        subscription.extend(topic.as_bytes());
        subscription.extend([0xff; 4]);
        let mut broker = Broker::new();
        let mut request = join_request("", None, &["range"]);
        request.protocols[0].metadata = subscription.into();
        let id = joined(&broker.send(3, request), 3).member_id.to_string();
        assert_eq!(broker.ask(5, sync_request(1, &id, &[(&id, "all")])).error_code, 0);
        let answer = broker.ask(0, delete_offset());
        assert_eq!(answer.topics[0].partitions[0].error_code, error);
    }
}

#[test]
fn transactions_are_listed_and_described() {
    let mut broker = Broker::new();
    let producer = broker.init("t").unwrap();
    broker.init("u").unwrap();
    assert_eq!(broker.add("t", producer, 1), 0);
    assert_eq!(broker.add_offsets("t", producer), 0);
    let filters = vec![text("Ongoing"), text("Sleeping")];
    let list = ListTransactionsRequest::default().with_state_filters(filters);
    let listed = broker.ask(1, list);
    assert_eq!(listed.unknown_state_filters, [text("Sleeping")]);
    assert_eq!(listed.transaction_states.len(), 1);
    assert_eq!(&*listed.transaction_states[0].transactional_id.0, "t");
    let ids = ["t", "none"].map(|id| TransactionalId(text(id))).to_vec();
    let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let described = broker.ask(0, request).transaction_states;
    let topics = &described[0].topics;
    let names: Vec<&str> = topics.iter().map(|topic| &*topic.topic.0).collect();
    assert_eq!(names, ["__consumer_offsets", "out"]);
    assert_eq!(topics[1].partitions, [1]);
    assert_eq!(described[1].error_code, TransactionalIdNotFound.code());
}

#[test]
fn offsets_of_a_group_without_members_expire() {
    let mut broker = Broker::new();
    let id = broker.group_of_one();
    assert_eq!(broker.commit(1, &id, 5), 0);
    broker.pass(MINUTE);
    broker.pass(7 * 24 * 60 * MINUTE - 20 * MINUTE);
    assert_eq!(broker.committed(true), Ok(5));
    broker.pass(40 * MINUTE);
    assert_eq!(broker.committed(true), Ok(-1));
    assert!(broker.engine.groups().names().next().is_none(), "nothing is left of the group");
}
