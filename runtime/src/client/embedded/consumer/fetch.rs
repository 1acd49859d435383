//! Fetches what is assigned: one request at a time, aborted records left out.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, PartitionData};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, ResponseKind,
};
use tidemill_core::record::{Offset, RawRecord, TopicPartition};

use super::queue::PartitionQueue;
use super::{Core, Reset};
use crate::client::embedded::link::Outcome;
use crate::client::embedded::records::{Batch, batches};
use crate::client::embedded::requests::{
    by_topic, metadata, partition_counts, topic_name, version, wire_millis,
};
use crate::client::kafka::{code, error};
use crate::client::seam::Fetched;

const OPERATION: &str = "read a partition";

/// What is fetched.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    partitions: BTreeMap<TopicPartition, Rc<PartitionQueue>>,
    started: bool,
    /// Whose turn it is to come first in a request, so that nobody starves.
    turn: usize,
}

impl Fetching {
    pub(super) fn remove(&mut self, partition: &TopicPartition) {
        self.partitions.remove(partition);
    }
}

/// Fetches this too from now on.
pub(super) fn add(core: &Rc<Core>, queue: Rc<PartitionQueue>) {
    let started = {
        let mut fetching = core.fetching.borrow_mut();
        fetching.partitions.insert(queue.partition.clone(), queue);
        std::mem::replace(&mut fetching.started, true)
    };
    if !started {
        let of_fiber = Rc::clone(core);
        core.scheduler.spawn(core.process, "fetch", move || run(&of_fiber));
    }
    core.fetch.raise();
}

/// The fiber.
fn run(core: &Core) {
    while !core.is_dead() {
        match due(core) {
            Ok(wanted) => fetch(core, &wanted),
            Err(wake) => {
                core.scheduler.park(&core.fetch, wake);
            }
        }
    }
}

/// Partitions that have room and are not backing off, or else when that changes.
fn due(core: &Core) -> Result<Vec<Rc<PartitionQueue>>, Option<Duration>> {
    let now = core.scheduler.now();
    let mut fetching = core.fetching.borrow_mut();
    let mut wake: Option<Duration> = None;
    let mut wanted = Vec::new();
    for queue in fetching.partitions.values().filter(|queue| !queue.stopped.get()) {
        let (bytes, messages) = queue.load();
        let settings = &core.settings;
        if now >= queue.not_before.get()
            && (bytes >= settings.queue_max_bytes || messages >= settings.queue_min_messages)
        {
            queue.not_before.set(now.saturating_add(settings.queue_backoff));
        }
        if now < queue.not_before.get() {
            let at = queue.not_before.get();
            wake = Some(wake.map_or(at, |wake| wake.min(at)));
        } else {
            wanted.push(Rc::clone(queue));
        }
    }
    if wanted.is_empty() {
        return Err(wake);
    }
    let first = fetching.turn % wanted.len();
    fetching.turn = fetching.turn.wrapping_add(1);
    wanted.rotate_left(first);
    Ok(wanted)
}

fn fetch(core: &Core, wanted: &[Rc<PartitionQueue>]) {
    let reset = wanted.iter().find(|queue| queue.next.get() < 0);
    if let Some(queue) = reset {
        return reset_offset(core, queue);
    }
    let settings = &core.settings;
    let size = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
    let mut topics: Vec<FetchTopic> = Vec::new();
    for queue in wanted {
        let partition = FetchPartition::default()
            .with_partition(queue.partition.partition.0)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(queue.next.get())
            .with_partition_max_bytes(size(settings.partition_max_bytes));
        let name = topic_name(&queue.partition.topic);
        match topics.iter_mut().find(|topic| topic.topic == name) {
            Some(topic) => topic.partitions.push(partition),
            None => {
                let topic = FetchTopic::default().with_topic(name);
                topics.push(topic.with_partitions(vec![partition]));
            }
        }
    }
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wire_millis(settings.fetch_wait))
        .with_min_bytes(size(settings.fetch_min_bytes))
        .with_max_bytes(size(settings.fetch_max_bytes))
        .with_isolation_level(i8::from(settings.read_committed))
        .with_session_epoch(-1)
        .with_topics(topics);
    let timeout = settings.timing.socket_timeout.saturating_add(settings.fetch_wait);
    match core.data.call(version::FETCH, request, timeout) {
        Ok(ResponseKind::Fetch(answer)) if answer.error_code == 0 => take(core, wanted, answer),
        _ => {
            let later = core.scheduler.now().saturating_add(settings.error_backoff);
            wanted.iter().for_each(|queue| queue.not_before.set(later));
        }
    }
}

