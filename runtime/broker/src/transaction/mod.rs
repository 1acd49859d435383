//! The transaction coordinator: producer ids, epochs, the two phases of a commit.
//!
//! ```text
//!               +--------------------- Ongoing --------------------+
//!               v                       ^  ^                       v
//!         PrepareCommit                 |  |                 PrepareAbort
//!               | markers written       |  |    markers written    |
//!               v                       |  |                       v
//!         CompleteCommit ---------------+  +--------------- CompleteAbort
//!               |                       ^                          |
//!               +------> Empty ---------+<-------- Empty <---------+
//! ```
//!
//! Rules:
//! 1. This is transactions V1: one epoch for as long as a producer lives, whatever it begins and
//!    ends. A request that comes late is therefore taken for one of the transaction that is open
//!    when it comes (KAFKA-17754); nothing here is cleverer than that.
//! 2. `EndTxn` is answered when the outcome is in the journal. The markers follow: at once, unless
//!    they are held back. Until the last is written every request for the transactional id is told
//!    to come again ([`ResponseError::ConcurrentTransactions`]).
//! 3. Who fences (a new producer, a time-out) bumps the epoch and writes the abort markers under
//!    the new one, so that each partition refuses the old producer from then on.
//!
//! [`ResponseError::ConcurrentTransactions`]: kafka_protocol::ResponseError::ConcurrentTransactions

mod add;
mod describe;
mod end;
mod entry;
mod init;
mod markers;
mod state;

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;

pub use entry::{Entry, Transaction};
pub use state::TransactionState;

use crate::engine::{Context, MarkerTarget, Millis, Moves};
use crate::group::Groups;
use crate::journal;
use crate::log::Topics;

/// All transactional ids.
#[derive(Debug, Default)]
pub struct Transactions {
    ids: BTreeMap<String, Transaction>,
    next_producer_id: i64,
    coordinator_epoch: i32,
    /// Markers that are not to be written before a time.
    holds: BTreeMap<MarkerTarget, Millis>,
    moves: Moves,
}

impl Transactions {
    /// Does again what the journal says was done.
    pub(crate) fn recover(&mut self, entry: Entry, _now: Millis) -> Result<(), String> {
        match entry {
            Entry::NextProducerId(next) if next < self.next_producer_id => {
                return Err(format!("producer id {next} after {}", self.next_producer_id));
            }
            Entry::NextProducerId(next) => self.next_producer_id = next,
            Entry::CoordinatorEpoch(epoch) => self.coordinator_epoch = epoch,
            Entry::Expired { id } => {
                self.ids.remove(&id);
            }
            Entry::Transaction { id, mut transaction } => {
                if transaction.producer_id >= self.next_producer_id {
                    return Err(format!("producer {} was never made", transaction.producer_id));
                }
                if transaction.state.is_prepared() {
                    transaction.unsent.clone_from(&transaction.targets);
                }
                self.ids.insert(id, transaction);
            }
        }
        Ok(())
    }

    /// Begins to coordinate what the journal knows, as a new coordinator.
    pub(crate) fn recovered(&mut self, journal: &mut Vec<journal::Entry>) {
        self.coordinator_epoch = self.coordinator_epoch.saturating_add(1);
        let entry = Entry::CoordinatorEpoch(self.coordinator_epoch);
        journal.push(journal::Entry::Transaction(entry));
    }

    /// Returns entries that recover to this state.
    pub(crate) fn snapshot(&self) -> Vec<journal::Entry> {
        let head = [
            Entry::NextProducerId(self.next_producer_id),
            Entry::CoordinatorEpoch(self.coordinator_epoch),
        ];
        let all = self.ids.iter().map(|(id, transaction)| Entry::Transaction {
            id: id.clone(),
            transaction: transaction.clone(),
        });
        head.into_iter().chain(all).map(journal::Entry::Transaction).collect()
    }

