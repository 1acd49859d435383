//! The transactional calls, with librdkafka's rules of what may follow what.
//!
//! A call that runs out of time goes on without its caller; only the same call may be made then,
//! and takes up what has come of it.

use std::time::Duration;

use super::state::{Job, State};
use super::{Core, Producer, flagged, normalized};
use crate::client::embedded::consumer::GroupMetadata;
use crate::client::error::ClientError;
use crate::client::kafka::code;
use crate::client::kafka::error::{self, Flag, Flagged};
use crate::client::types::OffsetCommit;

/// librdkafka's `_NOT_CONFIGURED` and `_INCONSISTENT`.
const NOT_CONFIGURED: i32 = -145;
const INCONSISTENT: i32 = -149;

impl Producer {
    /// See [`crate::client::Producer::init_transactions`].
    pub(super) fn init(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let until = self.core.scheduler.now().saturating_add(timeout);
        self.result("initialise transactions", self.core.init(until))
    }

    /// See [`crate::client::Producer::begin_transaction`].
    pub(super) fn begin(&mut self) -> Result<(), ClientError> {
        const OPERATION: &str = "begin a transaction";
        if let Some(error) = self.core.fatal_error(OPERATION) {
            return Err(error);
        }
        self.core.log.reset_positions();
        self.core.log.clear_error();
        self.result(OPERATION, self.core.begin())
    }

    /// See [`crate::client::Producer::send_offsets`].
    pub(super) fn send_offsets_of(
        &mut self,
        offsets: &[OffsetCommit],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        let limit = timeout.min(self.core.settings.transaction_timeout);
        let deadline = self.core.scheduler.now().saturating_add(limit);
        let sent = self.core.send_offsets(offsets, group, deadline);
        self.result("send offsets to the transaction", sent)
    }

    /// See [`crate::client::Producer::commit_transaction`].
    pub(super) fn commit(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let until = self.core.scheduler.now().saturating_add(timeout);
        self.result("commit the transaction", self.core.commit(until))
    }

    /// See [`crate::client::Producer::abort_transaction`].
    pub(super) fn abort(&mut self, timeout: Duration) -> Result<(), ClientError> {
        let until = self.core.scheduler.now().saturating_add(timeout);
        self.result("abort the transaction", self.core.abort(until))
    }

    /// Time that ran out counts as trouble: the request may still be on its way (INV-6).
    fn result(
        &self,
        operation: &'static str,
        result: Result<(), Flagged>,
    ) -> Result<(), ClientError> {
        let Err(error) = result else { return Ok(()) };
        let error = error.transactional(operation);
        if error.timed_out {
            self.core.log.trouble();
        }
        Err(error)
    }
}

impl Core {
    fn enter(&self, call: &'static str) -> Result<(), Flagged> {
        if !self.is_transactional() {
            let message = "The Transactional API requires transactional.id to be configured";
            return Err(Flagged::new(NOT_CONFIGURED, message, None));
        }
        self.txn.borrow_mut().enter(call)
    }

    /// Ends a call; `resumable` if the same call takes it up again after a retriable error.
    fn leave(&self, resumable: bool, result: Result<(), Flagged>) -> Result<(), Flagged> {
        let again = resumable && result.as_ref().is_err_and(Flagged::is_retriable);
        self.txn.borrow_mut().leave(again);
        result
    }

    fn ask(&self, job: Job) {
        self.txn.borrow_mut().job = Some(job);
        self.job.raise();
    }

    /// Waits until the transaction has come there, or something failed.
    fn reach(&self, state: State, until: Duration) -> Result<(), Flagged> {
        loop {
            {
                let mut txn = self.txn.borrow_mut();
                if txn.state == state {
                    let _of_the_past = txn.take_failure();
                    return Ok(());
                }
                if let Some(failure) = txn.take_failure() {
                    return Err(failure);
                }
            }
            self.wait(until)?;
        }
    }

    /// Waits for news.
    fn wait(&self, until: Duration) -> Result<(), Flagged> {
        if self.scheduler.now() >= until || self.is_dead() {
            let message = "Timed out waiting for operation to finish, retry call to resume";
            return Err(flagged(code::TIMED_OUT, message, Flag::Retriable));
        }
        self.scheduler.park(&self.decided, Some(until));
        Ok(())
    }

    fn init(&self, until: Duration) -> Result<(), Flagged> {
        self.enter("init_transactions")?;
        let state = self.txn.borrow().state;
        match state {
            State::Init => {
                self.txn.borrow_mut().state = State::WaitPid;
                self.ask(Job::Init);
            }
            State::WaitPid | State::ReadyNotAcked => {}
            _ => {
                let refusal = self.txn.borrow().refusal();
                return self.leave(false, Err(refusal));
            }
        }
        if let Err(error) = self.reach(State::ReadyNotAcked, until) {
            let why = normalized(self.txn.borrow().init_error);
            if error.code == code::TIMED_OUT && why != code::NO_ERROR && why != code::TIMED_OUT {
                let text = error::from_code("", why).message;
                let message = format!("Failed to initialize Producer ID: {text}");
                return self.leave(true, Err(flagged(why, message, Flag::Retriable)));
            }
            return self.leave(true, Err(error));
        }
        self.txn.borrow_mut().state = State::Ready;
        self.leave(false, Ok(()))
    }

    fn begin(&self) -> Result<(), Flagged> {
        self.enter("begin_transaction")?;
        let begun = {
            let mut txn = self.txn.borrow_mut();
            if txn.state == State::Ready {
                txn.begin();
                Ok(())
            } else {
                Err(txn.refusal())
            }
        };
        self.leave(false, begun)
    }

