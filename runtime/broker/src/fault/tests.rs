//! Plans: what they match, count, hold and refuse.

use bytes::BytesMut;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiKey, EndTxnRequest, FetchRequest, GroupId, HeartbeatRequest,
    ProduceRequest, RequestKind, ResponseKind, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;

use super::{Action, Api, Decision, Fate, Faults, Hook, Intensity, ResponseError, Rule, refuse};
use crate::engine::{Call, MarkerTarget, Millis};
use crate::log::Topics;

fn call(request: impl Into<RequestKind>) -> Call {
    Call {
        connection: 7,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        version: 0,
        request: request.into(),
    }
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn end(id: &str) -> Call {
    call(EndTxnRequest::default().with_transactional_id(TransactionalId(text(id))))
}

fn begin(id: &str, topic: &str, partition: i32) -> Call {
    let topic = AddPartitionsToTxnTopic::default().with_name(TopicName(text(topic)));
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(TransactionalId(text(id)))
        .with_v3_and_below_topics(vec![topic.with_partitions(vec![partition])]);
    call(request)
}

fn produce(topic: &str, partition: i32) -> Call {
    let data = PartitionProduceData::default().with_index(partition);
    let topic = TopicProduceData::default().with_name(TopicName(text(topic)));
    let topics = vec![topic.with_partition_data(vec![data])];
    let mut call = call(ProduceRequest::default().with_acks(-1).with_topic_data(topics));
    call.version = 7;
    call
}

fn decide(faults: &mut Faults, now: Millis, call: &Call) -> Decision {
    faults.decide(now, call, &Topics::default())
}

fn is_perform(decision: &Decision) -> bool {
    matches!(decision.fate, Fate::Perform)
}

#[test]
fn only_the_nth_call_of_the_api_meets_its_fault() {
    let mut faults = Faults::plan().on(Api::EndTxn).nth(2).then(Action::DropReply);
    assert!(is_perform(&decide(&mut faults, 0, &end("a"))));
    assert!(is_perform(&decide(&mut faults, 0, &begin("a", "t", 0))));
    assert!(matches!(decide(&mut faults, 0, &end("a")).fate, Fate::PerformUntold));
    assert!(is_perform(&decide(&mut faults, 0, &end("a"))));
    let fired: Vec<_> = faults.fired().map(|fired| (fired.api, fired.action)).collect();
    assert_eq!(fired, [(Some(Api::EndTxn), Action::DropReply)]);
}

#[test]
fn a_rule_matches_by_topic_partition_and_transactional_id() {
    let mut faults = Faults::plan()
        .on(Api::Produce)
        .topic("orders")
        .partition(1)
        .then(Action::Reset)
        .on(Api::EndTxn)
        .transactional_id("bank")
        .then(Action::ResetAfter);
    assert!(is_perform(&decide(&mut faults, 0, &produce("orders", 0))));
    assert!(is_perform(&decide(&mut faults, 0, &produce("other", 1))));
    assert!(matches!(decide(&mut faults, 0, &produce("orders", 1)).fate, Fate::Reset));
    assert!(is_perform(&decide(&mut faults, 0, &end("other"))));
    assert!(matches!(decide(&mut faults, 0, &end("bank")).fate, Fate::PerformAndReset));
}

#[test]
fn a_held_end_is_delivered_after_the_next_begin_of_the_same_id_only() {
    let mut faults = Faults::plan().on(Api::EndTxn).nth(1).then(Action::HoldUntilNextBegin);
    assert!(matches!(decide(&mut faults, 0, &end("a")).fate, Fate::Lose));
    assert!(is_perform(&decide(&mut faults, 0, &end("a"))), "the client tries again");
    assert!(decide(&mut faults, 0, &begin("b", "t", 0)).deliver.is_empty());
    let decision = decide(&mut faults, 0, &begin("a", "t", 0));
    let [Call { request: RequestKind::EndTxn(held), .. }] = &decision.deliver[..] else {
        panic!("{decision:?}");
    };
    assert_eq!(held.transactional_id.as_str(), "a");
    assert!(decide(&mut faults, 0, &begin("a", "t", 0)).deliver.is_empty(), "once");
}

#[test]
fn a_rule_that_never_fired_is_seen() {
    let mut faults = Faults::plan()
        .on(Api::EndTxn)
        .then(Action::DelayRequest(5))
        .on(Api::EndTxn)
        .nth(9)
        .then(Action::DropReply);
    assert!(matches!(decide(&mut faults, 100, &end("a")).fate, Fate::Delay(105)));
    let unfired: Vec<_> = faults.unfired().iter().map(|rule| rule.to_string()).collect();
    assert_eq!(unfired, ["api=EndTxn nth=9 then=drop-reply"]);
    faults.clear();
    assert!(faults.is_empty());
    assert_eq!(faults.fired().count(), 1, "what happened stays known");
}

#[test]
fn hooks_act_on_the_partitions_and_members_of_their_call() {
    let mut faults = Faults::plan()
        .on(Api::AddPartitionsToTxn)
        .partition(3)
        .then(Action::HoldMarkers(50))
        .on(Api::Heartbeat)
        .then(Action::KickMember);
    let decision = decide(&mut faults, 10, &begin("a", "t", 3));
    let target = MarkerTarget::Partition { topic: "t".to_owned(), partition: 3 };
    assert_eq!(decision.hooks, [Hook::HoldMarkers { target, until: 60 }]);
    assert!(is_perform(&decision));
    assert!(decide(&mut faults, 10, &begin("a", "t", 2)).hooks.is_empty());
    let group = GroupId(text("g"));
    let beat = HeartbeatRequest::default().with_group_id(group).with_member_id(text("m"));
    let kick = Hook::KickMember { group: "g".to_owned(), member_id: "m".to_owned() };
    assert_eq!(decide(&mut faults, 10, &call(beat)).hooks, [kick]);
}

#[test]
fn a_refused_produce_without_acknowledgement_ends_its_connection() {
    let error = ResponseError::NotLeaderOrFollower;
    let mut faults = Faults::plan().on_any().then(Action::Refuse(error));
    let mut call = produce("t", 0);
    assert!(matches!(decide(&mut faults, 0, &call).fate, Fate::Answer(_)));
    let RequestKind::Produce(request) = &mut call.request else { unreachable!() };
    request.acks = 0;
    assert!(matches!(decide(&mut faults, 0, &call).fate, Fate::Reset));
}

#[test]
fn a_seed_decides_everything() {
    let run = |seed| {
        let mut faults = Faults::seeded(seed, Intensity::Fierce);
        for number in 0..3_000 {
            decide(&mut faults, number, &end("a"));
            decide(&mut faults, number, &begin("a", "t", 0));
            decide(&mut faults, number, &produce("t", 0));
        }
        faults.fired().cloned().collect::<Vec<_>>()
    };
    let first = run(1);
    assert!(first.len() > 100, "{} faults", first.len());
    assert_eq!(first, run(1));
    assert_ne!(first, run(2));
}

#[test]
fn rules_are_written_as_they_are_read() {
    let texts = [
        "then=reset",
        "api=EndTxn txn=bank nth=2 then=drop-reply",
        "api=Produce partition=3 topic=orders client=c one-in=20 then=fail-writes:500",
        "api=Heartbeat group=g from=4 then=refuse:RebalanceInProgress",
        "first=3 then=hold-until-next-begin",
    ];
    for text in texts {
        let rule: Rule = text.parse().unwrap();
        assert_eq!(rule.to_string(), text);
    }
    let kafka: Rule = "then=refuse:NOT_COORDINATOR".parse().unwrap();
    assert_eq!(kafka.action, Action::Refuse(ResponseError::NotCoordinator));
    let by_code: Rule = "then=refuse:16".parse().unwrap();
    assert_eq!(by_code, kafka);
}

#[test]
fn a_text_that_is_no_rule_is_refused_with_its_word() {
    let refused = |text: &str| text.parse::<Rule>().unwrap_err().to_string();
    assert!(refused("nth=2").contains("add then=ACTION"));
    assert!(refused("reset").contains("'reset' is not of the form"));
    assert!(refused("apo=EndTxn then=reset").contains("'apo' is not part of a rule"));
    assert!(refused("api=EndTransaction then=reset").contains("'EndTransaction'"));
    assert!(refused("nth=x then=reset").contains("a number"));
    assert!(refused("then=explode").contains("drop-reply"));
}

/// A request of every API with something in it to be refused.
fn requests() -> Vec<(ApiKey, RequestKind)> {
    let mut empty = BytesMut::new();
    let mut requests = Vec::new();
    for key in 0..128 {
        let Ok(api) = ApiKey::try_from(key) else { continue };
        // zeros are null or empty in every field: an empty request of that API
        empty.clear();
        empty.resize(64, 0);
        let version = api.valid_versions().min;
        let request = RequestKind::decode(api, &mut empty.clone().freeze(), version);
        requests.extend(request.map(|request| (api, request)));
    }
    let topic = FetchTopic::default().with_topic(TopicName(text("t")));
    let topics = vec![topic.with_partitions(vec![FetchPartition::default()])];
    requests.push((ApiKey::Fetch, FetchRequest::default().with_topics(topics).into()));
    requests.push((ApiKey::Produce, produce("t", 0).request));
    requests.push((ApiKey::AddPartitionsToTxn, begin("a", "t", 0).request));
    requests
}

#[test]
fn every_refusal_can_be_sent_and_read_in_every_version() {
    let mut refused = 0;
    for (api, request) in requests() {
        let versions = api.valid_versions();
        for version in versions.min..=versions.max {
            let error = ResponseError::CoordinatorNotAvailable;
            let Some(answer) = refuse(&request, version, error) else { continue };
            let mut bytes = BytesMut::new();
            // fields that came with newer requests can't be told to older clients
            let by_id = matches!((api, version), (ApiKey::Produce, 13) | (ApiKey::Fetch, 13..));
            if let Err(reason) = answer.encode(&mut bytes, version) {
                assert!(by_id || !is_offered(api, version), "{api:?} {version}: {reason}");
                continue;
            }
            let mut bytes = bytes.freeze();
            let read = ResponseKind::decode(api, &mut bytes, version);
            read.unwrap_or_else(|reason| panic!("{api:?} {version}: {reason}"));
            assert!(bytes.is_empty(), "{api:?} {version}");
            refused += 1;
        }
    }
    assert!(refused > 100, "only {refused} refusals were made");
}

/// The codecs' table of versions is ahead of some messages.
fn is_offered(api: ApiKey, version: i16) -> bool {
    !matches!(
        (api, version),
        (ApiKey::OffsetCommit | ApiKey::OffsetFetch, 10..) | (ApiKey::InitProducerId, 6..)
    )
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(
        text in ".{0,60}",
        pairs in "([a-z-]{1,9}=[a-z0-9:]{0,9} ?){0,5}",
    ) {
        let _either = text.parse::<Rule>();
        let _either = pairs.parse::<Rule>();
    }
}
