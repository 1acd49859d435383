//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use kafka_protocol::messages::incremental_alter_configs_response as incremental;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::topics::Fault;
use super::{Engine, Handled, Millis};
use crate::log::config::{self, ConfigOption, Kind};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from.
const FROM_TOPIC: i8 = 1;
const FROM_STATIC: i8 = 4;
const FROM_DEFAULT: i8 = 5;

/// A topic's value of an option.
pub(super) fn described(option: &ConfigOption, configs: &BTreeMap<String, String>) -> StrBytes {
    match configs.get(option.name) {
        Some(value) => StrBytes::from_string(value.clone()),
        None => StrBytes::from_static_str(option.default),
    }
}

/// Whether it was set or is the default.
pub(super) fn source_of(option: &ConfigOption, configs: &BTreeMap<String, String>) -> i8 {
    if configs.contains_key(option.name) { FROM_TOPIC } else { FROM_DEFAULT }
}

fn type_of(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::OneOf(_) | Kind::Text => 2,
        Kind::Int(_) => 3,
        Kind::Long(_) => 5,
        Kind::Ratio => 6,
        Kind::ListOf(_) | Kind::List => 7,
    }
}

impl Engine {
    pub(super) fn describe_configs(&self, request: &DescribeConfigsRequest) -> Handled {
        let results = request.resources.iter().map(|resource| {
            let answer = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            match self.configs_of(resource, request.include_synonyms) {
                Ok(configs) => answer.with_configs(configs),
                Err((error, message)) => answer
                    .with_error_code(error.code())
                    .with_error_message(Some(StrBytes::from_string(message))),
            }
        });
        Handled::answer(DescribeConfigsResponse::default().with_results(results.collect()))
    }

    fn configs_of(
        &self,
        resource: &DescribeConfigsResource,
        synonyms: bool,
    ) -> Result<Vec<DescribeConfigsResourceResult>, Fault> {
        let keys = resource.configuration_keys.as_ref();
        // librdkafka asks for everything with an empty list
        let keys = keys.filter(|keys| !keys.is_empty());
        let asked =
            |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
        match resource.resource_type {
            TOPIC => {
                let configs = self.configs_of_topic(&resource.resource_name)?;
                let options = config::OPTIONS.iter().filter(|option| asked(option.name));
                Ok(options.map(|option| shown(option, configs, synonyms)).collect())
            }
            BROKER => {
                self.check_broker(&resource.resource_name)?;
                let settings = self.settings().into_iter().filter(|(name, _, _)| asked(name));
                Ok(settings.map(|(name, value, kind)| setting(name, value, kind)).collect())
            }
            other => Err(no_resource(other)),
        }
    }

    fn configs_of_topic(&self, name: &str) -> Result<&BTreeMap<String, String>, Fault> {
        let topic = self.topics.get(name).ok_or_else(|| {
            (ResponseError::UnknownTopicOrPartition, format!("there is no topic {name}"))
        })?;
        Ok(topic.configs())
    }

    fn check_broker(&self, name: &str) -> Result<(), Fault> {
        let node = self.config.node_id;
        if name == node.to_string() {
            return Ok(());
        }
        let message = format!("the only broker is {node}, the request is for {name:?}");
        Err((ResponseError::InvalidRequest, message))
    }

    /// The broker's own settings, by the names that Kafka gives them.
    fn settings(&self) -> Vec<(&'static str, String, Kind)> {
        let config = &self.config;
        let (int, long) = (Kind::Int(i32::MIN), Kind::Long(i64::MIN));
        let listener = format!("PLAINTEXT://{}:{}", config.host, config.port);
        vec![
            ("advertised.listeners", listener, Kind::Text),
            ("auto.create.topics.enable", config.auto_create_topics.to_string(), Kind::Boolean),
            ("broker.id", config.node_id.to_string(), int),
            ("default.replication.factor", "1".to_owned(), int),
            (
                "group.initial.rebalance.delay.ms",
                config.group_initial_rebalance_delay_ms.to_string(),
                int,
            ),
            ("group.max.session.timeout.ms", config.group_max_session_timeout_ms.to_string(), int),
            ("group.min.session.timeout.ms", config.group_min_session_timeout_ms.to_string(), int),
            ("log.cleaner.backoff.ms", config.compaction_interval_ms.to_string(), long),
            ("log.retention.check.interval.ms", config.retention_interval_ms.to_string(), long),
            ("message.max.bytes", "1048588".to_owned(), int),
            ("min.insync.replicas", "1".to_owned(), int),
            ("node.id", config.node_id.to_string(), int),
            ("num.partitions", config.default_partitions.to_string(), int),
            ("offset.metadata.max.bytes", config.offset_metadata_max_bytes.to_string(), int),
            ("offsets.retention.minutes", (config.offsets_retention_ms / 60_000).to_string(), int),
            ("producer.id.expiration.ms", config.producer_id_expiration_ms.to_string(), int),
            ("transaction.max.timeout.ms", config.transaction_max_timeout_ms.to_string(), int),
            (
                "transactional.id.expiration.ms",
                config.transactional_id_expiration_ms.to_string(),
                int,
            ),
        ]
    }