    fn send_offsets(
        &self,
        offsets: &[OffsetCommit],
        group: &GroupMetadata,
        deadline: Duration,
    ) -> Result<(), Flagged> {
        self.enter("send_offsets_to_transaction")?;
        let offsets: Vec<_> = offsets.iter().filter(|one| one.offset.0 >= 0).cloned().collect();
        if offsets.is_empty() {
            return self.leave(false, Ok(()));
        }
        if self.txn.borrow().state != State::InTransaction {
            let refusal = self.txn.borrow().refusal();
            return self.leave(false, Err(refusal));
        }
        self.txn.borrow_mut().offsets_sent = false;
        self.ask(Job::SendOffsets { offsets, group: group.clone(), deadline });
        // librdkafka waits without a limit of its own here
        let result = loop {
            {
                let mut txn = self.txn.borrow_mut();
                if txn.offsets_sent {
                    break Ok(());
                }
                if let Some(failure) = txn.take_failure() {
                    break Err(failure);
                }
            }
            if let Err(dead) = self.wait(Duration::MAX) {
                break Err(dead);
            }
        };
        self.leave(false, result)
    }

    fn commit(&self, until: Duration) -> Result<(), Flagged> {
        self.enter("commit_transaction")?;
        if let Err(refusal) = self.begin_commit() {
            return self.leave(false, Err(refusal));
        }
        if !self.flush(until) {
            return self.leave(true, Err(self.unflushed()));
        }
        if let Err(error) = self.end_with_commit() {
            return self.leave(true, Err(error));
        }
        if let Err(error) = self.reach(State::CommitNotAcked, until) {
            return self.leave(true, Err(error));
        }
        self.complete();
        self.leave(false, Ok(()))
    }

    fn begin_commit(&self) -> Result<(), Flagged> {
        let mut txn = self.txn.borrow_mut();
        match txn.state {
            State::InTransaction => {
                txn.state = State::BeginCommit;
                Ok(())
            }
            State::BeginCommit | State::CommittingTransaction | State::CommitNotAcked => Ok(()),
            _ => Err(txn.refusal()),
        }
    }

    /// Asks for the end, unless that was done already, or there is nothing to end.
    fn end_with_commit(&self) -> Result<(), Flagged> {
        let (state, failed, touched) = {
            let txn = self.txn.borrow();
            (txn.state, txn.failed, txn.touched)
        };
        match state {
            State::CommittingTransaction | State::CommitNotAcked => Ok(()),
            State::BeginCommit if failed > 0 => {
                let message = format!(
                    "{failed} message(s) failed delivery (see individual delivery reports)"
                );
                self.set_abortable(INCONSISTENT, &message, false);
                Err(flagged(INCONSISTENT, message, Flag::Abort))
            }
            State::BeginCommit if !touched => {
                self.txn.borrow_mut().state = State::CommitNotAcked;
                Ok(())
            }
            State::BeginCommit => {
                self.txn.borrow_mut().state = State::CommittingTransaction;
                self.ask(Job::End { commit: true });
                Ok(())
            }
            _ => Err(self.txn.borrow().refusal()),
        }
    }

    fn abort(&self, until: Duration) -> Result<(), Flagged> {
        self.enter("abort_transaction")?;
        if let Err(refusal) = self.begin_abort() {
            return self.leave(false, Err(refusal));
        }
        self.purge(false);
        if !self.flush(until) {
            return self.leave(true, Err(self.unflushed()));
        }
        let (state, touched, bump) = {
            let txn = self.txn.borrow();
            (txn.state, txn.touched, txn.bump)
        };
        match state {
            State::AbortingTransaction | State::AbortNotAcked => {}
            State::BeginAbort if touched => {
                self.txn.borrow_mut().state = State::AbortingTransaction;
                self.ask(Job::End { commit: false });
            }
            State::BeginAbort if bump => self.ask(Job::Init),
            State::BeginAbort => self.txn.borrow_mut().state = State::AbortNotAcked,
            _ => {
                let refusal = self.txn.borrow().refusal();
                return self.leave(true, Err(refusal));
            }
        }
        if let Err(error) = self.reach(State::AbortNotAcked, until) {
            return self.leave(true, Err(error));
        }
        self.complete();
        self.leave(false, Ok(()))
    }

    fn begin_abort(&self) -> Result<(), Flagged> {
        let begun = {
            let mut txn = self.txn.borrow_mut();
            match txn.state {
                State::InTransaction | State::AbortableError => {
                    txn.state = State::BeginAbort;
                    true
                }
                State::BeginAbort | State::AbortingTransaction | State::AbortNotAcked => false,
                _ => return Err(txn.refusal()),
            }
        };
        if begun {
            self.queue.borrow_mut().forget_registered(false);
        }
        Ok(())
    }

    fn unflushed(&self) -> Flagged {
        let left = self.queue.borrow().messages;
        let message = format!(
            "Failed to flush all outstanding messages within the API timeout: \
             {left} message(s) remaining"
        );
        flagged(code::TIMED_OUT, message, Flag::Retriable)
    }

    /// The application knows that the transaction is over.
    fn complete(&self) {
        self.queue.borrow_mut().forget_registered(true);
        let mut txn = self.txn.borrow_mut();
        txn.state = State::Ready;
        txn.bump = false;
        txn.touched = false;
    }
}
