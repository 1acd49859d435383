//! What a restart has to know, as entries and as a file.

use serde::{Deserialize, Serialize};

use crate::{group, log, transaction};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// To a topic or to records.
    Log(log::Entry),
    /// To a group.
    Group(group::Entry),
    /// To a transactional id.
    Transaction(transaction::Entry),
}
