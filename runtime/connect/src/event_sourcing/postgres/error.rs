//! What a store in PostgreSQL can't do.

use tidemill::BoxError;
use tokio_postgres::Error;

use crate::event_sourcing::{EventError, ExpectedVersion, Version, VersionError};
use crate::postgres::is_transient;

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
pub enum EventStoreError {
    /// Somebody else appended first. Nothing was written; the transaction can go on.
    #[error("stream {stream} is at version {actual}, expected was {expected}: load it again")]
    Conflict {
        /// The stream's id.
        stream: String,
        /// What the append expected.
        expected: ExpectedVersion,
        /// Where the stream is.
        actual: Version,
    },
    /// PostgreSQL refused or is not there.
    #[error("table {table}: {doing} failed")]
    Postgres {
        /// The table of the events.
        table: String,
        /// What was being done.
        doing: &'static str,
        /// What PostgreSQL said.
        #[source]
        cause: Error,
    },
    /// An event of a stream can't be read.
    #[error("stream {stream} can't be read")]
    Event {
        /// The stream's id.
        stream: String,
        /// Which event, and why.
        #[source]
        cause: EventError,
    },
    /// The versions of a stream are wrong.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// An event, a state or a command has no JSON form.
    #[error("stream {stream}: no JSON can be made of it")]
    Json {
        /// The stream's id.
        stream: String,
        /// What serde says.
        #[source]
        cause: serde_json::Error,
    },
    /// A projection refused events.
    #[error("projection {projection} failed on events {first} to {last}")]
    Projection {
        /// Its name.
        projection: String,
        /// Id of the first event of the batch.
        first: i64,
        /// Id of the last event of the batch.
        last: i64,
        /// What it said.
        #[source]
        cause: BoxError,
    },
    /// The tables do not fit this server, or a projection's position does not fit the tables.
    #[error("table {table}: {what}; {remedy}")]
    Refused {
        /// The table of the events.
        table: String,
        /// What was found.
        what: String,
        /// What can be done about it.
        remedy: &'static str,
    },
}

impl EventStoreError {
    /// Returns true if the same may succeed later. After a commit that failed so the outcome is
    /// unknown: execute the command again under the same id.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Conflict { .. } => true,
            Self::Postgres { cause, .. } => is_transient(cause),
            Self::Projection { cause, .. } => {
                cause.downcast_ref::<Error>().is_some_and(is_transient)
            }
            _ => false,
        }
    }
}
