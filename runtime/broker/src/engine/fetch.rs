//! Fetch: records out of partitions, at once or when there are enough of them.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use uuid::Uuid;

use super::{Engine, Handled, Millis};
use crate::log::{LEADER_EPOCH, PartitionKey, PartitionLog, Topics};

/// From this version on topics are named by their ids.
const BY_ID: i16 = 13;
const READ_COMMITTED: i8 = 1;

/// A fetch that waits for records.
#[derive(Debug)]
pub(super) struct Waiting {
    request: FetchRequest,
    version: i16,
    deadline: Millis,
    partitions: Vec<PartitionKey>,
}

/// The answer to a fetch, with what decides whether it can wait.
struct Answer {
    response: FetchResponse,
    bytes: usize,
    /// Whether something went wrong: the client has to know at once.
    failed: bool,
}

impl Engine {
    pub(super) fn fetch(&mut self, now: Millis, version: i16, request: FetchRequest) -> Handled {
        if request.session_id != 0 || request.session_epoch > 0 {
            // sessions are never granted: each fetch names all its partitions
            let code = ResponseError::FetchSessionIdNotFound.code();
            return Handled::answer(FetchResponse::default().with_error_code(code));
        }
        let answer = answer(&self.topics, version, &request);
        let patience = i64::from(request.max_wait_ms);
        let partitions = partitions(&self.topics, version, &request);
        if answer.is_enough_for(&request) || patience <= 0 || partitions.is_empty() {
            return Handled::answer(answer.response);
        }
        let ticket = self.answers.ticket();
        let deadline = now.saturating_add(patience);
        let waiting = Waiting { request, version, deadline, partitions };
        self.fetches.add(ticket, waiting);
        Handled::Waiting(ticket)
    }

    /// Answers the waiting fetches that have enough now, of those that look at these partitions.
    pub(super) fn wake_fetches(&mut self, changed: &[PartitionKey]) {
        let Self { fetches, topics, answers, .. } = self;
        for ticket in fetches.looking_at(changed) {
            let Some(waiting) = fetches.get(ticket) else { continue };
            let answer = answer(topics, waiting.version, &waiting.request);
            if answer.is_enough_for(&waiting.request) {
                fetches.remove(ticket);
                answers.complete(ticket, answer.response.into());
            }
        }
    }

    /// Answers the waiting fetches whose time is over with what there is.
    pub(super) fn expire_fetches(&mut self, now: Millis) {
        let Self { fetches, topics, answers, .. } = self;
        while let Some(ticket) = fetches.due(now) {
            let Some(waiting) = fetches.remove(ticket) else { continue };
            let answer = answer(topics, waiting.version, &waiting.request);
            answers.complete(ticket, answer.response.into());
        }
    }
}

impl Waiting {
    pub(super) fn deadline(&self) -> Millis {
        self.deadline
    }

    pub(super) fn partitions(&self) -> &[PartitionKey] {
        &self.partitions
    }
}

impl Answer {
    fn is_enough_for(&self, request: &FetchRequest) -> bool {
        self.failed || self.bytes >= usize::try_from(request.min_bytes).unwrap_or(0)
    }
}

/// The topic of a fetch by name, whichever way it was named.
fn name<'a>(topics: &'a Topics, version: i16, topic: &'a FetchTopic) -> Option<&'a str> {
    if version >= BY_ID { topics.name_of(topic.topic_id) } else { Some(&topic.topic) }
}

fn partitions(topics: &Topics, version: i16, request: &FetchRequest) -> Vec<PartitionKey> {
    let mut keys = Vec::new();
    for topic in &request.topics {
        let Some(name) = name(topics, version, topic) else { continue };
        let logs = topic.partitions.iter().map(|asked| topics.partition(name, asked.partition));
        keys.extend(logs.flatten().map(PartitionLog::key));
    }
    keys
}

fn answer(topics: &Topics, version: i16, request: &FetchRequest) -> Answer {
    let committed_only = request.isolation_level == READ_COMMITTED;
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0);
    let (mut bytes, mut failed) = (0, false);
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name = name(topics, version, topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let log = name.and_then(|name| topics.partition(name, asked.partition));
            let data = match log {
                // the first records of an answer are there whatever their size, or a client with
                // small limits would never see them
                Some(log) => read(log, asked, committed_only, (left, bytes == 0)),
                None if version >= BY_ID && topic.topic_id == Uuid::nil() => {
                    refused(asked, ResponseError::UnknownTopicOrPartition)
                }
                None if name.is_none() => refused(asked, ResponseError::UnknownTopicId),
                None => refused(asked, ResponseError::UnknownTopicOrPartition),
            };
            let size = data.records.as_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(size);
            bytes += size;
            failed |= data.error_code != 0;
            partitions.push(data);
        }
        let response = FetchableTopicResponse::default().with_partitions(partitions);
        responses.push(response.with_topic(topic.topic.clone()).with_topic_id(topic.topic_id));
    }
    Answer { response: FetchResponse::default().with_responses(responses), bytes, failed }
}

fn read(
    log: &PartitionLog,
    asked: &FetchPartition,
    committed_only: bool,
    (left, at_least_one): (usize, bool),
) -> PartitionData {
    if asked.current_leader_epoch > LEADER_EPOCH {
        return refused(asked, ResponseError::UnknownLeaderEpoch);
    }
    let limit = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(left);
    let Ok(read) = log.read(asked.fetch_offset, committed_only, limit, at_least_one) else {
        return refused(asked, ResponseError::OffsetOutOfRange);
    };
    let aborted = read.aborted.iter().map(|aborted| {
        AbortedTransaction::default()
            .with_producer_id(aborted.producer_id.into())
            .with_first_offset(aborted.first_offset)
    });
    PartitionData::default()
        .with_partition_index(asked.partition)
        .with_high_watermark(log.high_watermark())
        .with_last_stable_offset(log.last_stable_offset())
        .with_log_start_offset(log.log_start())
        .with_aborted_transactions(committed_only.then(|| aborted.collect()))
        .with_records(Some(read.records))
}

fn refused(asked: &FetchPartition, error: ResponseError) -> PartitionData {
    PartitionData::default()
        .with_partition_index(asked.partition)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_aborted_transactions(None)
}
