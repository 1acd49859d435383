//! An end of a transaction that goes astray: its connection is lost while it is on its way, its
//! client asks again and begins the next transaction, and it arrives in the middle of that
//! (KAFKA-17754).

use kafka_protocol::messages::RequestKind;
use tidemill_broker::engine::{Call, Engine};
use tidemill_broker::transaction::TransactionState;

use super::state::{Asked, Told};
use super::{ConnectionId, Network};
use crate::simulation::fiber::ProcessId;

/// Where in the next transaction the end arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// Behind so many requests with records, from 1: those are committed, the rest is not.
    Records(u32),
    /// Behind the offsets: records that come after them are not committed.
    Offsets,
}

/// The end that goes astray.
pub(super) struct Stray {
    process: ProcessId,
    landing: Landing,
    /// What else happens once it has ended a transaction that was not its own.
    then: Box<dyn FnOnce()>,
    /// The request, once it was sent.
    held: Option<Call>,
}

impl Network {
    /// Has the next commit of this process go astray. What it has begun since is ended by it, which
    /// `then` is told about, unless the broker refuses it.
    pub(crate) fn lead_astray(
        &self,
        process: ProcessId,
        landing: Landing,
        then: impl FnOnce() + 'static,
    ) {
        let stray = Stray { process, landing, then: Box::new(then), held: None };
        self.0.state.borrow_mut().stray = Some(stray);
    }

    /// Loses what is astray.
    pub(crate) fn forget_stray(&self) {
        self.0.state.borrow_mut().stray = None;
    }

    /// Takes a request out of its connection, which is lost, if it is the one to go astray.
    pub(super) fn goes_astray(&self, connection: ConnectionId, call: &Call) -> bool {
        let held = {
            let mut state = self.0.state.borrow_mut();
            let process = state.connections.get(&connection).map(|one| one.process);
            let stray = state.stray.as_mut();
            let stray = stray.filter(|one| one.held.is_none() && Some(one.process) == process);
            match (stray, &call.request) {
                (Some(stray), RequestKind::EndTxn(end)) if end.committed => {
                    stray.held = Some(call.clone());
                    true
                }
                _ => false,
            }
        };
        if held {
            self.reset(connection);
        }
        held
    }

    /// To be called when a request of this transactional id was performed: what is astray may
    /// arrive now.
    pub(super) fn after_request_of(&self, passed: Option<Passed>) {
        let Some(passed) = passed else { return };
        let arrived = {
            let mut state = self.0.state.borrow_mut();
            let arrives = state.stray.as_mut().is_some_and(|stray| stray.arrives(&passed));
            arrives.then(|| state.stray.take()).flatten()
        };
        let Some(Stray { then, held: Some(call), .. }) = arrived else { return };
        let was_open = self.is_open(&passed.transactional_id);
        let nobody = ConnectionId(u64::MAX);
        self.handle(Asked { connection: nobody, correlation: 0, told: Told::Never }, call);
        if was_open && !self.is_open(&passed.transactional_id) {
            self.0.scheduler.trace("a transaction is ended by another's end", 0);
            self.at(self.0.scheduler.now(), |_| then());
        }
    }

    fn is_open(&self, transactional_id: &str) -> bool {
        let of = |engine: &Engine| {
            let mut all = engine.transactions().iter();
            all.any(|(id, one)| id == transactional_id && one.state == TransactionState::Ongoing)
        };
        self.0.state.borrow().engine.as_ref().is_some_and(of)
    }
}

impl Stray {
    fn arrives(&mut self, passed: &Passed) -> bool {
        let Some(Call { request: RequestKind::EndTxn(end), .. }) = &self.held else { return false };
        if end.transactional_id.0.as_str() != passed.transactional_id {
            return false;
        }
        match (&mut self.landing, passed.is_offsets) {
            (Landing::Records(left), false) => {
                *left = left.saturating_sub(1);
                *left == 0
            }
            (Landing::Offsets, is_offsets) => is_offsets,
            (Landing::Records(_), true) => false,
        }
    }
}

/// A request that put something into a transaction.
pub(super) struct Passed {
    transactional_id: String,
    is_offsets: bool,
}

impl Passed {
    /// What a request will have put into a transaction, if it is of that kind.
    pub(super) fn of(request: &RequestKind) -> Option<Self> {
        let (id, is_offsets) = match request {
            RequestKind::Produce(produce) => (produce.transactional_id.as_ref()?, false),
            RequestKind::TxnOffsetCommit(offsets) => (&offsets.transactional_id, true),
            _ => return None,
        };
        Some(Self { transactional_id: id.0.to_string(), is_offsets })
    }
}
