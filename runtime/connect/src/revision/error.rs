//! Why a database gave out no revision, and what to do then.

use tidemill::BoxError;

use crate::postgres::{NameError, is_transient};

/// A revision was not drawn, or a row not written. The transaction should be rolled back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CounterError {
    /// A table or a column has no valid name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// PostgreSQL refused, or can't be reached.
    #[error("could not {operation} {name}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// The table or sequence.
        name: String,
        /// What PostgreSQL says.
        #[source]
        cause: tokio_postgres::Error,
    },
    /// The sequence would not grow.
    #[error("sequence {name} makes no revisions: {why}; {remedy}")]
    Sequence {
        /// The sequence.
        name: String,
        /// What is wrong.
        why: String,
        /// What can be done.
        remedy: String,
    },
    /// More than one row has the key.
    #[error("{rows} rows of {table} have the key {key}: roll back, and make the key unique")]
    NotUnique {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// How many.
        rows: u64,
    },
    /// The generator gave out a revision that the row is beyond: a clock that was set back, a
    /// restored backup, or numbers that were drawn in advance.
    #[error(
        "row {key} of {table} has revision {stored}, and the source gave out {drawn}: roll back, \
         and set the source above what was given out"
    )]
    NotNewer {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The row's revision.
        stored: i64,
        /// What the source gave out.
        drawn: i64,
    },
    /// The row is older than the write, but was not written: something hides it from updates.
    #[error(
        "row {key} of {table} does not take revision {revision}, though it is newer: look for a \
         trigger, a rule or a row security policy that keeps updates from it"
    )]
    NotTaken {
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The revision of the write.
        revision: i64,
    },
    /// The source of the revisions failed.
    #[error("no revision was given out")]
    Source(#[source] BoxError),
}

impl CounterError {
    /// Returns true if the same transaction may succeed when it is repeated.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Database { cause, .. } if is_transient(cause))
    }
}
