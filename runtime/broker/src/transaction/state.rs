//! The states of a transactional id and the steps between them.

use serde::{Deserialize, Serialize};

use crate::log::Marker;

/// Where the transaction of a transactional id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TransactionState {
    /// The producer has its epoch and has begun nothing.
    Empty,
    /// Partitions or offsets are part of it; it may still end either way.
    Ongoing,
    /// It will be committed, whatever happens; markers are on their way.
    PrepareCommit,
    /// It will be aborted, whatever happens; markers are on their way.
    PrepareAbort,
    /// It is committed everywhere.
    CompleteCommit,
    /// It is aborted everywhere.
    CompleteAbort,
}

impl TransactionState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// The name that clients and tools are shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether a transaction may go from this state to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        match next {
            // a new epoch of the producer
            Self::Empty => matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort),
            Self::Ongoing => !self.is_prepared(),
            Self::PrepareCommit | Self::PrepareAbort => matches!(self, Self::Ongoing),
            Self::CompleteCommit => matches!(self, Self::PrepareCommit),
            Self::CompleteAbort => matches!(self, Self::PrepareAbort),
        }
    }

    /// Whether the outcome is decided and not yet written everywhere.
    #[must_use]
    pub const fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// The markers that are written in this state.
    #[must_use]
    pub const fn marker(self) -> Option<Marker> {
        match self {
            Self::PrepareCommit => Some(Marker::Commit),
            Self::PrepareAbort => Some(Marker::Abort),
            _ => None,
        }
    }
}
