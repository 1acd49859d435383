//! The range assignor, and the bytes that members tell each other through the broker.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tidemill_core::record::{Partition, TopicPartition};

use crate::client::embedded::requests::{by_topic, text, topic_name};

/// A member as the leader sees it.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) id: StrBytes,
    instance: Option<StrBytes>,
    pub(super) topics: Vec<String>,
}

impl Candidate {
    /// Reads what a member told when it joined; `None` if it speaks another language.
    pub(super) fn new(member: &JoinGroupResponseMember) -> Option<Self> {
        let mut bytes = member.metadata.clone();
        let version = (bytes.remaining() >= 2).then(|| bytes.get_i16())?;
        let subscription = ConsumerProtocolSubscription::decode(&mut bytes, version.min(3)).ok()?;
        let topics = subscription.topics.iter().map(ToString::to_string).collect();
        let instance = member.group_instance_id.clone();
        Some(Self { id: member.member_id.clone(), instance, topics })
    }
}

/// Writes what a member wants.
pub(super) fn subscription(topics: &[String]) -> Bytes {
    let topics = topics.iter().map(|topic| text(topic)).collect();
    let subscription = ConsumerProtocolSubscription::default().with_topics(topics);
    versioned(0, &subscription)
}

/// Reads what the leader gave; no bytes are an empty assignment.
pub(super) fn assignment(mut bytes: Bytes) -> Option<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let version = (bytes.remaining() >= 2).then(|| bytes.get_i16())?;
    let assignment = ConsumerProtocolAssignment::decode(&mut bytes, version.min(3)).ok()?;
    let mut partitions = Vec::new();
    for topic in assignment.assigned_partitions {
        let name: std::sync::Arc<str> = topic.topic.as_str().into();
        let of = |number| TopicPartition::new(std::sync::Arc::clone(&name), Partition(number));
        partitions.extend(topic.partitions.into_iter().map(of));
    }
    partitions.sort();
    Some(partitions)
}

/// Gives each topic's partitions out in contiguous ranges, the first members one more if there are
/// leftovers; members in the order of their instance ids, or else of their ids, as librdkafka has
/// them. Equal counts of equal subscriptions give co-partitioned topics to one member.
pub(super) fn range(
    candidates: &mut [Candidate],
    counts: &BTreeMap<String, i32>,
) -> Vec<(StrBytes, Bytes)> {
    let all_static = candidates.iter().all(|candidate| candidate.instance.is_some());
    candidates.sort_by_key(|candidate| {
        let instance = candidate.instance.as_ref().filter(|_| all_static);
        instance.unwrap_or(&candidate.id).to_string()
    });
    let mut given = vec![Vec::new(); candidates.len()];
    for (topic, count) in counts {
        let wants = |candidate: &Candidate| candidate.topics.contains(topic);
        let eligible: Vec<_> =
            (0..candidates.len()).filter(|one| wants(&candidates[*one])).collect();
        let Ok(members) = i32::try_from(eligible.len()) else { continue };
        if members == 0 {
            continue;
        }
        let (each, leftovers) = (count / members, count % members);
        let mut next = 0;
        for (number, index) in (0..).zip(eligible) {
            let share = each + i32::from(number < leftovers);
            let of = |partition| TopicPartition::new(topic.as_str(), Partition(partition));
            given[index].extend((next..next + share).map(of));
            next += share;
        }
    }
    let ids = candidates.iter().map(|candidate| candidate.id.clone());
    ids.zip(given.iter().map(|partitions| encode_assignment(partitions))).collect()
}

fn encode_assignment(partitions: &[TopicPartition]) -> Bytes {
    let topics = by_topic(partitions.iter().map(|partition| (partition, ())));
    let topics = topics.into_iter().map(|(name, numbers)| {
        let numbers = numbers.into_iter().map(|(number, ())| number).collect();
        let topic = consumer_protocol_assignment::TopicPartition::default();
        topic.with_topic(topic_name(name)).with_partitions(numbers)
    });
    let assignment =
        ConsumerProtocolAssignment::default().with_assigned_partitions(topics.collect());
    versioned(0, &assignment)
}

fn versioned(version: i16, message: &impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    let encoded = message.encode(&mut bytes, version);
    debug_assert!(encoded.is_ok(), "version 0 takes every value");
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: &str, instance: Option<&str>, topics: &[&str]) -> Candidate {
        let topics: Vec<_> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let member = JoinGroupResponseMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(text))
            .with_metadata(subscription(&topics));
        Candidate::new(&member).expect("it is our own language")
    }

    fn given(candidates: &mut [Candidate], counts: &[(&str, i32)]) -> Vec<(String, Vec<String>)> {
        let counts = counts.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect();
        let given = range(candidates, &counts).into_iter();
        let read = |bytes| assignment(bytes).expect("it is our own language");
        given
            .map(|(id, bytes)| {
                (id.to_string(), read(bytes).iter().map(ToString::to_string).collect())
            })
            .collect()
    }

    fn is(id: &str, partitions: &[&str]) -> (String, Vec<String>) {
        (id.to_owned(), partitions.iter().map(|one| (*one).to_owned()).collect())
    }

    #[test]
    fn partitions_with_the_same_number_go_to_one_member() {
        let both = ["in", "table"];
        let mut members = [candidate("b", None, &both), candidate("a", None, &both)];
        assert_eq!(
            given(&mut members, &[("in", 3), ("table", 3)]),
            [is("a", &["in-0", "in-1", "table-0", "table-1"]), is("b", &["in-2", "table-2"]),]
        );
    }

    #[test]
    fn instance_ids_decide_the_order_and_topics_who_takes_part() {
        let mut members = [
            candidate("a", Some("worker-1"), &["in"]),
            candidate("b", Some("worker-0"), &["in", "other"]),
        ];
        assert_eq!(
            given(&mut members, &[("in", 1), ("other", 2)]),
            [is("b", &["in-0", "other-0", "other-1"]), is("a", &[])]
        );
    }

    #[test]
    fn nothing_is_an_assignment_and_rubbish_is_none() {
        assert_eq!(assignment(Bytes::new()), Some(Vec::new()));
        assert_eq!(assignment(Bytes::from_static(b"\0")), None);
    }
}