fn take(core: &Core, wanted: &[Rc<PartitionQueue>], answer: FetchResponse) {
    let mut filled = false;
    let mut missing = Vec::new();
    for topic in answer.responses {
        for data in topic.partitions {
            let is_it = |queue: &&Rc<PartitionQueue>| {
                queue.partition.partition.0 == data.partition_index
                    && *queue.partition.topic == *topic.topic.as_str()
            };
            let Some(queue) = wanted.iter().find(is_it).filter(|queue| queue.is_active()) else {
                continue;
            };
            filled |= take_partition(core, queue, data);
            if queue.missing_since.get().is_some() {
                missing.push(Rc::clone(queue));
            }
        }
    }
    if !missing.is_empty() {
        filled |= look_for(core, &missing);
    }
    if filled {
        core.waker.wake();
    }
}

/// Takes one partition's part of an answer; returns true if its reader had nothing before.
fn take_partition(core: &Core, queue: &PartitionQueue, data: PartitionData) -> bool {
    let committed = core.settings.read_committed;
    let end = if committed { data.last_stable_offset } else { data.high_watermark };
    let failed = i32::from(data.error_code);
    if failed != code::NO_ERROR {
        return refused(core, queue, failed);
    }
    queue.missing_since.set(None);
    if end == queue.next.get() && queue.told_end.get() != Some(end) {
        queue.told_end.set(Some(end));
        return queue.push(Fetched::EndOfPartition(Offset(end)));
    }
    let aborted =
        if committed { data.aborted_transactions.unwrap_or_default() } else { Vec::new() };
    let was_empty = queue.load().1 == 0;
    if let Err(error) = read(core, queue, data.records.unwrap_or_default(), aborted) {
        queue.fail(error);
    }
    was_empty && queue.load().1 > 0
}

/// Sorts the records of an answer: those that are ours, and those that nobody may see.
fn read(
    core: &Core,
    queue: &PartitionQueue,
    records: Bytes,
    mut aborted: Vec<AbortedTransaction>,
) -> Result<(), crate::client::error::ClientError> {
    aborted.sort_by_key(|one| one.first_offset);
    let mut aborted = aborted.into_iter().peekable();
    let mut ends_badly = BTreeSet::new();
    let mut any = false;
    for batch in batches(records) {
        let Ok(batch) = batch else {
            // a limit of the fetch cuts the last batch; the first one is always whole
            return if any { Ok(()) } else { Err(damaged(core, queue)) };
        };
        any = true;
        while let Some(one) = aborted.next_if(|one| one.first_offset < batch.next_offset()) {
            ends_badly.insert(one.producer_id.0);
        }
        if batch.is_control() {
            if batch.is_abort_marker() {
                ends_badly.remove(&batch.producer_id);
            }
        } else {
            let hidden = batch.is_transactional() && ends_badly.contains(&batch.producer_id);
            if !hidden && !deliver(queue, &batch) {
                return Err(damaged(core, queue));
            }
        }
        queue.next.set(batch.next_offset().max(queue.next.get()));
    }
    Ok(())
}

/// Hands a batch's records to the reader; false if they can't be read.
fn deliver(queue: &PartitionQueue, batch: &Batch) -> bool {
    for message in batch.records() {
        let Ok(message) = message else { return false };
        // a batch is fetched whole, also from its middle
        if message.offset().0 >= queue.next.get() {
            queue.push(Fetched::Record(message));
        }
    }
    true
}

fn damaged(core: &Core, queue: &PartitionQueue) -> crate::client::error::ClientError {
    let later = core.scheduler.now().saturating_add(core.settings.error_backoff);
    queue.not_before.set(later);
    error::from_code(OPERATION, BAD_MESSAGE)
}

