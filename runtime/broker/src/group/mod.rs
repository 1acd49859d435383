//! Consumer groups: members, generations and committed offsets.

use serde::{Deserialize, Serialize};

use crate::engine::{Context, Millis, Ticket};
use crate::journal;
use crate::log::Marker;

/// What a restart has to know of groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {}

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {}

impl Groups {
    pub(crate) fn recover(&mut self, entry: Entry, _now: Millis) -> Result<(), String> {
        match entry {}
    }

    pub(crate) fn snapshot(&self) -> Vec<journal::Entry> {
        Vec::new()
    }

    pub(crate) fn advance(&mut self, _context: &mut Context<'_>) {}

    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        None
    }

    pub(crate) fn abandon(&mut self, _ticket: Ticket) {}

    pub(crate) fn apply_marker(
        &mut self,
        _context: &mut Context<'_>,
        _group: &str,
        _producer_id: i64,
        _marker: Marker,
    ) {
    }
}
