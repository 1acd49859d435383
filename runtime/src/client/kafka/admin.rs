//! The administrative client: ends of logs, deletion of records; topics in `topics`.

#![expect(unsafe_code, reason = "calls librdkafka's admin functions and walks their results")]

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidemill_core::record::{Offset, TopicPartition};

use super::call::{elements, request};
use super::code;
use super::conf::{Conf, log_error};
use super::error::{self, from_code};
use super::ffi::rd_kafka_admin_op_t::{
    RD_KAFKA_ADMIN_OP_DELETERECORDS, RD_KAFKA_ADMIN_OP_LISTOFFSETS,
};
use super::ffi::{self, millis, text};
use super::handle::Client;
use super::list::{ListedPartition, PartitionList};
use crate::client::error::ClientError;
use crate::client::types::{ClientConfig, Isolation, OffsetSpec};

/// A client for administrative requests. Every call blocks until the answer or its timeout.
///
/// Errors of all calls: Retry: no answer in time or no broker; Fatal: not authorised, refused, or a
/// name is not valid.
pub struct Admin {
    pub(super) client: Arc<Client>,
}

impl Admin {
    /// Makes an admin client. It connects in the background.
    ///
    /// # Errors
    /// Fatal: an option is unknown or its value is not valid.
    pub fn new(config: &ClientConfig) -> Result<Self, ClientError> {
        // A producer is librdkafka's lightest client: no group, no fetching.
        let conf = Conf::new(config)?;
        // SAFETY: the configuration is live; the callback is a plain function.
        unsafe { ffi::rd_kafka_conf_set_error_cb(conf.ptr(), Some(log_error)) };
        Ok(Self { client: conf.build(ffi::rd_kafka_type_t::RD_KAFKA_PRODUCER, None)? })
    }

    /// Reads one place of each partition's log. Same order as asked.
    pub fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
        const OPERATION: &str = "list offsets";
        use ffi::rd_kafka_IsolationLevel_t::{
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        use ffi::rd_kafka_OffsetSpec_t::{
            RD_KAFKA_OFFSET_SPEC_EARLIEST, RD_KAFKA_OFFSET_SPEC_LATEST,
        };
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let spec = Offset(match spec {
            OffsetSpec::Earliest => RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
            OffsetSpec::Latest => RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            OffsetSpec::FromTimestamp(from) => from.0.max(0),
        });
        let asked: Vec<_> = partitions.iter().map(|one| (one.clone(), spec)).collect();
        let list = PartitionList::of_offsets(OPERATION, &asked)?;
        let event = request(
            OPERATION,
            &self.client,
            RD_KAFKA_ADMIN_OP_LISTOFFSETS,
            timeout,
            |options, replies| {
                options.isolation(match isolation {
                    Isolation::ReadUncommitted => RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
                    Isolation::ReadCommitted => RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
                })?;
                // SAFETY: all pointers are live; the list is copied.
                unsafe {
                    ffi::rd_kafka_ListOffsets(
                        self.client.ptr(),
                        list.ptr(),
                        options.ptr(),
                        replies,
                    );
                }
                Ok(())
            },
        )
        .map_err(|error| self.leaderless(error, partitions, timeout))?;
        // SAFETY: the event is live and what is read from it lives as long; all is copied.
        let listed: Vec<ListedPartition> = unsafe {
            let result = ffi::rd_kafka_event_ListOffsets_result(event.ptr());
            let mut count = 0;
            let infos = ffi::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            let of = |info| ffi::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            elements(infos, count).into_iter().map(|info| ListedPartition::copy(of(info))).collect()
        };
        ordered(OPERATION, partitions, listed)
            .map_err(|error| self.leaderless(error, partitions, timeout))
    }

