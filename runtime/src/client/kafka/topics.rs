//! Topics: describe, create, delete, read their configuration.

#![expect(unsafe_code, reason = "calls librdkafka's admin functions and walks their results")]

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use super::admin::{Admin, about};
use super::call::{elements, request};
use super::code;
use super::error::{self, check, invalid};
use super::ffi::rd_kafka_admin_op_t::{
    RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, RD_KAFKA_ADMIN_OP_CREATETOPICS,
    RD_KAFKA_ADMIN_OP_DELETETOPICS, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
    RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
};
use super::ffi::{self, c_string, text};
use crate::client::error::ClientError;
use crate::client::types::{NewTopic, TopicConfig, TopicCreation, TopicDescription};

/// What the cluster says of a topic that exists.
struct Described {
    partitions: usize,
    id: Option<String>,
}

impl Admin {
    /// Describes topics, without creating one that does not exist. Same order as asked.
    pub fn topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicDescription>, ClientError> {
        let found = self.described(names, timeout)?;
        let partitions = |name: &str| found.get(name).map(|found| found.partitions);
        Ok(names
            .iter()
            .map(|name| TopicDescription { name: (*name).to_owned(), partitions: partitions(name) })
            .collect())
    }

    /// Returns the id of each topic, in the same order: another one under the same name means that
    /// the topic was deleted and made again. `None` if it does not exist, or if the broker is older
    /// than topic ids (Kafka 2.8).
    pub fn topic_ids(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Option<String>>, ClientError> {
        let mut found = self.described(names, timeout)?;
        Ok(names.iter().map(|name| found.get_mut(*name).and_then(|one| one.id.take())).collect())
    }

    fn described(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<BTreeMap<String, Described>, ClientError> {
        const OPERATION: &str = "describe topics";
        let mut found = BTreeMap::new();
        if names.is_empty() {
            return Ok(found);
        }
        let c_names = c_strings(OPERATION, names)?;
        let event = request(
            OPERATION,
            &self.client,
            RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            timeout,
            |options, replies| {
                let mut pointers: Vec<_> = c_names.iter().map(|name| name.as_ptr()).collect();
                // SAFETY: all pointers are live; names are copied; the collection is ours.
                unsafe {
                    let names = ffi::rd_kafka_TopicCollection_of_topic_names(
                        pointers.as_mut_ptr(),
                        pointers.len(),
                    );
                    ffi::rd_kafka_DescribeTopics(self.client.ptr(), names, options.ptr(), replies);
                    ffi::rd_kafka_TopicCollection_destroy(names);
                }
                Ok(())
            },
        )?;
        // SAFETY: the event is live and what is read from it lives as long; all is copied.
        unsafe {
            let result = ffi::rd_kafka_event_DescribeTopics_result(event.ptr());
            let mut count = 0;
            let topics = ffi::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            for topic in elements(topics, count) {
                let name = text(ffi::rd_kafka_TopicDescription_name(topic));
                let code = ffi::rd_kafka_error_code(ffi::rd_kafka_TopicDescription_error(topic));
                let mut partitions = 0;
                ffi::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
                let id = topic_id(ffi::rd_kafka_TopicDescription_topic_id(topic));
                match code {
                    code::NO_ERROR => found.insert(name, Described { partitions, id }),
                    code::UNKNOWN_TOPIC_OR_PART => None,
                    code => return Err(about(OPERATION, code, &name)),
                };
            }
        }
        Ok(found)
    }

    /// Creates topics and waits until they are there. One outcome a topic, in the same order.
    pub fn create_topics(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<(String, TopicCreation)>, ClientError> {
        const OPERATION: &str = "create a topic";
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let natives =
            topics.iter().map(NativeTopic::new).collect::<Result<Vec<_>, ClientError>>()?;
        let event = request(
            OPERATION,
            &self.client,
            RD_KAFKA_ADMIN_OP_CREATETOPICS,
            timeout,
            |options, replies| {
                options.wait_until_done(timeout)?;
                let mut pointers: Vec<_> = natives.iter().map(|topic| topic.0.as_ptr()).collect();
                // SAFETY: all pointers are live; the topics are copied.
                unsafe {
                    ffi::rd_kafka_CreateTopics(
                        self.client.ptr(),
                        pointers.as_mut_ptr(),
                        pointers.len(),
                        options.ptr(),
                        replies,
                    );
                }
                Ok(())
            },
        )?;
        // SAFETY: the event is live and what is read from it lives as long; all is copied.
        let results = unsafe {
            let result = ffi::rd_kafka_event_CreateTopics_result(event.ptr());
            let mut count = 0;
            let array = ffi::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
            topic_results(array, count)
        };
        let outcome = |topic: &NewTopic| match results.get(&topic.name) {
            Some((code::NO_ERROR, _)) => TopicCreation::Created,
            Some((code::TOPIC_ALREADY_EXISTS, _)) => TopicCreation::AlreadyExists,
            Some((code, text)) => {
                let message = format!("{}: {text}", topic.name);
                let severity = code::severity(*code);
                TopicCreation::Failed(error::make(OPERATION, *code, message, severity))
            }
            None => TopicCreation::Failed(about(OPERATION, code::FAIL, &topic.name)),
        };
        Ok(topics.iter().map(|topic| (topic.name.clone(), outcome(topic))).collect())
    }

    /// Adds partitions to a topic, up to `total`, and waits until they are there. Records of a key
    /// may go to another partition from then on.
    pub fn create_partitions(
        &self,
        topic: &str,
        total: usize,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        const OPERATION: &str = "add partitions";
        let name = c_string(OPERATION, topic)?;
        let mut message = [0 as c_char; 256];
        // SAFETY: all pointers are live and the buffer's size is passed along; on failure the
        // buffer holds a terminated string.
        let native = unsafe {
            let native = ffi::rd_kafka_NewPartitions_new(
                name.as_ptr(),
                total,
                message.as_mut_ptr(),
                message.len(),
            );
            NonNull::new(native)
                .ok_or_else(|| invalid(OPERATION, format!("{topic}: {}", text(message.as_ptr()))))?
        };
        let event = request(
            OPERATION,
            &self.client,
            RD_KAFKA_ADMIN_OP_CREATEPARTITIONS,
            timeout,
            |options, replies| {
                let waiting = options.wait_until_done(timeout);
                // SAFETY: all pointers are live; the request copies what is ours, which is
                // destroyed once, whether it was sent or not.
                unsafe {
                    let mut native = native.as_ptr();
                    if waiting.is_ok() {
                        let rk = self.client.ptr();
                        let asked = &raw mut native;
                        ffi::rd_kafka_CreatePartitions(rk, asked, 1, options.ptr(), replies);
                    }
                    ffi::rd_kafka_NewPartitions_destroy(native);
                }
                waiting
            },
        )?;
        // SAFETY: the event is live and what is read from it lives as long; all is copied.
        let results = unsafe {
            let result = ffi::rd_kafka_event_CreatePartitions_result(event.ptr());
            let mut count = 0;
            let array = ffi::rd_kafka_CreatePartitions_result_topics(result, &raw mut count);
            topic_results(array, count)
        };
        match results.get(topic) {
            Some((code::NO_ERROR, _)) => Ok(()),
            Some((code, text)) => {
                let message = format!("{topic}: {text}");
                Err(error::make(OPERATION, *code, message, code::severity(*code)))
            }
            None => Err(about(OPERATION, code::FAIL, topic)),
        }
    }

    /// Deletes topics; one that does not exist counts as deleted.
    pub fn delete_topics(&self, names: &[&str], timeout: Duration) -> Result<(), ClientError> {
        const OPERATION: &str = "delete a topic";
        if names.is_empty() {
            return Ok(());
        }
        let c_names = c_strings(OPERATION, names)?;
        let event = request(
            OPERATION,
            &self.client,
            RD_KAFKA_ADMIN_OP_DELETETOPICS,
            timeout,
            |options, replies| {
                options.wait_until_done(timeout)?;
                // SAFETY: all pointers are live; the request copies the array, which is ours.
                unsafe {
                    let mut topics: Vec<_> = c_names
                        .iter()
                        .map(|name| ffi::rd_kafka_DeleteTopic_new(name.as_ptr()))
                        .collect();
                    ffi::rd_kafka_DeleteTopics(
                        self.client.ptr(),
                        topics.as_mut_ptr(),
                        topics.len(),
                        options.ptr(),
                        replies,
                    );
                    ffi::rd_kafka_DeleteTopic_destroy_array(topics.as_mut_ptr(), topics.len());
                }
                Ok(())
            },
        )?;
        // SAFETY: the event is live and what is read from it lives as long; all is copied.
        let results = unsafe {
            let result = ffi::rd_kafka_event_DeleteTopics_result(event.ptr());
            let mut count = 0;
            let array = ffi::rd_kafka_DeleteTopics_result_topics(result, &raw mut count);
            topic_results(array, count)
        };
        results.into_iter().try_for_each(|(name, (code, _))| match code {
            code::NO_ERROR | code::UNKNOWN_TOPIC_OR_PART => Ok(()),
            code => Err(about(OPERATION, code, &name)),
        })
    }

    /// Reads the configuration of topics, defaults included. Same order as asked.
    pub fn topic_configs(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Vec<TopicConfig>, ClientError> {
        const OPERATION: &str = "read a topic's configuration";
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let c_names = c_strings(OPERATION, names)?;
        let event = request(
            OPERATION,
            &self.client,
            RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
            timeout,
            |options, replies| {
                let kind = ffi::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
                // SAFETY: all pointers are live; the request copies the array, which is ours.
                unsafe {
                    let mut topics: Vec<_> = c_names
                        .iter()
                        .map(|name| ffi::rd_kafka_ConfigResource_new(kind, name.as_ptr()))
                        .collect();
                    ffi::rd_kafka_DescribeConfigs(
                        self.client.ptr(),
                        topics.as_mut_ptr(),
                        topics.len(),
                        options.ptr(),
                        replies,
                    );
                    ffi::rd_kafka_ConfigResource_destroy_array(topics.as_mut_ptr(), topics.len());
                }
                Ok(())
            },
        )?;
        let mut found = BTreeMap::new();
        // SAFETY: the event is live and what is read from it lives as long; all is copied.
        unsafe {
            let result = ffi::rd_kafka_event_DescribeConfigs_result(event.ptr());
            let mut count = 0;
            let array = ffi::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            for topic in elements(array, count) {
                let name = text(ffi::rd_kafka_ConfigResource_name(topic));
                let code = ffi::rd_kafka_ConfigResource_error(topic);
                if code != code::NO_ERROR {
                    return Err(about(OPERATION, code, &name));
                }
                found.insert(name, entries(topic));
            }
        }
        let configs = names.iter().map(|name| TopicConfig {
            name: (*name).to_owned(),
            entries: found.remove(*name).unwrap_or_default(),
        });
        Ok(configs.collect())
    }
}

fn c_strings(operation: &'static str, names: &[&str]) -> Result<Vec<CString>, ClientError> {
    names.iter().map(|name| c_string(operation, name)).collect()
}

/// A topic to create, as librdkafka wants it.
struct NativeTopic(NonNull<ffi::rd_kafka_NewTopic_t>);

impl NativeTopic {
    fn new(topic: &NewTopic) -> Result<Self, ClientError> {
        const OPERATION: &str = "create a topic";
        let name = c_string(OPERATION, &topic.name)?;
        let mut message = [0 as c_char; 256];
        // SAFETY: all pointers are live and the buffer's size is passed along; on failure the
        // buffer holds a terminated string.
        let native = unsafe {
            let native = ffi::rd_kafka_NewTopic_new(
                name.as_ptr(),
                topic.partitions,
                c_int::from(topic.replication_factor),
                message.as_mut_ptr(),
                message.len(),
            );
            NonNull::new(native).ok_or_else(|| {
                invalid(OPERATION, format!("{}: {}", topic.name, text(message.as_ptr())))
            })?
        };
        let native = Self(native);
        for (name, value) in &topic.configs {
            let (name, value) = (c_string(OPERATION, name)?, c_string(OPERATION, value)?);
            // SAFETY: all pointers are live; the strings are copied.
            check(OPERATION, unsafe {
                ffi::rd_kafka_NewTopic_set_config(native.0.as_ptr(), name.as_ptr(), value.as_ptr())
            })?;
        }
        Ok(native)
    }
}

impl Drop for NativeTopic {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { ffi::rd_kafka_NewTopic_destroy(self.0.as_ptr()) }
    }
}

/// Copies code and text for each topic.
///
/// # Safety
/// The array is null or has `count` live elements.
unsafe fn topic_results(
    array: *mut *const ffi::rd_kafka_topic_result_t,
    count: usize,
) -> BTreeMap<String, (i32, String)> {
    // SAFETY: the caller's promise; the strings live as long as the elements.
    let copy = |result| unsafe {
        let outcome = ffi::rd_kafka_topic_result_error(result);
        let message = text(ffi::rd_kafka_topic_result_error_string(result));
        (text(ffi::rd_kafka_topic_result_name(result)), (outcome, message))
    };
    // SAFETY: the caller's promise.
    unsafe { elements(array, count) }.into_iter().map(copy).collect()
}

/// Copies the entries of one resource; a sensitive value, which the broker hides, is left out.
///
/// # Safety
/// The resource is live.
unsafe fn entries(resource: *const ffi::rd_kafka_ConfigResource_t) -> BTreeMap<String, String> {
    let mut count = 0;
    // SAFETY: the caller's promise; entries and strings live as long as the resource.
    unsafe {
        let array = ffi::rd_kafka_ConfigResource_configs(resource, &raw mut count);
        let copy = |entry| {
            let value = ffi::rd_kafka_ConfigEntry_value(entry);
            (!value.is_null()).then(|| (text(ffi::rd_kafka_ConfigEntry_name(entry)), text(value)))
        };
        elements(array, count).into_iter().filter_map(copy).collect()
    }
}

/// Copies a topic's id; all zeros means that there is none.
unsafe fn topic_id(id: *const ffi::rd_kafka_Uuid_t) -> Option<String> {
    if id.is_null() {
        return None;
    }
    // SAFETY: the caller passes a live id or null; the text belongs to the id and is copied.
    unsafe {
        let zero = ffi::rd_kafka_Uuid_most_significant_bits(id) == 0
            && ffi::rd_kafka_Uuid_least_significant_bits(id) == 0;
        (!zero).then(|| text(ffi::rd_kafka_Uuid_base64str(id)))
    }
}
