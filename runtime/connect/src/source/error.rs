//! Why a relay stopped, and what can be done about it.

use tidemill::BoxError;
use tidemill::client::{ClientError, Severity};

use super::SourceError;

/// A relay stopped, or could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// An option is missing or contradicts another one.
    #[error("the relay is not configured: {0}")]
    Configuration(String),
    /// The topic of the positions is not what it has to be.
    #[error("positions topic {topic}: {problem}; {remedy}")]
    PositionsTopic {
        /// Its name.
        topic: String,
        /// What is wrong with it.
        problem: String,
        /// What can be done about it.
        remedy: &'static str,
    },
    /// What is stored as the relay's position can't be used.
    #[error("the position of relay {relay} in topic {topic}: {problem}; {remedy}")]
    Position {
        /// The relay.
        relay: String,
        /// The positions topic.
        topic: String,
        /// What is wrong with it.
        problem: String,
        /// What can be done about it.
        remedy: &'static str,
    },
    /// A topic that records go to is missing or shrank.
    #[error("topic {topic} of relay {relay}: {problem}; {remedy}")]
    DataTopic {
        /// The relay.
        relay: String,
        /// The topic.
        topic: String,
        /// What is wrong with it.
        problem: String,
        /// What can be done about it.
        remedy: &'static str,
    },
    /// Another relay with the same name took over: the work goes on there.
    #[error(
        "another relay named {relay} took over; this one stopped and lost nothing. If that was not \
         intended, give each relay a name of its own, or run only one"
    )]
    Superseded {
        /// The relay's name.
        relay: String,
        /// How Kafka said so.
        #[source]
        cause: ClientError,
    },
    /// Kafka refused, in a way that time did not heal.
    #[error("relay {relay} {doing}")]
    Kafka {
        /// The relay.
        relay: String,
        /// What it could not do.
        doing: String,
        /// Why.
        #[source]
        cause: ClientError,
    },
    /// The source can't go on.
    #[error("the source of relay {relay} stopped it")]
    Source {
        /// The relay.
        relay: String,
        /// Why.
        #[source]
        cause: SourceError,
    },
    /// A record can never be sent, and the source has no place to put it aside.
    #[error("relay {relay} met a record for topic {topic} that can't be sent: {why}")]
    Rejected {
        /// The relay.
        relay: String,
        /// Where the record was to go.
        topic: String,
        /// Why not, and what can be done about it.
        why: String,
    },
    /// The process could not give what a relay needs: a thread, a runtime.
    #[error("relay {relay} can't run")]
    Resources {
        /// The relay.
        relay: String,
        /// Why.
        #[source]
        cause: BoxError,
    },
}

impl RelayError {
    /// Returns true if starting the relay again, as it is, may help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Kafka { cause, .. } => cause.severity != Severity::Fatal,
            Self::Source { cause, .. } => matches!(cause, SourceError::Unavailable(_)),
            Self::Resources { .. } => true,
            _ => false,
        }
    }
}

/// Joins an error's text with those of its causes, for one line of a log.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // some errors already say what their cause says
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
