//! What a restart has to know, as entries and as a file.
//!
//! The engine hands out [`Entry`] values in the order in which things happened; the same code
//! applies them when the broker starts again. [`File`] keeps them in a data directory.

mod codec;
mod error;
mod file;
mod lock;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use codec::{decode, encode};
pub use error::JournalError;
pub use file::File;

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
