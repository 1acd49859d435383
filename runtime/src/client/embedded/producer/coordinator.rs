//! The fiber that talks to the transaction coordinator: producer ids and ends of transactions.

use kafka_protocol::messages::{
    EndTxnRequest, InitProducerIdRequest, ProducerId, ResponseKind, TransactionalId,
};

use std::time::Duration;

use super::state::{Job, State};
use super::{
    CONCURRENT_TRANSACTIONS, COORDINATOR_IS_ELSEWHERE, COORDINATOR_LOAD_IN_PROGRESS, Core,
    INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING, INVALID_TXN_STATE, PRODUCER_FENCED,
    UNAUTHORIZED, UNKNOWN_PRODUCER_ID, flagged, normalized,
};
use crate::client::embedded::link::Link;
use crate::client::embedded::records::Writer;
use crate::client::embedded::requests::{
    TRANSACTION, find_coordinator, text, version, wire_millis,
};
use crate::client::kafka::code;
use crate::client::kafka::error::{self, Flag};

/// librdkafka's wait before it asks for a producer id or a coordinator again.
pub(super) const PID_RETRY: Duration = Duration::from_millis(500);
const INVALID_TRANSACTION_TIMEOUT: i32 = 50;

/// The fiber.
pub(super) fn run(core: &Core) {
    while !core.is_dead() {
        let job = core.txn.borrow_mut().job.take();
        match job {
            Some(Job::Init) => init(core),
            Some(Job::End { commit }) => end(core, commit),
            Some(Job::SendOffsets { offsets, group, deadline }) => {
                super::offsets::send(core, &offsets, &group, deadline);
            }
            None if core.txn.borrow().wants_coordinator => {
                core.txn.borrow_mut().wants_coordinator = false;
                core.find_coordinator();
                core.work.raise();
            }
            None => {
                core.scheduler.park(&core.job, None);
            }
        }
        core.decided.raise();
    }
}

impl Core {
    pub(super) fn transactional_id(&self) -> TransactionalId {
        TransactionalId(text(self.settings.transactional_id.as_deref().unwrap_or_default()))
    }

    pub(super) fn writer(&self) -> Writer {
        let none = Writer { producer_id: -1, epoch: -1, transactional: false };
        self.txn.borrow().writer.unwrap_or(none)
    }

    /// Waits until the coordinator is known; false if the producer ends before.
    pub(super) fn find_coordinator(&self) -> bool {
        let Some(id) = &self.settings.transactional_id else { return !self.is_dead() };
        while !self.has_coordinator.get() {
            if self.is_dead() || self.is_beyond_use() {
                return false;
            }
            let now = self.scheduler.now();
            let until = now.saturating_add(self.settings.timing.socket_timeout);
            let failed = find_coordinator(&self.data, TRANSACTION, id, until);
            if failed == code::NO_ERROR {
                self.has_coordinator.set(true);
            } else if UNAUTHORIZED.contains(&failed) {
                let text = error::from_code("", failed).message;
                self.set_fatal(failed, &format!("Failed to find transaction coordinator: {text}"));
            } else {
                self.scheduler.sleep(PID_RETRY);
            }
        }
        !self.is_dead()
    }

    pub(super) fn is_beyond_use(&self) -> bool {
        self.txn.borrow().state == State::FatalError
    }

    /// Has the fiber look for the coordinator when it is through with what it does.
    pub(super) fn ask_for_coordinator(&self) {
        self.txn.borrow_mut().wants_coordinator = true;
        self.job.raise();
    }

    /// The coordinator may have moved: ask before the next request.
    pub(super) fn lose_coordinator(&self) {
        self.has_coordinator.set(false);
    }
}

/// Gets a producer id, or raises its epoch.
fn init(core: &Core) {
    loop {
        if !core.find_coordinator() || core.is_beyond_use() {
            return;
        }
        let old = core.writer();
        let transactional = core.is_transactional();
        let timeout =
            if transactional { wire_millis(core.settings.transaction_timeout) } else { i32::MAX };
        let request = InitProducerIdRequest::default()
            .with_transactional_id(transactional.then(|| core.transactional_id()))
            .with_transaction_timeout_ms(timeout)
            .with_producer_id(ProducerId(old.producer_id))
            .with_producer_epoch(old.epoch);
        let link: &Link = if transactional { &core.transactions } else { &core.data };
        let timeout = core.settings.timing.socket_timeout;
        let failed = match link.call(version::INIT_PRODUCER_ID, request, timeout) {
            Ok(ResponseKind::InitProducerId(answer)) if answer.error_code == 0 => {
                let writer = Writer {
                    producer_id: answer.producer_id.0,
                    epoch: answer.producer_epoch,
                    transactional,
                };
                return initialised(core, writer);
            }
            Ok(ResponseKind::InitProducerId(answer)) => i32::from(answer.error_code),
            Ok(_) => code::FAIL,
            Err(broken) => broken.code(),
        };
        if core.is_dead() {
            return;
        }
        let text = error::from_code("", failed).message;
        let message = format!("Failed to acquire transactional PID: {text}");
        if [INVALID_PRODUCER_EPOCH, PRODUCER_FENCED].contains(&failed) {
            let message = format!("Producer fenced by newer instance: {message}");
            return core.set_fatal(failed, &message);
        }
        if failed == INVALID_TRANSACTION_TIMEOUT || UNAUTHORIZED.contains(&failed) {
            return core.set_fatal(failed, &message);
        }
        if COORDINATOR_IS_ELSEWHERE.contains(&failed) {
            core.lose_coordinator();
        }
        core.txn.borrow_mut().init_error = failed;
        core.scheduler.sleep(PID_RETRY);
    }
}

