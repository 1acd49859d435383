//! CreateTopics, DeleteTopics and CreatePartitions.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::configs::{described, source_of};
use super::{Engine, Handled, Millis};
use crate::log::config;

/// Why something can't be done, as code and text.
pub(super) type Fault = (ResponseError, String);

/// More partitions than this in one topic are a mistake here.
const PARTITIONS_MAX: i32 = 10_000;
const NAME_MAX: usize = 249;

/// Checks a topic's name as `org.apache.kafka.common.internals.Topic` does.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return Err("the name of a topic is empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("a topic can't be named {name}"));
    }
    if name.len() > NAME_MAX {
        return Err(format!("a topic's name has {} characters, at most {NAME_MAX}", name.len()));
    }
    match name.chars().find(|c| !legal(*c)) {
        Some(c) => {
            Err(format!("a topic's name has {c:?}, expected letters, digits, '.', '_', '-'"))
        }
        None => Ok(()),
    }
}

impl Engine {
    pub(super) fn create_topics(&mut self, now: Millis, request: CreateTopicsRequest) -> Handled {
        let mut seen = BTreeSet::new();
        let names = request.topics.iter().map(|topic| topic.name.clone());
        let twice: BTreeSet<TopicName> = names.filter(|name| !seen.insert(name.clone())).collect();
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let answer = CreatableTopicResult::default().with_name(topic.name.clone());
            let done = if twice.contains(&topic.name) {
                Err((ResponseError::InvalidRequest, "the topic is named twice".to_owned()))
            } else {
                self.create_topic(now, &topic, request.validate_only)
            };
            results.push(match done {
                Ok((partitions, configs)) => {
                    let id = self.topics.get(&topic.name).map(|topic| topic.id());
                    answer
                        .with_topic_id(id.unwrap_or_default())
                        .with_num_partitions(partitions)
                        .with_replication_factor(1)
                        .with_configs(Some(shown(&configs)))
                }
                Err((error, message)) => answer
                    .with_error_code(error.code())
                    .with_error_message(Some(StrBytes::from_string(message)))
                    .with_num_partitions(-1)
                    .with_replication_factor(-1),
            });
        }
        Handled::answer(CreateTopicsResponse::default().with_topics(results))
    }

    fn create_topic(
        &mut self,
        now: Millis,
        topic: &CreatableTopic,
        validate_only: bool,
    ) -> Result<(i32, BTreeMap<String, String>), Fault> {
        let name: &str = &topic.name;
        check_name(name).map_err(|why| (ResponseError::InvalidTopicException, why))?;
        if self.topics.get(name).is_some() {
            let message = format!("Topic '{name}' already exists.");
            return Err((ResponseError::TopicAlreadyExists, message));
        }
        // metrics of Apache Kafka can't tell '.' from '_'
        let alike = |other: &&str| other.replace('.', "_") == name.replace('.', "_");
        if let Some(other) = self.topics.names().find(alike) {
            let message = format!("Topic '{name}' collides with existing topic: {other}");
            return Err((ResponseError::InvalidTopicException, message));
        }
        let partitions = self.partitions_of(topic)?;
        let mut configs = BTreeMap::new();
        for config in &topic.configs {
            let name = config.name.as_str();
            let invalid = |why| (ResponseError::InvalidConfig, why);
            let Some(value) = config.value.as_ref() else {
                return Err(invalid(format!("Null value not supported for topic configs: {name}")));
            };
            config::check(name, value).map_err(invalid)?;
            configs.insert(name.to_owned(), value.as_str().trim().to_owned());
        }
        if !validate_only {
            let (mut context, topics, _, _) = self.parts(now);
            topics.create(&mut context, name, partitions, configs.clone());
        }
        Ok((partitions, configs))
    }

    fn partitions_of(&self, topic: &CreatableTopic) -> Result<i32, Fault> {
        let (count, replicas) = (topic.num_partitions, topic.replication_factor);
        if !topic.assignments.is_empty() {
            if count != -1 || replicas != -1 {
                let message = "with an assignment, partitions and replication factor are -1";
                return Err((ResponseError::InvalidRequest, message.to_owned()));
            }
            let mut indexes: Vec<i32> =
                topic.assignments.iter().map(|assignment| assignment.partition_index).collect();
            indexes.sort_unstable();
            if !indexes.iter().copied().eq((0..).take(indexes.len())) {
                let message = "the assigned partitions are not numbered from 0 without gaps";
                return Err((ResponseError::InvalidReplicaAssignment, message.to_owned()));
            }
            for assignment in &topic.assignments {
                self.check_assignment(&assignment.broker_ids)?;
            }
            return Ok(i32::try_from(indexes.len()).unwrap_or(i32::MAX));
        }
        if replicas != -1 && replicas != 1 {
            let message = format!("replication factor is {replicas}, there is 1 broker");
            return Err((ResponseError::InvalidReplicationFactor, message));
        }
        match count {
            -1 => Ok(self.config.default_partitions),
            1..=PARTITIONS_MAX => Ok(count),
            _ => {
                let message = format!("{count} partitions, expected 1 to {PARTITIONS_MAX}, or -1");
                Err((ResponseError::InvalidPartitions, message))
            }
        }
    }

    fn check_assignment(&self, brokers: &[BrokerId]) -> Result<(), Fault> {
        let node = self.config.node_id;
        if brokers.len() == 1 && brokers[0].0 == node {
            return Ok(());
        }
        let message = format!("the only broker is {node}, {brokers:?} were assigned");
        Err((ResponseError::InvalidReplicaAssignment, message))
    }

    pub(super) fn delete_topics(
        &mut self,
        now: Millis,
        version: i16,
        request: DeleteTopicsRequest,
    ) -> Handled {
        let states = if version >= 6 {
            request.topics
        } else {
            let names = request.topic_names.into_iter();
            names.map(|name| DeleteTopicState::default().with_name(Some(name))).collect()
        };
        let mut responses = Vec::with_capacity(states.len());
        for state in states {
            let answer = DeletableTopicResult::default();
            let (name, missing) = match state.name {
                Some(name) => (Some(name), ResponseError::UnknownTopicOrPartition),
                None => {
                    let name = self.topics.name_of(state.topic_id).map(str::to_owned);
                    let name = name.map(|name| StrBytes::from_string(name).into());
                    (name, ResponseError::UnknownTopicId)
                }
            };
            let known = name.as_ref().and_then(|name| self.topics.get(name));
            let id = known.map_or(state.topic_id, |topic| topic.id());
            let answer = answer.with_topic_id(id).with_name(name.clone());
            responses.push(match (known.is_some(), &name) {
                (true, Some(name)) => {
                    self.delete_topic(now, name);
                    answer
                }
                _ => answer.with_error_code(missing.code()),
            });
        }
        Handled::answer(DeleteTopicsResponse::default().with_responses(responses))
    }

    fn delete_topic(&mut self, now: Millis, name: &str) {
        let (mut context, topics, groups, _) = self.parts(now);
        topics.delete(&mut context, name);
        groups.topic_deleted(&mut context, name);
    }

    pub(super) fn create_partitions(
        &mut self,
        now: Millis,
        request: CreatePartitionsRequest,
    ) -> Handled {
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let answer = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
            results.push(match self.extend(now, &topic, request.validate_only) {
                Ok(()) => answer,
                Err((error, message)) => answer
                    .with_error_code(error.code())
                    .with_error_message(Some(StrBytes::from_string(message))),
            });
        }
        Handled::answer(CreatePartitionsResponse::default().with_results(results))
    }

    fn extend(
        &mut self,
        now: Millis,
        topic: &CreatePartitionsTopic,
        validate_only: bool,
    ) -> Result<(), Fault> {
        let name: &str = &topic.name;
        let Some(known) = self.topics.partition_count(name) else {
            let message = format!("there is no topic {name}");
            return Err((ResponseError::UnknownTopicOrPartition, message));
        };
        let count = topic.count;
        if count <= known || count > PARTITIONS_MAX {
            let message = format!("the topic has {known} partitions, {count} were asked for");
            return Err((ResponseError::InvalidPartitions, message));
        }
        if let Some(assignments) = &topic.assignments {
            if i32::try_from(assignments.len()) != Ok(count - known) {
                let new = count - known;
                let message = format!("{} assignments for {new} partitions", assignments.len());
                return Err((ResponseError::InvalidReplicaAssignment, message));
            }
            for assignment in assignments {
                self.check_assignment(&assignment.broker_ids)?;
            }
        }
        if !validate_only {
            let (mut context, topics, _, _) = self.parts(now);
            topics.extend(&mut context, name, count);
        }
        Ok(())
    }
}

fn shown(configs: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let shown = config::OPTIONS.iter().map(|option| {
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(option.name))
            .with_value(Some(described(option, configs)))
            .with_config_source(source_of(option, configs))
    });
    shown.collect()
}
