//! What the sender makes of answers: acknowledged, sent again, given up.

use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::messages::{AddPartitionsToTxnResponse, ProduceResponse, ResponseKind};

use super::batch::Batch;
use super::queue::{Queue, Registered, UNKNOWN_PARTITION, choose};
use super::sender::gap;
use super::state::State;
use super::{
    CONCURRENT_TRANSACTIONS, COORDINATOR_IS_ELSEWHERE, COORDINATOR_LOAD_IN_PROGRESS, Core, FENCED,
    INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING, INVALID_TXN_STATE, PRODUCER_FENCED,
    UNAUTHORIZED, UNKNOWN_PRODUCER_ID,
};
use crate::client::embedded::link::{Outcome, Pending};
use crate::client::embedded::requests::partition_counts;
use crate::client::kafka::{code, error};

const OUT_OF_ORDER_SEQUENCE_NUMBER: i32 = 45;
const DUPLICATE_SEQUENCE_NUMBER: i32 = 46;
/// Before a topic that is not there is asked for again.
const TOPIC_RETRY: Duration = Duration::from_millis(100);
/// Before partitions are registered again: librdkafka's for "the last transaction is still being
/// ended", and for everything else.
const REGISTER_SOON: Duration = Duration::from_millis(20);
const REGISTER_LATER: Duration = Duration::from_millis(500);

/// Takes all answers that have come.
pub(super) fn take(core: &Core) {
    topics(core);
    let registered = {
        let mut queue = core.queue.borrow_mut();
        let outcome = queue.registering.as_ref().and_then(Pending::take);
        if outcome.is_some() {
            queue.registering = None;
        }
        outcome
    };
    if let Some(outcome) = registered {
        register(core, outcome);
    }
    loop {
        let next = answered(&mut core.queue.borrow_mut());
        let Some((topic, number, batch, outcome)) = next else { return };
        produced(core, &topic, number, batch, outcome);
    }
}

/// Takes a batch out whose answer has come.
fn answered(queue: &mut Queue) -> Option<(Rc<str>, i32, Batch, Outcome)> {
    for ((topic, number), partition) in &mut queue.partitions {
        for index in 0..partition.batches.len() {
            let flight = partition.batches[index].flight.as_ref();
            if let Some(outcome) = flight.and_then(Pending::take) {
                queue.in_flight -= 1;
                let mut batch = partition.batches.remove(index)?;
                batch.flight = None;
                return Some((Rc::clone(topic), *number, batch, outcome));
            }
        }
    }
    None
}

fn topics(core: &Core) {
    let now = core.scheduler.now();
    let transactional = core.is_transactional();
    let mut queue = core.queue.borrow_mut();
    let mut arrived = Vec::new();
    for (topic, known) in &mut queue.topics {
        let Some(outcome) = known.asked.as_ref().and_then(Pending::take) else { continue };
        known.asked = None;
        known.ask_at = now.saturating_add(TOPIC_RETRY);
        let Ok(ResponseKind::Metadata(answer)) = outcome else { continue };
        match partition_counts(&answer).get(&**topic) {
            Some(Ok(count)) if *count > 0 => {
                known.partitions = Some(*count);
                known.missing_since = None;
                arrived.push((Rc::clone(topic), *count, std::mem::take(&mut known.waiting)));
            }
            Some(Err(code::UNKNOWN_TOPIC_OR_PART)) => {
                known.missing_since.get_or_insert(now);
            }
            _ => {}
        }
    }
    let mut nowhere = Vec::new();
    for (topic, count, waiting) in arrived {
        for (partition, queued) in waiting {
            let pick = || core.scheduler.random(|rng| rng.u32(..));
            let number = partition.unwrap_or_else(|| choose(&queued.record, count, pick()));
            if number < count {
                queue.place(&topic, number, queued, transactional);
            } else {
                nowhere.push((Rc::clone(&topic), number, queued));
            }
        }
    }
    drop(queue);
    for (topic, number, queued) in nowhere {
        core.report(&topic, number, queued, Err(UNKNOWN_PARTITION));
    }
}

/// Partitions were registered, or not.
fn register(core: &Core, outcome: Outcome) {
    let state = core.txn.borrow().state;
    if !matches!(state, State::InTransaction | State::BeginCommit) {
        return;
    }
    let failed = match outcome {
        Ok(ResponseKind::AddPartitionsToTxn(answer)) => registered(core, &answer),
        Ok(_) => code::FAIL,
        Err(broken) => broken.code(),
    };
    let now = core.scheduler.now();
    {
        let mut queue = core.queue.borrow_mut();
        let asked = queue.partitions.values_mut();
        asked.filter(|one| one.registered == Registered::Asked).for_each(|one| {
            one.registered = Registered::Pending;
        });
        let soon = failed == CONCURRENT_TRANSACTIONS;
        let wait = if soon { REGISTER_SOON } else { REGISTER_LATER };
        let wait = if failed == code::NO_ERROR { Duration::ZERO } else { wait };
        queue.register_at = now.saturating_add(wait);
    }
    let message = format!(
        "Failed to add partitions to transaction: {}",
        error::from_code("", failed).message
    );
    match failed {
        code::NO_ERROR
        | CONCURRENT_TRANSACTIONS
        | COORDINATOR_LOAD_IN_PROGRESS
        | code::UNKNOWN_TOPIC_OR_PART => {}
        _ if code::transport(failed) => {}
        _ if COORDINATOR_IS_ELSEWHERE.contains(&failed) => {
            core.lose_coordinator();
            // the main thread looks for it, and the sender goes on
            core.ask_for_coordinator();
        }
        INVALID_PRODUCER_EPOCH | PRODUCER_FENCED | INVALID_TXN_STATE => {
            core.set_fatal(failed, &message);
        }
        _ if UNAUTHORIZED.contains(&failed) => core.set_fatal(failed, &message),
        UNKNOWN_PRODUCER_ID | INVALID_PRODUCER_ID_MAPPING => {
            core.set_abortable(failed, &message, true);
        }
        _ => core.set_abortable(failed, &message, false),
    }
}

