//! What can go wrong with the test driver.

use crate::errors::TaskError;
use crate::serdes::SerdeError;
use crate::store::StoreError;
use crate::topology::TopologyError;

/// A mistake of the test, or a failure of what it tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The topology can't be instantiated.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// A record or punctuation failed and no handler absorbed it. What it did is rolled back and
    /// the driver takes no more records.
    #[error(transparent)]
    Task(Box<TaskError>),
    /// A store can't be read or has other types.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No source reads the topic.
    #[error("no source reads topic {topic} (sources read: {known})")]
    UnknownInputTopic {
        /// The name asked for.
        topic: String,
        /// The names that would have been right.
        known: String,
    },
    /// The topic was never written to.
    #[error("nothing was ever written to topic {topic} (written to: {known})")]
    UnknownOutputTopic {
        /// The name asked for.
        topic: String,
        /// The topics that were written to.
        known: String,
    },
    /// All records of the topic were read.
    #[error("topic {0} has no more records")]
    EmptyTopic(String),
    /// The topology has no such store.
    #[error("the topology has no store {store} (stores: {known})")]
    UnknownStore {
        /// The name asked for.
        store: String,
        /// The names that would have been right.
        known: String,
    },
    /// A key or value of the test could not be turned into bytes or back.
    #[error("could not {operation} of topic {topic}: {cause}")]
    Serde {
        /// The topic.
        topic: String,
        /// What was being done, e.g. `serialize the key`.
        operation: &'static str,
        /// What the serde says.
        #[source]
        cause: SerdeError,
    },
    /// An earlier record failed.
    #[error("the driver was stopped by an earlier error: {0}")]
    Stopped(String),
    /// The driver was closed.
    #[error("the driver is closed")]
    Closed,
    /// A processor called the driver that runs it.
    #[error("the driver can't be used from inside its own topology")]
    Busy,
}

impl From<TaskError> for DriverError {
    fn from(error: TaskError) -> Self {
        Self::Task(Box::new(error))
    }
}

/// Lists names for a message.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