    /// Deletes the records below these offsets, and returns where each log starts afterwards.
    pub fn delete_records(
        &self,
        before: &[(TopicPartition, Offset)],
        timeout: Duration,
    ) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
        const OPERATION: &str = "delete records";
        if before.is_empty() {
            return Ok(Vec::new());
        }
        let partitions: Vec<_> = before.iter().map(|(partition, _)| partition.clone()).collect();
        let list = PartitionList::of_offsets(OPERATION, before)?;
        let event = request(
            OPERATION,
            &self.client,
            RD_KAFKA_ADMIN_OP_DELETERECORDS,
            timeout,
            |options, replies| {
                options.wait_until_done(timeout)?;
                // SAFETY: all pointers are live; the request copies what is ours.
                unsafe {
                    let mut records = ffi::rd_kafka_DeleteRecords_new(list.ptr());
                    ffi::rd_kafka_DeleteRecords(
                        self.client.ptr(),
                        &raw mut records,
                        1,
                        options.ptr(),
                        replies,
                    );
                    ffi::rd_kafka_DeleteRecords_destroy(records);
                }
                Ok(())
            },
        )
        .map_err(|error| self.leaderless(error, &partitions, timeout))?;
        // SAFETY: the event is live and what is read from it lives as long; all is copied.
        let listed = unsafe {
            let result = ffi::rd_kafka_event_DeleteRecords_result(event.ptr());
            ListedPartition::read(ffi::rd_kafka_DeleteRecords_result_offsets(result))
        };
        ordered(OPERATION, &partitions, listed)
            .map_err(|error| self.leaderless(error, &partitions, timeout))
    }

    /// Looks after errors that come from librdkafka's cache of leaders.
    ///
    /// * "No entry" is said both for partitions that do not exist and for partitions that have no
    ///   leader at the moment; the cluster knows which it is.
    /// * A broker that contradicts the cache (after its restart: `FENCED_LEADER_EPOCH`) does not
    ///   make librdkafka ask again, for 15 minutes: describing the topics renews the cache, and the
    ///   caller's next attempt goes to the right leader.
    fn leaderless(
        &self,
        error: ClientError,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> ClientError {
        if error.code != code::NOENT && !code::stale_leader(error.code) {
            return error;
        }
        let names: BTreeSet<&str> = partitions.iter().map(|one| &*one.topic).collect();
        let names: Vec<_> = names.into_iter().collect();
        let topics = match self.topics(&names, timeout) {
            Ok(topics) => topics,
            Err(error) => return error,
        };
        if error.code != code::NOENT {
            return error;
        }
        for topic in topics {
            let mut asked = partitions.iter().filter(|one| *one.topic == *topic.name);
            let count = topic.partitions.unwrap_or(0);
            let exists = |one: &TopicPartition| {
                usize::try_from(one.partition.0).is_ok_and(|number| number < count)
            };
            if let Some(missing) = asked.find(|one| !exists(one)) {
                let code = code::UNKNOWN_TOPIC_OR_PART;
                return about(error.operation, code, &missing.to_string());
            }
        }
        about(error.operation, code::LEADER_NOT_AVAILABLE, &partitions[0].to_string())
    }

    /// Returns the cluster's id; also the cheapest way to learn whether a broker answers.
    pub fn cluster_id(&self, timeout: Duration) -> Result<String, ClientError> {
        // SAFETY: the handle is live; the string is ours and freed by librdkafka.
        unsafe {
            let id = ffi::rd_kafka_clusterid(self.client.ptr(), millis(timeout));
            if id.is_null() {
                return Err(from_code("read the cluster id", code::TIMED_OUT));
            }
            let copy = text(id);
            ffi::rd_kafka_mem_free(self.client.ptr(), id.cast());
            Ok(copy)
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// The error of one thing among several that were asked for: its name goes into the message.
pub(super) fn about(operation: &'static str, code: i32, name: &str) -> ClientError {
    let error = from_code(operation, code);
    let message = format!("{name}: {}", error.message);
    ClientError { message, ..error }
}

/// Puts answers into the order of the questions.
fn ordered(
    operation: &'static str,
    asked: &[TopicPartition],
    listed: Vec<ListedPartition>,
) -> Result<Vec<(TopicPartition, Offset)>, ClientError> {
    let answers: HashMap<_, _> =
        listed.into_iter().map(|one| (one.partition, (one.code, one.offset))).collect();
    let answer = |partition: &TopicPartition| match answers.get(partition) {
        Some((code::NO_ERROR, offset)) => Ok((partition.clone(), Offset(*offset))),
        Some((code, _)) => Err(about(operation, *code, &partition.to_string())),
        None => {
            let message = format!("{partition}: the broker did not answer for it");
            Err(error::make(operation, code::FAIL, message, code::severity(code::FAIL)))
        }
    };
    asked.iter().map(answer).collect()
}
