//! The administrative client: topics, their configuration, ends of logs, deletion of records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, ListOffsetsRequest, MetadataRequest, RequestKind, ResponseKind,
};
use tidemill_core::record::{Offset, TopicPartition};

use super::Embedded;
use super::link::Link;
use super::options::Options;
use super::requests::{by_topic, partition_counts, text, topic_name, version, wire_millis};
use crate::client::error::ClientError;
use crate::client::kafka::{code, error};
use crate::client::seam::Administer;
use crate::client::types::{
    ClientConfig, Isolation, NewTopic, OffsetSpec, TopicConfig, TopicCreation, TopicDescription,
};

const TOPIC: i8 = 2;

/// A client for administrative requests. Every call waits until the answer or its timeout.
pub(crate) struct Admin {
    link: Link,
}

/// What a broker said of each partition: code and offset.
type Answers = BTreeMap<(String, i32), (i32, i64)>;

impl Admin {
    pub(super) fn new(embedded: &Embedded, config: &ClientConfig) -> Result<Self, ClientError> {
        let options = Options::new(config)?;
        let link = embedded.link(&options.client_id(), options.timing(None), Rc::default());
        Ok(Self { link })
    }

    fn request(
        &self,
        operation: &'static str,
        version: i16,
        request: impl Into<RequestKind>,
        until: Duration,
    ) -> Result<ResponseKind, ClientError> {
        let outcome = self.link.call_until(version, request, until);
        outcome.map_err(|broken| {
            let code = match broken.code() {
                code::TIMED_OUT_QUEUE => code::TIMED_OUT,
                other => other,
            };
            error::from_code(operation, code)
        })
    }

    fn until(&self, timeout: Duration) -> Duration {
        self.link.scheduler().now().saturating_add(timeout)
    }

    fn describe(
        &self,
        operation: &'static str,
        names: &[&str],
        until: Duration,
    ) -> Result<BTreeMap<String, Result<i32, i32>>, ClientError> {
        let topics = names
            .iter()
            .map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name))));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        match self.request(operation, version::METADATA, request, until)? {
            ResponseKind::Metadata(answer) => Ok(partition_counts(&answer)),
            _ => Err(error::from_code(operation, code::FAIL)),
        }
    }

    /// librdkafka asks for the leaders before it asks them: a partition without one is told here.
    fn exist(
        &self,
        operation: &'static str,
        partitions: &[TopicPartition],
        until: Duration,
    ) -> Result<(), ClientError> {
        let names: BTreeSet<&str> = partitions.iter().map(|one| &*one.topic).collect();
        let names: Vec<_> = names.into_iter().collect();
        let counts = self.describe(operation, &names, until)?;
        for partition in partitions {
            let failed = match counts.get(&*partition.topic) {
                Some(Ok(count)) if partition.partition.0 < *count => continue,
                Some(Err(failed)) => *failed,
                _ => code::UNKNOWN_TOPIC_OR_PART,
            };
            return Err(about(operation, failed, &partition.to_string()));
        }
        Ok(())
    }
}

impl Administer for Admin {
    fn topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicDescription>, ClientError> {
        const OPERATION: &str = "describe topics";
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let counts = self.describe(OPERATION, names, self.until(timeout))?;
        let description = |name: &&str| {
            let partitions = match counts.get(*name) {
                Some(Ok(count)) => Some(usize::try_from(*count).unwrap_or(0)),
                Some(Err(code::UNKNOWN_TOPIC_OR_PART)) | None => None,
                Some(Err(failed)) => return Err(about(OPERATION, *failed, name)),
            };
            Ok(TopicDescription { name: (*name).to_owned(), partitions })
        };
        names.iter().map(description).collect()
    }

