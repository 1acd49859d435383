//! What the journal keeps of transactions: the same things as Kafka's `__transaction_state`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::state::TransactionState;
use crate::engine::{MarkerTarget, Millis};

/// What a restart has to know of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// The next producer id, so that none is given twice.
    NextProducerId(i64),
    /// The coordinator's epoch: it changes when the coordinator does.
    CoordinatorEpoch(i32),
    /// A transactional id and where its transaction is now.
    Transaction {
        /// The transactional id.
        id: String,
        /// What is known of it.
        transaction: Transaction,
    },
    /// A transactional id was not used for long and is forgotten.
    Expired {
        /// The transactional id.
        id: String,
    },
}

/// What the coordinator knows of a transactional id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Id of its producer.
    pub producer_id: i64,
    /// The producer id before it, or -1.
    pub previous_producer_id: i64,
    /// Epoch of its producer; -1 before the first.
    pub epoch: i16,
    /// The epoch from which a producer bumped by itself, or -1.
    pub last_epoch: i16,
    /// How long a transaction may take, in milliseconds.
    pub timeout: Millis,
    /// Where the transaction is.
    pub state: TransactionState,
    /// What is part of it.
    pub targets: BTreeSet<MarkerTarget>,
    /// When it began, or -1.
    pub started: Millis,
    /// When anything changed last.
    pub updated: Millis,
    /// Targets whose markers are not written. A restart writes all of them again, as Kafka does.
    #[serde(skip)]
    pub(super) unsent: BTreeSet<MarkerTarget>,
}

impl Transaction {
    pub(super) fn new(producer_id: i64, timeout: Millis, now: Millis) -> Self {
        Self {
            producer_id,
            previous_producer_id: -1,
            epoch: -1,
            last_epoch: -1,
            timeout,
            state: TransactionState::Empty,
            targets: BTreeSet::new(),
            started: -1,
            updated: now,
            unsent: BTreeSet::new(),
        }
    }

    pub(super) fn transition(&mut self, next: TransactionState, now: Millis) {
        let from = self.state;
        assert!(from.may_become(next), "a transaction can't go from {from:?} to {next:?}");
        self.state = next;
        self.updated = now;
    }

    /// Whether no client can be given a higher epoch. The highest is kept for fencing.
    pub(super) fn is_epoch_exhausted(&self) -> bool {
        is_exhausted(self.epoch)
    }

    /// When the transaction has taken too long.
    pub(super) fn times_out_at(&self) -> Option<Millis> {
        let ongoing = self.state == TransactionState::Ongoing;
        ongoing.then(|| self.started.saturating_add(self.timeout).saturating_add(1))
    }
}

pub(super) fn is_exhausted(epoch: i16) -> bool {
    epoch >= i16::MAX - 1
}