fn initialised(core: &Core, writer: Writer) {
    core.queue.borrow_mut().renumber();
    let mut txn = core.txn.borrow_mut();
    txn.writer = Some(writer);
    txn.init_error = code::NO_ERROR;
    txn.state = match txn.state {
        State::WaitPid => State::ReadyNotAcked,
        State::BeginAbort | State::AbortingTransaction => State::AbortNotAcked,
        other => other,
    };
    drop(txn);
    core.work.raise();
}

/// Ends the transaction, however often that has to be asked: a request that was sent on a
/// connection that is gone may still arrive, also after the answer to its repetition.
fn end(core: &Core, commit: bool) {
    for retries in 0.. {
        if !core.find_coordinator() {
            return;
        }
        let writer = core.writer();
        let request = EndTxnRequest::default()
            .with_transactional_id(core.transactional_id())
            .with_producer_id(ProducerId(writer.producer_id))
            .with_producer_epoch(writer.epoch)
            .with_committed(commit);
        let timeout = core.settings.timing.socket_timeout;
        let failed = match core.transactions.call(version::END_TXN, request, timeout) {
            Ok(ResponseKind::EndTxn(answer)) => i32::from(answer.error_code),
            Ok(_) => code::FAIL,
            Err(broken) => broken.code(),
        };
        if core.is_dead() || ended(core, commit, failed) {
            return;
        }
        let jitter = core.scheduler.random(|rng| rng.u32(80..=120));
        core.scheduler.sleep(core.settings.timing.retry_backoff(retries) * jitter / 100);
    }
}

/// Takes an answer in; false if the request has to be repeated.
fn ended(core: &Core, commit: bool, failed: i32) -> bool {
    let state = core.txn.borrow().state;
    match state {
        State::CommittingTransaction | State::AbortingTransaction => {}
        State::AbortableError => {
            failed_before(core, commit, failed);
            return true;
        }
        // nobody waits for it any more
        _ => return true,
    }
    let what = if commit { "commit" } else { "abort" };
    let text = error::from_code("", failed).message;
    let message = format!("EndTxn {what} failed: {text}");
    match failed {
        code::NO_ERROR => complete(core, commit),
        code::TIMED_OUT | code::TIMED_OUT_QUEUE | code::TRANSPORT => return false,
        COORDINATOR_LOAD_IN_PROGRESS | CONCURRENT_TRANSACTIONS => return false,
        _ if COORDINATOR_IS_ELSEWHERE.contains(&failed) => {
            core.lose_coordinator();
            return false;
        }
        INVALID_PRODUCER_EPOCH | PRODUCER_FENCED | INVALID_TXN_STATE => {
            core.set_fatal(failed, &format!("Failed to end transaction: {text}"));
        }
        _ if UNAUTHORIZED.contains(&failed) => {
            core.set_fatal(failed, &format!("Failed to end transaction: {text}"));
        }
        UNKNOWN_PRODUCER_ID | INVALID_PRODUCER_ID_MAPPING if !commit => init(core),
        _ => {
            let bump = [UNKNOWN_PRODUCER_ID, INVALID_PRODUCER_ID_MAPPING].contains(&failed);
            if !commit {
                core.txn.borrow_mut().state = State::BeginAbort;
            }
            core.set_abortable(failed, &format!("Failed to end transaction: {text}"), bump);
            core.txn.borrow_mut().fail(flagged(normalized(failed), message, Flag::Abort));
        }
    }
    true
}

/// The transaction had failed here while its end was on its way.
fn failed_before(core: &Core, commit: bool, failed: i32) {
    let (code, why) = core.txn.borrow().error();
    let fate = if failed == code::NO_ERROR { "succeeded on the broker" } else { "failed" };
    let message = format!("EndTxn {fate} but the transaction had already failed due to: {why}");
    let both = commit && failed == code::NO_ERROR;
    let flag = if both { Flag::Fatal } else { Flag::Abort };
    core.txn.borrow_mut().fail(flagged(code, message, flag));
}

fn complete(core: &Core, commit: bool) {
    if core.txn.borrow().bump && !commit {
        return init(core);
    }
    let mut txn = core.txn.borrow_mut();
    txn.state = if commit { State::CommitNotAcked } else { State::AbortNotAcked };
}
