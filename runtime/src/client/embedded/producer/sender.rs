//! The fiber that sends: topics are looked up, partitions registered, batches made and sent.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, MetadataRequest, ProduceRequest, ProducerId,
};

use super::Core;
use super::batch::Batch;
use super::queue::{Partition, Queue, Queued, Registered};
use super::replies;
use super::state::State;
use crate::client::embedded::requests::{topic_name, version, wire_millis};
use crate::client::kafka::code;

/// librdkafka's `_UNKNOWN_TOPIC` and `_MSG_TIMED_OUT`.
const UNKNOWN_TOPIC: i32 = -188;

/// The fiber.
pub(super) fn run(core: &Core) {
    while !core.is_dead() {
        core.data.drive();
        core.transactions.drive();
        replies::take(core);
        expire(core);
        look_up(core);
        register(core);
        bump(core);
        let wake = send(core);
        let wake = [wake, next_timer(core), core.data.next_wake(), core.transactions.next_wake()]
            .into_iter()
            .flatten()
            .min();
        core.scheduler.park(&core.work, wake);
    }
}

impl Core {
    /// Whether records may go out, as far as the transaction is concerned.
    pub(super) fn sends(&self) -> bool {
        let txn = self.txn.borrow();
        if self.is_transactional() {
            let open = matches!(txn.state, State::InTransaction | State::BeginCommit);
            open && txn.writer.is_some()
        } else {
            txn.state != State::FatalError && (!self.settings.idempotent || txn.writer.is_some())
        }
    }
}

/// Gives up what waited too long.
fn expire(core: &Core) {
    let now = core.scheduler.now();
    let limit = core.settings.message_timeout;
    let is_over = |since: Duration| now >= since.saturating_add(limit);
    let mut over = Vec::new();
    {
        let mut queue = core.queue.borrow_mut();
        for (topic, known) in &mut queue.topics {
            while known.waiting.front().is_some_and(|(_, queued)| is_over(queued.since)) {
                let Some((partition, queued)) = known.waiting.pop_front() else { break };
                over.push((Rc::clone(topic), partition.unwrap_or(-1), queued));
            }
        }
        for ((topic, number), partition) in &mut queue.partitions {
            for index in (0..partition.batches.len()).rev() {
                let batch = &partition.batches[index];
                if batch.flight.is_none() && is_over(batch.since()) {
                    let batch = partition.batches.remove(index);
                    let items = batch.map(|batch| batch.items).unwrap_or_default().into_iter();
                    over.extend(items.map(|queued| (Rc::clone(topic), *number, queued)));
                }
            }
            while partition.queued.front().is_some_and(|queued| is_over(queued.since)) {
                let Some(queued) = partition.queued.pop_front() else { break };
                partition.queued_bytes -= queued.record.size();
                over.push((Rc::clone(topic), *number, queued));
            }
        }
    }
    if over.is_empty() {
        return;
    }
    for (topic, partition, queued) in over {
        core.report(&topic, partition, queued, Err(code::MSG_TIMED_OUT));
    }
    gap(core, code::MSG_TIMED_OUT, "records waited for longer than message.timeout.ms");
}

/// Records that had their numbers are gone: nothing may be sent under this epoch any more.
pub(super) fn gap(core: &Core, code: i32, message: &str) {
    if core.is_transactional() {
        core.set_abortable(code, message, true);
    } else if core.settings.idempotent {
        core.queue.borrow_mut().bump = true;
    }
}

/// Raises the epoch once nothing is on its way. A transactional producer asks the coordinator for
/// that when the transaction is aborted.
fn bump(core: &Core) {
    let mut queue = core.queue.borrow_mut();
    if !queue.bump || queue.in_flight > 0 || core.is_transactional() {
        return;
    }
    if let Some(writer) = &mut core.txn.borrow_mut().writer {
        writer.epoch = writer.epoch.wrapping_add(1).max(0);
    }
    queue.renumber();
}

/// Asks about topics that records wait for.
fn look_up(core: &Core) {
    let now = core.scheduler.now();
    let mut gone = Vec::new();
    {
        let mut queue = core.queue.borrow_mut();
        for (topic, known) in &mut queue.topics {
            let over = known
                .missing_since
                .is_some_and(|since| now >= since.saturating_add(core.settings.propagation));
            if over {
                let waiting = known.waiting.drain(..);
                gone.extend(waiting.map(|(partition, queued)| {
                    (Rc::clone(topic), partition.unwrap_or(-1), queued)
                }));
                known.missing_since = None;
            }
            let wanted = known.partitions.is_none() && !known.waiting.is_empty();
            if wanted && known.asked.is_none() && now >= known.ask_at {
                let name = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
                let request = MetadataRequest::default()
                    .with_topics(Some(vec![name]))
                    .with_allow_auto_topic_creation(true);
                let timeout = core.settings.timing.socket_timeout;
                let asked = core.data.post(version::METADATA, request, timeout, &core.work);
                known.asked = Some(asked);
            }
        }
    }
    for (topic, partition, queued) in gone {
        core.report(&topic, partition, queued, Err(UNKNOWN_TOPIC));
    }
}

