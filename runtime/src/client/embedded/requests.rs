//! What requests of several clients have in common: names, grouping, coordinators.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, ResponseKind, TopicName};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use tidemill_core::record::TopicPartition;

use super::link::{Broken, Link};
use crate::client::kafka::code;

/// Versions of requests: those that librdkafka 2.12 sends, or the newest that names topics.
pub(super) mod version {
    pub(in crate::client::embedded) const PRODUCE: i16 = 9;
    pub(in crate::client::embedded) const FETCH: i16 = 12;
    pub(in crate::client::embedded) const LIST_OFFSETS: i16 = 7;
    pub(in crate::client::embedded) const METADATA: i16 = 9;
    pub(in crate::client::embedded) const OFFSET_COMMIT: i16 = 8;
    pub(in crate::client::embedded) const OFFSET_FETCH: i16 = 7;
    pub(in crate::client::embedded) const FIND_COORDINATOR: i16 = 2;
    pub(in crate::client::embedded) const JOIN_GROUP: i16 = 5;
    pub(in crate::client::embedded) const HEARTBEAT: i16 = 3;
    pub(in crate::client::embedded) const LEAVE_GROUP: i16 = 1;
    pub(in crate::client::embedded) const LEAVE_GROUP_STATIC: i16 = 4;
    pub(in crate::client::embedded) const SYNC_GROUP: i16 = 3;
    pub(in crate::client::embedded) const CREATE_TOPICS: i16 = 4;
    pub(in crate::client::embedded) const DELETE_TOPICS: i16 = 4;
    pub(in crate::client::embedded) const DELETE_RECORDS: i16 = 1;
    pub(in crate::client::embedded) const INIT_PRODUCER_ID: i16 = 4;
    pub(in crate::client::embedded) const ADD_PARTITIONS_TO_TXN: i16 = 0;
    pub(in crate::client::embedded) const ADD_OFFSETS_TO_TXN: i16 = 0;
    pub(in crate::client::embedded) const END_TXN: i16 = 1;
    pub(in crate::client::embedded) const TXN_OFFSET_COMMIT: i16 = 3;
    pub(in crate::client::embedded) const DESCRIBE_CONFIGS: i16 = 1;
}

/// Kinds of coordinators in a `FindCoordinator` request.
pub(super) const GROUP: i8 = 0;
pub(super) const TRANSACTION: i8 = 1;

pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(super) fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

pub(super) fn optional(value: Option<&str>) -> Option<StrBytes> {
    value.map(text)
}

/// Puts what is known of partitions under their topics, in order.
pub(super) fn by_topic<'a, T>(
    items: impl IntoIterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<&'a str, Vec<(i32, T)>> {
    let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (partition, item) in items {
        topics.entry(&partition.topic).or_default().push((partition.partition.0, item));
    }
    topics
}

/// Milliseconds for a field of a request.
pub(super) fn wire_millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// Asks who coordinates a group or a transactional id, waiting until then: a code, 0 if somebody
/// does. There is one broker, so whoever it is, it is the one that was asked.
pub(super) fn find_coordinator(link: &Link, kind: i8, key: &str, until: Duration) -> i32 {
    let request = FindCoordinatorRequest::default().with_key(text(key)).with_key_type(kind);
    match link.call_until(version::FIND_COORDINATOR, request, until) {
        Ok(ResponseKind::FindCoordinator(answer)) => i32::from(answer.error_code),
        Ok(_) => code::FAIL,
        Err(broken) => broken.code(),
    }
}

/// Asks about topics, without creating one.
pub(super) fn metadata(
    link: &Link,
    topics: &[&str],
    timeout: Duration,
) -> Result<MetadataResponse, Broken> {
    let topics =
        topics.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
    let request = MetadataRequest::default()
        .with_topics(Some(topics.collect()))
        .with_allow_auto_topic_creation(false);
    match link.call(version::METADATA, request, timeout)? {
        ResponseKind::Metadata(answer) => Ok(answer),
        _ => Err(Broken::Transport),
    }
}

/// How many partitions each topic has that was asked for: `Err` is the topic's code.
pub(super) fn partition_counts(answer: &MetadataResponse) -> BTreeMap<String, Result<i32, i32>> {
    let topics = answer.topics.iter().filter_map(|topic| Some((topic.name.as_ref()?, topic)));
    topics
        .map(|(name, topic)| {
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            let code = i32::from(topic.error_code);
            (name.to_string(), if code == 0 { Ok(count) } else { Err(code) })
        })
        .collect()
}
