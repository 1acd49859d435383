//! Why the service gives out no revisions, and what to do then.

use std::io;
use std::net::SocketAddr;

use crate::postgres::{NameError, is_transient};

/// The service can't start, or can't answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevisionServiceError {
    /// The name of the counter is empty or longer than 200 bytes.
    #[error("{0:?} is no name of a counter: it needs 1 to 200 bytes, and no NUL")]
    Name(String),
    /// The table's name is none.
    #[error(transparent)]
    Table(#[from] NameError),
    /// PostgreSQL refused, or can't be reached.
    #[error("could not {operation} the counter {name}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// The counter.
        name: String,
        /// What PostgreSQL says.
        #[source]
        cause: tokio_postgres::Error,
    },
    /// PostgreSQL does not answer in time, or there is no connection to it.
    #[error("the database of the counter {name} is not available: {why}")]
    Unavailable {
        /// The counter.
        name: String,
        /// What was waited for.
        why: String,
    },
    /// The database is not the one that the counter was made in: numbers may be missing in it that
    /// were given out.
    #[error(
        "the counter {name} was made in {expected}, and this is {found}: a restored backup, a \
         promoted standby or a copy may have lost what was given out last; if it is the one to go \
         on with, stop all other instances and adopt it"
    )]
    Refused {
        /// The counter.
        name: String,
        /// Where it was made.
        expected: String,
        /// Where it was found.
        found: String,
    },
    /// The row of the counter is gone.
    #[error(
        "there is no counter {name} in {table}: restart the service to make one, which begins at \
         the present time"
    )]
    Missing {
        /// The counter.
        name: String,
        /// The table.
        table: String,
    },
    /// No larger number is left.
    #[error("the counter {name} is at its end: no revision of 64 bits is left")]
    Exhausted {
        /// The counter.
        name: String,
    },
    /// The address can't be listened on.
    #[error("could not listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        cause: io::Error,
    },
}

impl RevisionServiceError {
    /// Returns true if time may heal it.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Database { cause, .. } => is_transient(cause),
            _ => false,
        }
    }

    /// The whole of it on one line, for the answer to a client. PostgreSQL's own messages have no
    /// password in them.
    pub(super) fn in_a_line(&self) -> String {
        let mut line = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            next = cause.source();
        }
        line
    }
}