    /// Does what is due: time-outs, markers that were held back, transactional ids out of use.
    pub(crate) fn advance(
        &mut self,
        ctx: &mut Context<'_>,
        topics: &mut Topics,
        groups: &mut Groups,
    ) {
        let now = ctx.now;
        self.moves.arrived(now);
        self.holds.retain(|_, until| *until > now);
        let here: Vec<String> =
            self.ids.keys().filter(|id| !self.moves.is_away(id, now)).cloned().collect();
        for id in here {
            let Some(transaction) = self.ids.get(&id) else { continue };
            let due = transaction.times_out_at().map(|at| on_grid(at, ctx));
            if due.is_some_and(|at| at <= now) {
                tracing::debug!(%id, "the transaction has timed out");
                self.fence(ctx, (topics, groups), &id);
            } else if transaction.state.is_prepared() {
                self.write_markers(ctx, (topics, groups), &id);
            } else if self.expires_at(transaction, ctx).is_some_and(|at| at <= now) {
                self.ids.remove(&id);
                ctx.journal.push(journal::Entry::Transaction(Entry::Expired { id }));
            }
        }
    }

    /// When [`Transactions::advance`] has something to do next.
    pub(crate) fn next_deadline(&self, config: &crate::engine::EngineConfig) -> Option<Millis> {
        let due = self.ids.iter().filter_map(|(id, transaction)| {
            let at = match transaction.state {
                TransactionState::Ongoing => {
                    let interval = config.transaction_abort_interval_ms;
                    transaction.times_out_at().map(|at| round_up(at, interval))
                }
                state if state.is_prepared() => self.markers_due(transaction),
                _ => {
                    Some(transaction.updated.saturating_add(config.transactional_id_expiration_ms))
                }
            };
            at.map(|at| at.max(self.moves.until(id).unwrap_or(at)))
        });
        due.chain(self.moves.next()).min()
    }

    fn expires_at(&self, transaction: &Transaction, ctx: &Context<'_>) -> Option<Millis> {
        let idle = transaction.state != TransactionState::Ongoing;
        let expiration = ctx.config.transactional_id_expiration_ms;
        idle.then(|| transaction.updated.saturating_add(expiration))
    }

    /// Writes a transactional id to the journal.
    fn store(&self, ctx: &mut Context<'_>, id: &str) {
        let Some(transaction) = self.ids.get(id) else { return };
        let entry = Entry::Transaction { id: id.to_owned(), transaction: transaction.clone() };
        ctx.journal.push(journal::Entry::Transaction(entry));
    }

    /// Refuses what can't be answered for this transactional id.
    fn check(&self, id: &str, now: Millis) -> Result<(), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        self.moves.check(id, now)
    }

    /// The transaction that a producer may change.
    fn of_producer(
        &mut self,
        id: &str,
        (producer_id, epoch): (i64, i16),
        now: Millis,
    ) -> Result<&mut Transaction, ResponseError> {
        self.check(id, now)?;
        let transaction = self.ids.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        if transaction.producer_id != producer_id {
            return Err(ResponseError::InvalidProducerIdMapping);
        }
        if transaction.epoch != epoch {
            return Err(ResponseError::ProducerFenced);
        }
        if transaction.state.is_prepared() {
            return Err(ResponseError::ConcurrentTransactions);
        }
        Ok(transaction)
    }

    /// Moves the coordinator of a transactional id; the new one has loaded at `until`.
    pub(crate) fn move_coordinator(&mut self, ctx: &mut Context<'_>, id: &str, until: Millis) {
        self.moves.start(id, until);
        self.recovered(ctx.journal);
        // the new coordinator does not know which markers the old one has written
        if let Some(transaction) = self.ids.get_mut(id).filter(|found| found.state.is_prepared()) {
            transaction.unsent.clone_from(&transaction.targets);
        }
    }

    /// A client was told where the coordinator of a transactional id is.
    pub(crate) fn coordinator_found(&mut self, id: &str) {
        self.moves.found(id);
    }

    /// The transactional ids with what is known of each, for oracles.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Transaction)> {
        self.ids.iter().map(|(id, transaction)| (id.as_str(), transaction))
    }
}

/// Kafka looks for timed-out transactions at intervals only.
fn on_grid(at: Millis, ctx: &Context<'_>) -> Millis {
    round_up(at, ctx.config.transaction_abort_interval_ms)
}

fn round_up(at: Millis, interval: Millis) -> Millis {
    if interval <= 1 {
        return at;
    }
    at.div_euclid(interval).saturating_add(i64::from(at.rem_euclid(interval) != 0)) * interval
}

/// Before some version of each request, clients know a fenced producer under an older error.
fn for_version(version: i16, newer_from: i16, error: ResponseError) -> ResponseError {
    match error {
        ResponseError::ProducerFenced if version < newer_from => {
            ResponseError::InvalidProducerEpoch
        }
        error => error,
    }
}
