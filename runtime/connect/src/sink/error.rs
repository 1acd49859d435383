//! Why a sink ended.

use tidemill::BoxError;
use tidemill::client::ClientError;

/// A sink can't go on. Whatever it applied is whole and recorded.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Something is wrong with how it was set up.
    #[error("sink {sink}: {what}")]
    Invalid {
        /// The sink's name.
        sink: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The stored offsets and the topic do not belong together any more. Going on could lose or
    /// repeat records, so an operator has to decide.
    #[error("sink {sink}: {what}; {remedy}")]
    Refused {
        /// The sink's name.
        sink: String,
        /// What was found, and what was expected.
        what: String,
        /// What can be done about it.
        remedy: String,
    },
    /// A record can't be applied, and the sink was told to halt then. All records before it are
    /// applied.
    #[error(
        "sink {sink} halted: {place} can't be applied; mend the cause and start it again, or have \
         such records put aside (OnPoison::DeadLetter)"
    )]
    Poison {
        /// The sink's name.
        sink: String,
        /// Topic, partition and offset of the record.
        place: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The target failed in a way that time does not heal.
    #[error("sink {sink}: could not {doing}")]
    Target {
        /// The sink's name.
        sink: String,
        /// What was tried.
        doing: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The Kafka client failed in a way that time does not heal.
    #[error("sink {sink}: Kafka")]
    Kafka {
        /// The sink's name.
        sink: String,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// The program's own code panicked, or its tokio runtime ended.
    #[error("sink {sink}: the task that applies records ended without an answer")]
    Gone {
        /// The sink's name.
        sink: String,
    },
}