    fn create_topics(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<(String, TopicCreation)>, ClientError> {
        const OPERATION: &str = "create a topic";
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = topics.iter().map(|topic| {
            let configs = topic.configs.iter().map(|(name, value)| {
                CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
            });
            CreatableTopic::default()
                .with_name(topic_name(&topic.name))
                .with_num_partitions(topic.partitions)
                .with_replication_factor(topic.replication_factor)
                .with_configs(configs.collect())
        });
        let request = CreateTopicsRequest::default()
            .with_topics(wanted.collect())
            .with_timeout_ms(wire_millis(timeout));
        let until = self.until(timeout);
        let answer = self.request(OPERATION, version::CREATE_TOPICS, request, until)?;
        let ResponseKind::CreateTopics(answer) = answer else {
            return Err(error::from_code(OPERATION, code::FAIL));
        };
        let results: BTreeMap<String, _> =
            answer.topics.iter().map(|topic| (topic.name.to_string(), topic)).collect();
        let outcome = |topic: &NewTopic| match results.get(&topic.name) {
            Some(result) => match i32::from(result.error_code) {
                code::NO_ERROR => TopicCreation::Created,
                code::TOPIC_ALREADY_EXISTS => TopicCreation::AlreadyExists,
                failed => {
                    let told = result.error_message.as_ref().map(ToString::to_string);
                    let told = told.unwrap_or_else(|| error::from_code("", failed).message);
                    let message = format!("{}: {told}", topic.name);
                    let severity = code::severity(failed);
                    TopicCreation::Failed(error::make(OPERATION, failed, message, severity))
                }
            },
            None => TopicCreation::Failed(about(OPERATION, code::FAIL, &topic.name)),
        };
        Ok(topics.iter().map(|topic| (topic.name.clone(), outcome(topic))).collect())
    }

    fn topic_configs(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicConfig>, ClientError> {
        const OPERATION: &str = "read a topic's configuration";
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let resources = names.iter().map(|name| {
            let resource = DescribeConfigsResource::default().with_resource_type(TOPIC);
            resource.with_resource_name(text(name)).with_configuration_keys(None)
        });
        let request = DescribeConfigsRequest::default().with_resources(resources.collect());
        let until = self.until(timeout);
        let answer = self.request(OPERATION, version::DESCRIBE_CONFIGS, request, until)?;
        let ResponseKind::DescribeConfigs(answer) = answer else {
            return Err(error::from_code(OPERATION, code::FAIL));
        };
        let mut found = BTreeMap::new();
        for result in answer.results {
            let name = result.resource_name.to_string();
            if result.error_code != 0 {
                return Err(about(OPERATION, i32::from(result.error_code), &name));
            }
            let entries = result
                .configs
                .into_iter()
                .filter_map(|config| Some((config.name.to_string(), config.value?.to_string())));
            found.insert(name, entries.collect::<BTreeMap<_, _>>());
        }
        let configs = names.iter().map(|name| TopicConfig {
            name: (*name).to_owned(),
            entries: found.remove(*name).unwrap_or_default(),
        });
        Ok(configs.collect())
    }

    fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
        const OPERATION: &str = "list offsets";
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let until = self.until(timeout);
        self.exist(OPERATION, partitions, until)?;
        let timestamp = match spec {
            OffsetSpec::Earliest => -2,
            OffsetSpec::Latest => -1,
            OffsetSpec::FromTimestamp(from) => from.0.max(0),
        };
        let topics = by_topic(partitions.iter().map(|partition| (partition, ())));
        let topics = topics.into_iter().map(|(name, numbers)| {
            let partitions = numbers.into_iter().map(|(number, ())| {
                ListOffsetsPartition::default()
                    .with_partition_index(number)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(timestamp)
            });
            ListOffsetsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.collect())
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(isolation == Isolation::ReadCommitted))
            .with_topics(topics.collect());
        let answer = self.request(OPERATION, version::LIST_OFFSETS, request, until)?;
        let ResponseKind::ListOffsets(answer) = answer else {
            return Err(error::from_code(OPERATION, code::FAIL));
        };
        let mut answers = Answers::new();
        for topic in &answer.topics {
            for one in &topic.partitions {
                let key = (topic.name.to_string(), one.partition_index);
                answers.insert(key, (i32::from(one.error_code), one.offset));
            }
        }
        ordered(OPERATION, partitions, &answers)
    }

    fn delete_records(
        &self,
        before: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
        const OPERATION: &str = "delete records";
        if before.is_empty() {
            return Ok(Vec::new());
        }
        let until = self.until(timeout);
        let partitions: Vec<_> = before.iter().map(|(partition, _)| partition.clone()).collect();
        self.exist(OPERATION, &partitions, until)?;
        let topics = by_topic(before.iter().map(|(partition, offset)| (partition, offset.0)));
        let topics = topics.into_iter().map(|(name, offsets)| {
            let partitions = offsets.into_iter().map(|(number, offset)| {
                DeleteRecordsPartition::default().with_partition_index(number).with_offset(offset)
            });
            DeleteRecordsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.collect())
        });
        let request = DeleteRecordsRequest::default()
            .with_topics(topics.collect())
            .with_timeout_ms(wire_millis(timeout));
        let answer = self.request(OPERATION, version::DELETE_RECORDS, request, until)?;
        let ResponseKind::DeleteRecords(answer) = answer else {
            return Err(error::from_code(OPERATION, code::FAIL));
        };
        let mut answers = Answers::new();
        for topic in &answer.topics {
            for one in &topic.partitions {
                let key = (topic.name.to_string(), one.partition_index);
                answers.insert(key, (i32::from(one.error_code), one.low_watermark));
            }
        }
        ordered(OPERATION, &partitions, &answers)
    }
}

impl Admin {
    /// See [`crate::client::Admin::delete_topics`]; the seam has no need of it, simulations have.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests of this client"))]
    pub(crate) fn delete_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<(), ClientError> {
        const OPERATION: &str = "delete a topic";
        if names.is_empty() {
            return Ok(());
        }
        let request = DeleteTopicsRequest::default()
            .with_topic_names(names.iter().map(|name| topic_name(name)).collect())
            .with_timeout_ms(wire_millis(timeout));
        let until = self.until(timeout);
        let answer = self.request(OPERATION, version::DELETE_TOPICS, request, until)?;
        let ResponseKind::DeleteTopics(answer) = answer else {
            return Err(error::from_code(OPERATION, code::FAIL));
        };
        for topic in answer.responses {
            let failed = i32::from(topic.error_code);
            if failed != code::NO_ERROR && failed != code::UNKNOWN_TOPIC_OR_PART {
                let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
                return Err(about(OPERATION, failed, &name));
            }
        }
        Ok(())
    }
}

/// The error of one thing among several that were asked for: its name goes into the message.
fn about(operation: &'static str, code: i32, name: &str) -> ClientError {
    let error = error::from_code(operation, code);
    let message = format!("{name}: {}", error.message);
    ClientError { message, ..error }
}

/// Puts answers into the order of the questions.
fn ordered(
    operation: &'static str,
    asked: &[TopicPartition],
    answers: &Answers,
) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
    let answer = |partition: &TopicPartition| match answers
        .get(&(partition.topic.to_string(), partition.partition.0))
    {
        Some((code::NO_ERROR, offset)) => Ok((partition.clone(), Offset(*offset))),
        Some((code, _)) => Err(about(operation, *code, &partition.to_string())),
        None => {
            let message = format!("{partition}: the broker did not answer for it");
            let severity = code::severity(code::FAIL);
            Err(error::make(operation, code::FAIL, message, severity))
        }
    };
    asked.iter().map(answer).collect()
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.link.close();
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}