/// Tells the coordinator which partitions the transaction writes to, one request at a time.
fn register(core: &Core) {
    if !core.is_transactional() || !core.sends() || !core.has_coordinator.get() {
        return;
    }
    let now = core.scheduler.now();
    let mut queue = core.queue.borrow_mut();
    if queue.registering.is_some() || now < queue.register_at {
        return;
    }
    let mut topics: BTreeMap<Rc<str>, Vec<i32>> = BTreeMap::new();
    for ((topic, number), partition) in &mut queue.partitions {
        if partition.registered == Registered::Pending {
            partition.registered = Registered::Asked;
            topics.entry(Rc::clone(topic)).or_default().push(*number);
        }
    }
    if topics.is_empty() {
        return;
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name(&name));
        topic.with_partitions(partitions)
    });
    let writer = core.writer();
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(core.transactional_id())
        .with_v3_and_below_producer_id(ProducerId(writer.producer_id))
        .with_v3_and_below_producer_epoch(writer.epoch)
        .with_v3_and_below_topics(topics.collect());
    core.txn.borrow_mut().touched = true;
    let timeout = core.settings.timing.socket_timeout;
    let link = &core.transactions;
    queue.registering =
        Some(link.post(version::ADD_PARTITIONS_TO_TXN, request, timeout, &core.work));
}

/// Sends what may be sent; returns when more may be.
fn send(core: &Core) -> Option<Duration> {
    if !core.sends() {
        return None;
    }
    let now = core.scheduler.now();
    let mut queue = core.queue.borrow_mut();
    if queue.bump {
        return None;
    }
    let Queue { partitions, flushing, in_flight, .. } = &mut *queue;
    let mut wake: Option<Duration> = None;
    for ((topic, number), partition) in partitions {
        if core.is_transactional() && partition.registered != Registered::Yes {
            continue;
        }
        if partition.draining && partition.in_flight() == 0 {
            partition.draining = false;
        }
        while !partition.draining && *in_flight < core.settings.in_flight_max {
            match next(core, partition, now, *flushing > 0) {
                Next::Batch(index) => {
                    post(core, topic, *number, &mut partition.batches[index]);
                    *in_flight += 1;
                }
                Next::At(at) => {
                    wake = Some(wake.map_or(at, |wake| wake.min(at)));
                    break;
                }
                Next::Nothing => break,
            }
        }
    }
    wake
}

enum Next {
    Batch(usize),
    At(Duration),
    Nothing,
}

/// Finds the batch to send, or makes one; one that is to be repeated goes before what is new.
fn next(core: &Core, partition: &mut Partition, now: Duration, flushing: bool) -> Next {
    if let Some(index) = partition.batches.iter().position(|batch| batch.flight.is_none()) {
        let not_before = partition.batches[index].not_before;
        return if now >= not_before { Next::Batch(index) } else { Next::At(not_before) };
    }
    let Some(oldest) = partition.queued.front() else { return Next::Nothing };
    let lingers_until = oldest.since.saturating_add(core.settings.linger);
    let is_full = partition.queued.len() >= core.settings.batch_messages
        || partition.queued_bytes >= core.settings.batch_bytes;
    if !flushing && !is_full && now < lingers_until {
        return Next::At(lingers_until);
    }
    let mut items: Vec<Queued> = Vec::new();
    let mut bytes = 0;
    while items.len() < core.settings.batch_messages {
        let Some(queued) = partition.queued.front() else { break };
        let size = queued.record.size();
        if !items.is_empty() && bytes + size > core.settings.batch_bytes {
            break;
        }
        bytes += size;
        items.extend(partition.queued.pop_front());
    }
    partition.queued_bytes -= bytes;
    let batch = Batch::new(partition.next_sequence, items);
    partition.next_sequence = partition.next_sequence.wrapping_add(batch.len()) & i32::MAX;
    partition.batches.push_back(batch);
    Next::Batch(partition.batches.len() - 1)
}

fn post(core: &Core, topic: &str, number: i32, batch: &mut Batch) {
    let settings = &core.settings;
    let records = batch.encode(core.writer());
    let partition = PartitionProduceData::default().with_index(number).with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_transactional_id(core.is_transactional().then(|| core.transactional_id()))
        .with_acks(-1)
        .with_timeout_ms(wire_millis(settings.message_timeout.min(Duration::from_secs(30))))
        .with_topic_data(vec![topic]);
    let over = batch.since().saturating_add(settings.message_timeout);
    let left = over.saturating_sub(core.scheduler.now()).max(Duration::from_millis(100));
    let timeout = left.min(settings.timing.socket_timeout);
    batch.flight = Some(core.data.post(version::PRODUCE, request, timeout, &core.work));
}

/// When something is due that no answer tells.
fn next_timer(core: &Core) -> Option<Duration> {
    let queue = core.queue.borrow();
    let limit = core.settings.message_timeout;
    let topics = queue.topics.values().filter(|known| !known.waiting.is_empty());
    let lookups = topics.clone().filter(|known| known.asked.is_none()).map(|known| known.ask_at);
    let missing = topics.filter_map(|known| known.missing_since);
    let missing = missing.map(|since| since.saturating_add(core.settings.propagation));
    let partitions = queue.partitions.values();
    let waiting = partitions.clone().any(|one| one.registered == Registered::Pending);
    let registers = waiting && queue.registering.is_none() && core.sends();
    let registers = registers.then_some(queue.register_at);
    let oldest = partitions.flat_map(|partition| {
        let batches = partition.batches.iter().filter(|batch| batch.flight.is_none());
        let batches = batches.map(Batch::since);
        batches.chain(partition.queued.front().map(|queued| queued.since))
    });
    let waits = queue.topics.values().filter_map(|known| Some(known.waiting.front()?.1.since));
    let expiries = oldest.chain(waits).map(|since| since.saturating_add(limit));
    lookups.chain(missing).chain(registers).chain(expiries).min()
}