    pub(super) fn alter_configs(&mut self, now: Millis, request: AlterConfigsRequest) -> Handled {
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let values = resource.configs.into_iter().map(|config| (config.name, config.value));
            let set = |configs: &mut BTreeMap<String, String>| {
                configs.clear();
                let values = values.filter_map(|(name, value)| Some((name, value?)));
                let named = values.map(|(name, value)| (name.to_string(), value.to_string()));
                configs.extend(named);
                Ok(())
            };
            let target = (resource.resource_type, resource.resource_name.as_str());
            let done = self.alter(now, target, request.validate_only, set);
            let answer = AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            responses.push(match done {
                Ok(()) => answer,
                Err((error, message)) => answer
                    .with_error_code(error.code())
                    .with_error_message(Some(StrBytes::from_string(message))),
            });
        }
        Handled::answer(AlterConfigsResponse::default().with_responses(responses))
    }

    pub(super) fn incremental_alter_configs(
        &mut self,
        now: Millis,
        request: IncrementalAlterConfigsRequest,
    ) -> Handled {
        let mut responses = Vec::with_capacity(request.resources.len());
        for resource in request.resources {
            let target = (resource.resource_type, resource.resource_name.as_str());
            let set = |configs: &mut BTreeMap<String, String>| {
                resource.configs.iter().try_for_each(|change| apply(configs, change))
            };
            let done = self.alter(now, target, request.validate_only, set);
            let answer = incremental::AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone());
            responses.push(match done {
                Ok(()) => answer,
                Err((error, message)) => answer
                    .with_error_code(error.code())
                    .with_error_message(Some(StrBytes::from_string(message))),
            });
        }
        Handled::answer(IncrementalAlterConfigsResponse::default().with_responses(responses))
    }

    fn alter(
        &mut self,
        now: Millis,
        (kind, name): (i8, &str),
        validate_only: bool,
        set: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match kind {
            TOPIC => {}
            BROKER => {
                let message = "the settings of this broker are set when it starts";
                return Err((ResponseError::InvalidConfig, message.to_owned()));
            }
            other => return Err(no_resource(other)),
        }
        let mut configs = self.configs_of_topic(name)?.clone();
        set(&mut configs)?;
        for (name, value) in &configs {
            config::check(name, value).map_err(|why| (ResponseError::InvalidConfig, why))?;
        }
        if !validate_only {
            let (mut context, topics, _, _) = self.parts(now);
            topics.configure(&mut context, name, configs);
        }
        Ok(())
    }
}

/// One change of IncrementalAlterConfigs: set, delete, append to a list, take from a list.
fn apply(configs: &mut BTreeMap<String, String>, change: &AlterableConfig) -> Result<(), Fault> {
    let name = change.name.as_str();
    let invalid = |why: String| (ResponseError::InvalidConfig, why);
    let option =
        config::find(name).ok_or_else(|| invalid(format!("there is no topic config {name}")))?;
    let value = || match &change.value {
        Some(value) => Ok(value.as_str().trim()),
        None => Err((ResponseError::InvalidRequest, format!("{name} has no value"))),
    };
    let is_list = matches!(option.kind, Kind::List | Kind::ListOf(_));
    let current = configs.get(name).map_or(option.default, String::as_str);
    let mut list: Vec<&str> = current.split(',').filter(|word| !word.is_empty()).collect();
    let next = match change.config_operation {
        0 => value()?.to_owned(),
        1 => {
            configs.remove(name);
            return Ok(());
        }
        2 | 3 if !is_list => return Err(invalid(format!("{name} is not a list"))),
        2 => {
            let new = value()?.split(',').filter(|word| !word.is_empty());
            let new: Vec<&str> = new.filter(|word| !list.contains(word)).collect();
            list.extend(new);
            list.join(",")
        }
        3 => {
            let gone: Vec<&str> = value()?.split(',').collect();
            list.retain(|word| !gone.contains(word));
            list.join(",")
        }
        other => {
            return Err((ResponseError::InvalidRequest, format!("operation {other} is unknown")));
        }
    };
    configs.insert(name.to_owned(), next);
    Ok(())
}

fn shown(
    option: &ConfigOption,
    configs: &BTreeMap<String, String>,
    synonyms: bool,
) -> DescribeConfigsResourceResult {
    let name = StrBytes::from_static_str(option.name);
    let value = described(option, configs);
    let default = StrBytes::from_static_str(option.default);
    let source = source_of(option, configs);
    let mut known = Vec::new();
    if source == FROM_TOPIC {
        known.push((value.clone(), FROM_TOPIC));
    }
    known.push((default, FROM_DEFAULT));
    let synonym = |(value, source)| {
        let synonym = DescribeConfigsSynonym::default().with_name(name.clone());
        synonym.with_value(Some(value)).with_source(source)
    };
    DescribeConfigsResourceResult::default()
        .with_name(name.clone())
        .with_value(Some(value))
        .with_config_source(source)
        .with_config_type(type_of(option.kind))
        .with_synonyms(known.into_iter().filter(|_| synonyms).map(synonym).collect())
}

fn setting(name: &'static str, value: String, kind: Kind) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(Some(StrBytes::from_string(value)))
        .with_read_only(true)
        .with_config_source(FROM_STATIC)
        .with_config_type(type_of(kind))
}

fn no_resource(kind: i8) -> Fault {
    (ResponseError::InvalidRequest, format!("resources of type {kind} have no configs here"))
}
