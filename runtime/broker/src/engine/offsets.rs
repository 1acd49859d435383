//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords: questions about offsets.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

use super::{Context, Engine, Handled, Millis};
use crate::log::{LEADER_EPOCH, PartitionLog, TimedOffset};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
/// In DeleteRecords: everything there is.
const HIGH_WATERMARK: i64 = -1;

impl Engine {
    pub(super) fn list_offsets(&self, version: i16, request: &ListOffsetsRequest) -> Handled {
        const WITH_EPOCH: i16 = 4;
        let epoch = if version >= WITH_EPOCH { LEADER_EPOCH } else { -1 };
        let committed_only = request.isolation_level == 1;
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                let answer = ListOffsetsPartitionResponse::default()
                    .with_partition_index(asked.partition_index)
                    .with_timestamp(-1)
                    .with_offset(-1)
                    .with_leader_epoch(-1);
                let Some(log) = self.topics.partition(&topic.name, asked.partition_index) else {
                    return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
                };
                match offset(log, asked, committed_only) {
                    Ok(None) => answer,
                    Ok(Some(found)) => answer
                        .with_timestamp(found.timestamp)
                        .with_offset(found.offset)
                        .with_leader_epoch(epoch),
                    Err(error) => answer.with_error_code(error.code()),
                }
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        Handled::answer(ListOffsetsResponse::default().with_topics(topics.collect()))
    }

    pub(super) fn epoch_end(&self, request: &OffsetForLeaderEpochRequest) -> Handled {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| {
                epoch_end(self.topics.partition(&topic.topic, asked.partition), asked)
            });
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions.collect())
        });
        Handled::answer(OffsetForLeaderEpochResponse::default().with_topics(topics.collect()))
    }

    pub(super) fn delete_records(&mut self, now: Millis, request: DeleteRecordsRequest) -> Handled {
        let (mut context, logs, _, _) = self.parts(now);
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in topic.partitions {
                let log = logs.partition_mut(&topic.name, asked.partition_index);
                let answer = DeleteRecordsPartitionResult::default()
                    .with_partition_index(asked.partition_index);
                partitions.push(match delete_before(&mut context, log, asked.offset) {
                    Ok(start) => answer.with_low_watermark(start),
                    Err(error) => answer.with_low_watermark(-1).with_error_code(error.code()),
                });
            }
            let answer = DeleteRecordsTopicResult::default().with_name(topic.name);
            topics.push(answer.with_partitions(partitions));
        }
        Handled::answer(DeleteRecordsResponse::default().with_topics(topics))
    }
}

fn offset(
    log: &PartitionLog,
    asked: &ListOffsetsPartition,
    committed_only: bool,
) -> Result<Option<TimedOffset>, ResponseError> {
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    let plain = |offset| Ok(Some(TimedOffset { offset, timestamp: -1 }));
    match asked.timestamp {
        LATEST => plain(log.end(committed_only)),
        EARLIEST | EARLIEST_LOCAL => plain(log.log_start()),
        MAX_TIMESTAMP => Ok(log.offset_of_max_timestamp()),
        // there is no tiered storage
        LATEST_TIERED => Ok(None),
        timestamp if timestamp < 0 => Err(ResponseError::InvalidRequest),
        timestamp => Ok(log.offset_for_timestamp(timestamp, committed_only)),
    }
}

fn epoch_end(log: Option<&PartitionLog>, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let answer = EpochEndOffset::default()
        .with_partition(asked.partition)
        .with_leader_epoch(-1)
        .with_end_offset(-1);
    let Some(log) = log else {
        return answer.with_error_code(ResponseError::UnknownTopicOrPartition.code());
    };
    if asked.current_leader_epoch > LEADER_EPOCH {
        return answer.with_error_code(ResponseError::UnknownLeaderEpoch.code());
    }
    if asked.leader_epoch != LEADER_EPOCH {
        return answer;
    }
    answer.with_leader_epoch(LEADER_EPOCH).with_end_offset(log.high_watermark())
}

fn delete_before(
    context: &mut Context<'_>,
    log: Option<&mut PartitionLog>,
    offset: i64,
) -> Result<i64, ResponseError> {
    let log = log.ok_or(ResponseError::UnknownTopicOrPartition)?;
    if !log.allows_deletion() {
        return Err(ResponseError::PolicyViolation);
    }
    let end = log.high_watermark();
    let offset = if offset == HIGH_WATERMARK { end } else { offset };
    if !(0..=end).contains(&offset) {
        return Err(ResponseError::OffsetOutOfRange);
    }
    log.start_at(context, offset);
    Ok(log.log_start())
}
