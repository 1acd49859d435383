//! The transaction coordinator: producer ids, epochs, the two phases of a commit.

use serde::{Deserialize, Serialize};

use crate::engine::{Context, Millis};
use crate::group::Groups;
use crate::journal;
use crate::log::Topics;

/// What a restart has to know of transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {}

/// All transactional ids.
#[derive(Debug, Default)]
pub struct Transactions {}

impl Transactions {
    pub(crate) fn recover(&mut self, entry: Entry, _now: Millis) -> Result<(), String> {
        match entry {}
    }

    pub(crate) fn snapshot(&self) -> Vec<journal::Entry> {
        Vec::new()
    }

    pub(crate) fn advance(
        &mut self,
        _context: &mut Context<'_>,
        _topics: &mut Topics,
        _groups: &mut Groups,
    ) {
    }

    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        None
    }

    /// Whether a transactional batch of this producer may go to the partition: its transaction is
    /// ongoing and has the partition.
    pub(crate) fn permits(&self, _producer_id: i64, _topic: &str, _partition: i32) -> bool {
        false
    }
}