/// Notes what was registered; the last code that is none, or 0.
fn registered(core: &Core, answer: &AddPartitionsToTxnResponse) -> i32 {
    let mut failed = code::NO_ERROR;
    let mut queue = core.queue.borrow_mut();
    for topic in &answer.results_by_topic_v3_and_below {
        let name: Rc<str> = topic.name.as_str().into();
        for one in &topic.results_by_partition {
            if one.partition_error_code != 0 {
                failed = i32::from(one.partition_error_code);
                continue;
            }
            let key = (Rc::clone(&name), one.partition_index);
            if let Some(partition) = queue.partitions.get_mut(&key)
                && partition.registered == Registered::Asked
            {
                partition.registered = Registered::Yes;
            }
        }
    }
    failed
}

fn produced(core: &Core, topic: &Rc<str>, number: i32, batch: Batch, outcome: Outcome) {
    let (failed, base) = match outcome {
        Ok(ResponseKind::Produce(answer)) => result(&answer),
        Ok(_) => (code::FAIL, -1),
        Err(broken) => (broken.code(), -1),
    };
    match failed {
        // the broker has it already, wherever that is: the base offset is -1 then
        code::NO_ERROR | DUPLICATE_SEQUENCE_NUMBER => {
            acknowledged(core, topic, number, batch, base)
        }
        code::DESTROY => {}
        _ if is_repeated(failed) => repeat(core, topic, number, batch),
        OUT_OF_ORDER_SEQUENCE_NUMBER if core.settings.idempotent => {
            out_of_order(core, topic, number, batch);
        }
        _ => refused(core, topic, number, batch, failed),
    }
}

fn result(answer: &ProduceResponse) -> (i32, i64) {
    let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.next().map_or((code::FAIL, -1), |one| (i32::from(one.error_code), one.base_offset))
}

/// What librdkafka sends again by itself: UNKNOWN_TOPIC_OR_PART, LEADER_NOT_AVAILABLE,
/// NOT_LEADER, REQUEST_TIMED_OUT, BROKER_NOT_AVAILABLE, REPLICA_NOT_AVAILABLE,
/// NETWORK_EXCEPTION, NOT_ENOUGH_REPLICAS (two), KAFKA_STORAGE_ERROR.
fn is_repeated(failed: i32) -> bool {
    [3, 5, 6, 7, 8, 9, 13, 19, 20, 56].contains(&failed)
        || [code::TRANSPORT, code::TIMED_OUT, code::TIMED_OUT_QUEUE].contains(&failed)
}

fn acknowledged(core: &Core, topic: &Rc<str>, number: i32, batch: Batch, base: i64) {
    {
        let mut queue = core.queue.borrow_mut();
        if let Some(partition) = queue.partitions.get_mut(&(Rc::clone(topic), number)) {
            partition.next_ack = batch.sequence.wrapping_add(batch.len()) & i32::MAX;
        }
    }
    for (offset, queued) in (base..).zip(batch.items) {
        core.report(topic, number, queued, Ok(offset));
    }
}

/// Puts a batch back, with the same numbers, behind nothing that came after it.
fn repeat(core: &Core, topic: &Rc<str>, number: i32, mut batch: Batch) {
    let over = core.is_transactional() && !core.sends();
    let now = core.scheduler.now();
    batch.not_before = now.saturating_add(core.settings.timing.retry_backoff(batch.retries));
    batch.retries += 1;
    {
        let mut queue = core.queue.borrow_mut();
        let Some(partition) = queue.partitions.get_mut(&(Rc::clone(topic), number)) else { return };
        partition.draining = core.settings.idempotent;
        let later = |other: &Batch| other.sequence > batch.sequence;
        let place = partition.batches.iter().position(later).unwrap_or(partition.batches.len());
        partition.batches.insert(place, batch);
    }
    if over {
        // the transaction is being aborted: nobody wants it any more
        core.purge(false);
    }
}

fn out_of_order(core: &Core, topic: &Rc<str>, number: i32, batch: Batch) {
    let expected = {
        let queue = core.queue.borrow();
        queue.partitions.get(&(Rc::clone(topic), number)).map_or(0, |one| one.next_ack)
    };
    if batch.sequence > expected {
        // one before it failed; nothing was written, so all can be sent again under a new epoch
        repeat(core, topic, number, batch);
        return gap(core, OUT_OF_ORDER_SEQUENCE_NUMBER, "skipped sequence numbers");
    }
    for queued in batch.items {
        core.report(topic, number, queued, Err(OUT_OF_ORDER_SEQUENCE_NUMBER));
    }
    let message = format!("sequence desynchronization with the broker for {topic} [{number}]");
    core.set_fatal(OUT_OF_ORDER_SEQUENCE_NUMBER, &message);
}

fn refused(core: &Core, topic: &Rc<str>, number: i32, batch: Batch, failed: i32) {
    for queued in batch.items {
        core.report(topic, number, queued, Err(failed));
    }
    let text = error::from_code("", failed).message;
    let message = format!("ProduceRequest for {topic} [{number}] failed: {text}");
    if !core.settings.idempotent {
        return;
    }
    if core.is_transactional() {
        match failed {
            INVALID_PRODUCER_EPOCH => core.set_fatal(FENCED, &message),
            UNKNOWN_PRODUCER_ID => core.set_abortable(failed, &message, true),
            _ => core.set_abortable(failed, &message, false),
        }
    } else {
        gap(core, failed, &message);
    }
}
