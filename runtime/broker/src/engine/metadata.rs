//! Metadata and DescribeCluster: the topics, and the one node that has them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, MetadataRequest, MetadataResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::topics::check_name;
use super::{Engine, Handled, Millis};
use crate::log::{LEADER_EPOCH, Topic};

/// A bit for each operation that a client may do: everything, there is no security.
const TOPIC_OPERATIONS: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
const CLUSTER_OPERATIONS: i32 = bits(&[5, 7, 8, 9, 10, 11, 12]);
/// Nobody asked for them.
const NOT_ASKED: i32 = i32::MIN;
/// From this version on a topic may go without a name in an answer.
const NULLABLE_NAME: i16 = 12;

const fn bits(operations: &[u8]) -> i32 {
    let mut bits = 0;
    let mut at = 0;
    while at < operations.len() {
        bits |= 1 << operations[at];
        at += 1;
    }
    bits
}

impl Engine {
    pub(super) fn metadata(
        &mut self,
        now: Millis,
        version: i16,
        request: &MetadataRequest,
    ) -> Handled {
        let config = &self.config;
        let broker = MetadataResponseBroker::default()
            .with_node_id(config.node_id.into())
            .with_host(StrBytes::from_string(config.host.clone()))
            .with_port(i32::from(config.port));
        let response = MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_cluster_id(Some(StrBytes::from_string(config.cluster_id.clone())))
            .with_controller_id(config.node_id.into())
            .with_cluster_authorized_operations(operations(
                request.include_cluster_authorized_operations,
                CLUSTER_OPERATIONS,
            ));
        let wants_operations = request.include_topic_authorized_operations;
        let asked = request.topics.as_ref().filter(|asked| version > 0 || !asked.is_empty());
        let topics = match asked {
            None => {
                let all = self.topics.iter();
                all.map(|(name, topic)| self.described(name, topic, wants_operations)).collect()
            }
            Some(asked) => {
                let creates = request.allow_auto_topic_creation || version < 4;
                let creates = creates && self.config.auto_create_topics;
                let topics = asked.iter();
                topics
                    .map(|asked| self.topic(now, version, asked, (creates, wants_operations)))
                    .collect()
            }
        };
        Handled::answer(response.with_topics(topics))
    }

    fn topic(
        &mut self,
        now: Millis,
        version: i16,
        asked: &MetadataRequestTopic,
        (creates, wants_operations): (bool, bool),
    ) -> MetadataResponseTopic {
        let answer = MetadataResponseTopic::default()
            .with_topic_authorized_operations(operations(wants_operations, TOPIC_OPERATIONS));
        let Some(name) = &asked.name else {
            if let Some(name) = self.topics.name_of(asked.topic_id)
                && let Some(topic) = self.topics.get(name)
            {
                return self.described(name, topic, wants_operations);
            }
            let unnamed = (version < NULLABLE_NAME).then(Default::default);
            let error = ResponseError::UnknownTopicId.code();
            return answer.with_error_code(error).with_name(unnamed).with_topic_id(asked.topic_id);
        };
        let answer = answer.with_name(Some(name.clone())).with_topic_id(Uuid::nil());
        if self.topics.get(name).is_none() {
            if check_name(name).is_err() {
                return answer.with_error_code(ResponseError::InvalidTopicException.code());
            }
            if !creates {
                return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
            }
            let partitions = self.config.default_partitions;
            let (mut context, topics, _, _) = self.parts(now);
            topics.create(&mut context, name, partitions, Default::default());
        }
        match self.topics.get(name) {
            Some(topic) => self.described(name, topic, wants_operations),
            None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
        }
    }

    fn described(&self, name: &str, topic: &Topic, operations: bool) -> MetadataResponseTopic {
        let node = self.config.node_id;
        let partitions = (0..topic.partition_count()).map(|index| {
            MetadataResponsePartition::default()
                .with_partition_index(index)
                .with_leader_id(node.into())
                .with_leader_epoch(LEADER_EPOCH)
                .with_replica_nodes(vec![node.into()])
                .with_isr_nodes(vec![node.into()])
        });
        MetadataResponseTopic::default()
            .with_name(Some(StrBytes::from_string(name.to_owned()).into()))
            .with_topic_id(topic.id())
            .with_partitions(partitions.collect())
            .with_topic_authorized_operations(self::operations(operations, TOPIC_OPERATIONS))
    }

    pub(super) fn describe_cluster(&self, request: &DescribeClusterRequest) -> Handled {
        let config = &self.config;
        let cluster_id = StrBytes::from_string(config.cluster_id.clone());
        let response = DescribeClusterResponse::default().with_cluster_id(cluster_id);
        let response = response.with_endpoint_type(request.endpoint_type);
        if request.endpoint_type != 1 {
            let error = ResponseError::MismatchedEndpointType;
            let message = StrBytes::from_static_str("this is the endpoint of a broker");
            let response = response.with_error_code(error.code());
            return Handled::answer(response.with_error_message(Some(message)));
        }
        let broker = DescribeClusterBroker::default()
            .with_broker_id(config.node_id.into())
            .with_host(StrBytes::from_string(config.host.clone()))
            .with_port(i32::from(config.port));
        let operations =
            operations(request.include_cluster_authorized_operations, CLUSTER_OPERATIONS);
        let response = response.with_controller_id(config.node_id.into());
        let response = response.with_brokers(vec![broker]);
        Handled::answer(response.with_cluster_authorized_operations(operations))
    }
}

fn operations(asked: bool, bits: i32) -> i32 {
    if asked { bits } else { NOT_ASKED }
}
