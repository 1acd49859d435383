//! Why an outbox was not used.

use tidemill::BoxError;

use crate::postgres::{NameError, is_transient};

/// Staging an event, or setting up the outbox, failed.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The event can't be published as it is: its transaction goes on without it.
    #[error("the event {event} of {aggregate} can't be staged: {why}")]
    Refused {
        /// Its type.
        event: String,
        /// Type and id of its aggregate.
        aggregate: String,
        /// What is wrong with it.
        why: String,
    },
    /// What was given as the payload has no JSON.
    #[error("the payload of the event {event} can't be written as JSON")]
    Payload {
        /// The event's type.
        event: String,
        /// Why not.
        #[source]
        cause: serde_json::Error,
    },
    /// A name can't be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting is wrong or contradicts another one.
    #[error("the outbox is not configured: {0}")]
    Configuration(String),
    /// The tables are not what this version works with.
    #[error("outbox {outbox}: {problem}; {remedy}")]
    Schema {
        /// The outbox.
        outbox: String,
        /// What was found.
        problem: String,
        /// What can be done about it.
        remedy: &'static str,
    },
    /// PostgreSQL refused or could not be reached.
    #[error("could not {doing}")]
    Postgres {
        /// What was tried.
        doing: String,
        /// Why.
        #[source]
        cause: tokio_postgres::Error,
    },
}

impl OutboxError {
    /// Returns true if the same may succeed later. After a commit that failed so, the outcome is
    /// unknown: look before doing it again.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Postgres { cause, .. } if is_transient(cause))
    }

    pub(super) fn postgres(doing: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let doing = doing.into();
        move |cause| Self::Postgres { doing, cause }
    }
}

/// As the relay's loop wants to hear it.
impl From<OutboxError> for crate::source::SourceError {
    fn from(error: OutboxError) -> Self {
        match error {
            OutboxError::Schema { outbox, problem, remedy } => Self::Refused {
                what: format!("outbox {outbox}: {problem}"),
                remedy: remedy.to_owned(),
            },
            error if error.is_retriable() => Self::Unavailable(BoxError::from(error)),
            error => Self::Failed(BoxError::from(error)),
        }
    }
}
