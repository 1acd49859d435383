//! The state machine of transactions: librdkafka's, state by state.

use crate::client::embedded::records::Writer;
use crate::client::kafka::code;
use crate::client::kafka::error::{Flag, Flagged};
use crate::client::types::OffsetCommit;

use super::super::consumer::GroupMetadata;
use super::flagged;
use std::time::Duration;

/// `*NotAcked`: it is done, and the call that asked for it has not been told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Init,
    WaitPid,
    ReadyNotAcked,
    Ready,
    InTransaction,
    BeginCommit,
    CommittingTransaction,
    CommitNotAcked,
    BeginAbort,
    AbortingTransaction,
    AbortNotAcked,
    AbortableError,
    FatalError,
}

/// What the coordinator's fiber is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// A producer id, or a new epoch of the one there is.
    Init,
    End {
        commit: bool,
    },
    SendOffsets {
        offsets: Vec<OffsetCommit>,
        group: GroupMetadata,
        deadline: Duration,
    },
}

#[derive(Debug, Default)]
pub(super) struct Txn {
    pub(super) state: State,
    /// What failed the transaction, or the producer.
    error: Option<(i32, String)>,
    /// An abort ends with a new epoch.
    pub(super) bump: bool,
    /// Whether the coordinator may know anything of this transaction.
    pub(super) touched: bool,
    /// Records of the transaction that were not delivered.
    pub(super) failed: u64,
    pub(super) writer: Option<Writer>,
    /// Why there is no producer id yet.
    pub(super) init_error: i32,
    pub(super) job: Option<Job>,
    /// Whether the coordinator is to be looked for.
    pub(super) wants_coordinator: bool,
    /// The call that is being made, or that was given up and must be made again.
    call: Option<&'static str>,
    /// What came of its request, if it failed.
    failure: Option<Flagged>,
    /// Whether offsets were taken.
    pub(super) offsets_sent: bool,
}

impl Txn {
    pub(super) fn fatal(&self) -> Option<(i32, String)> {
        self.error.clone().filter(|_| self.state == State::FatalError)
    }

    pub(super) fn set_fatal(&mut self, code: i32, message: &str) {
        if self.state != State::FatalError {
            self.error = Some((code, message.to_owned()));
            self.state = State::FatalError;
        }
        self.fail(flagged(code, message, Flag::Fatal));
    }

    /// Returns true if the transaction has failed because of this, and not before.
    pub(super) fn set_abortable(&mut self, code: i32, message: &str, bump: bool) -> bool {
        if self.state == State::FatalError {
            return false;
        }
        self.bump |= bump;
        if self.error.is_some() {
            return false;
        }
        let open = [State::InTransaction, State::BeginCommit, State::CommittingTransaction];
        if open.contains(&self.state) {
            self.error = Some((code, message.to_owned()));
            self.state = State::AbortableError;
        }
        true
    }

    /// Forgets what failed the last transaction.
    pub(super) fn begin(&mut self) {
        self.state = State::InTransaction;
        self.error = None;
        self.failed = 0;
        self.touched = false;
        self.bump = false;
    }

    /// The error of a call that this state does not allow.
    pub(super) fn refusal(&self) -> Flagged {
        match (&self.error, self.state) {
            (Some((code, message)), State::FatalError) => flagged(*code, message, Flag::Fatal),
            (Some((code, message)), State::AbortableError) => flagged(*code, message, Flag::Abort),
            _ => {
                let message = format!("Operation not valid in state {:?}", self.state);
                Flagged::new(code::STATE, message, None)
            }
        }
    }

    /// What failed the transaction locally, for messages.
    pub(super) fn error(&self) -> (i32, String) {
        self.error.clone().unwrap_or((code::FAIL, String::new()))
    }

    /// Begins a call, or resumes it: another one may not come in between.
    pub(super) fn enter(&mut self, call: &'static str) -> Result<(), Flagged> {
        if let Some(other) = self.call.filter(|other| *other != call) {
            let message = format!("Conflicting {other} API call is already in progress");
            return Err(flagged(code::CONFLICT, message, Flag::Retriable));
        }
        self.call = Some(call);
        Ok(())
    }

    /// The call is over, unless it is to be made again.
    pub(super) fn leave(&mut self, resumable: bool) {
        if !resumable {
            self.call = None;
            self.failure = None;
        }
    }

    /// The request of the call failed. Without a call nobody is interested; the first failure
    /// counts.
    pub(super) fn fail(&mut self, failure: Flagged) {
        if self.call.is_some() {
            self.failure.get_or_insert(failure);
        }
    }

    pub(super) fn take_failure(&mut self) -> Option<Flagged> {
        self.failure.take()
    }
}