/// librdkafka's `_BAD_MSG`.
const BAD_MESSAGE: i32 = -199;
/// librdkafka's `_AUTO_OFFSET_RESET`: what an offset that is not in the log becomes.
const AUTO_OFFSET_RESET: i32 = -140;
const OFFSET_OUT_OF_RANGE: i32 = 1;
/// librdkafka's `_UNKNOWN_TOPIC` and `_UNKNOWN_PARTITION`.
const UNKNOWN_TOPIC: i32 = -188;
const UNKNOWN_PARTITION: i32 = -190;
/// Handled inside: NOT_LEADER, BROKER_NOT_AVAILABLE, REPLICA_NOT_AVAILABLE, KAFKA_STORAGE_ERROR,
/// FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH, OFFSET_NOT_AVAILABLE, and the leader's being unknown.
const RETRIED_INSIDE: [i32; 8] = [6, 8, 9, 56, 74, 75, 78, code::LEADER_NOT_AVAILABLE];

/// Reacts to a partition's error; returns true if its reader had nothing before and has now.
fn refused(core: &Core, queue: &PartitionQueue, failed: i32) -> bool {
    let now = core.scheduler.now();
    queue.not_before.set(now.saturating_add(core.settings.error_backoff));
    if failed == code::UNKNOWN_TOPIC_OR_PART {
        if queue.missing_since.get().is_none() {
            queue.missing_since.set(Some(now));
        }
        return false;
    }
    if RETRIED_INSIDE.contains(&failed) {
        return false;
    }
    if failed == OFFSET_OUT_OF_RANGE {
        let at = queue.next.get();
        queue.told_end.set(None);
        if core.settings.reset == Reset::Error {
            queue.stopped.set(true);
            let message = format!("the offset {at} is not in the log");
            let severity = code::severity(AUTO_OFFSET_RESET);
            return queue.fail(error::make(OPERATION, AUTO_OFFSET_RESET, message, severity));
        }
        queue.next.set(-1);
        queue.not_before.set(now);
        return false;
    }
    queue.fail(error::from_code(OPERATION, failed))
}

/// Finds out whether partitions that the broker does not know will ever come.
fn look_for(core: &Core, missing: &[Rc<PartitionQueue>]) -> bool {
    let names: BTreeSet<&str> = missing.iter().map(|queue| &*queue.partition.topic).collect();
    let names: Vec<_> = names.into_iter().collect();
    let timeout = core.settings.timing.socket_timeout;
    let Ok(answer) = metadata(&core.data, &names, timeout) else { return false };
    let counts = partition_counts(&answer);
    let now = core.scheduler.now();
    let mut filled = false;
    for queue in missing.iter().filter(|queue| queue.is_active()) {
        let since = queue.missing_since.get().unwrap_or(now);
        let over = now >= since.saturating_add(core.settings.propagation);
        let failed = match counts.get(&*queue.partition.topic) {
            Some(Ok(count)) if queue.partition.partition.0 < *count => continue,
            Some(Ok(_)) => UNKNOWN_PARTITION,
            Some(Err(code::UNKNOWN_TOPIC_OR_PART)) if over => UNKNOWN_TOPIC,
            _ => continue,
        };
        queue.stopped.set(true);
        queue.missing_since.set(None);
        filled |= queue.fail(error::from_code(OPERATION, failed));
    }
    filled
}

/// Asks where the log starts or ends, for `auto.offset.reset`.
fn reset_offset(core: &Core, queue: &PartitionQueue) {
    let timestamp = if core.settings.reset == Reset::Earliest { -2 } else { -1 };
    let partition = |number| {
        ListOffsetsPartition::default()
            .with_partition_index(number)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp)
    };
    let topics = by_topic([(&queue.partition, ())]).into_iter().map(|(name, numbers)| {
        let partitions = numbers.into_iter().map(|(number, ())| partition(number)).collect();
        ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(partitions)
    });
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(core.settings.read_committed))
        .with_topics(topics.collect());
    let outcome: Outcome =
        core.data.call(version::LIST_OFFSETS, request, core.settings.timing.socket_timeout);
    let offset = match outcome {
        Ok(ResponseKind::ListOffsets(answer)) => {
            let mut partitions = answer.topics.into_iter().flat_map(|topic| topic.partitions);
            partitions.next().filter(|one| one.error_code == 0).map(|one| one.offset)
        }
        _ => None,
    };
    match offset {
        Some(offset) => queue.next.set(offset),
        None => {
            let later = core.scheduler.now().saturating_add(core.settings.error_backoff);
            queue.not_before.set(later);
        }
    }
}
