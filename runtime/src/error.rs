//! What stops an application, and with what words.

use tidemill_core::errors::TaskError;
use tidemill_core::record::{TaskId, TopicPartition};
use tidemill_core::store::StoreError;
use tidemill_core::topology::TopologyError;

use crate::client::{ClientError, Severity};
use crate::config::ConfigError;
use crate::storage::{StateDirectoryError, StorageError};

/// Why an application could not start or had to stop. Every message names what failed and what to
/// do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration breaks rules; all of them are listed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The topology can't be built.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The state directory is in use, foreign or unreadable.
    #[error(transparent)]
    StateDirectory(#[from] StateDirectoryError),
    /// A task's storage can't be opened, read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker or the client refused something.
    #[error("{doing}: {cause}")]
    Client {
        /// What was being done.
        doing: String,
        /// What the client says.
        #[source]
        cause: ClientError,
    },
    /// The consumer group does not take the worker as a member any more.
    #[error(
        "the membership in group {group} failed: {cause}; if another process has the same \
         group.instance.id (a copied state directory, or the same prefix in two configurations), \
         give each process its own"
    )]
    Membership {
        /// The group: the application's id.
        group: String,
        /// What the client says.
        #[source]
        cause: ClientError,
    },
    /// Topics are missing or not as they have to be; all of them are listed.
    #[error("the topics are not as the topology needs them:\n  - {}", .0.join("\n  - "))]
    Topics(Vec<String>),
    /// Tables whose topics are to be their changelogs: stores are not restored from them yet.
    #[error(
        "the topology was optimised with reuse.ktable.source.topics, but a store can only be \
         restored from a changelog of its own; stores (and their topics): {0}; leave that \
         optimisation out, e.g. TopologyOptimization::NONE.with_merge_repartition_topics()"
    )]
    ReusedTopics(String),
    /// A record failed and the handler said *fail*.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// Local state, changelog and committed offsets do not belong together.
    #[error("task {task}: {problem}")]
    Inconsistent {
        /// The task.
        task: TaskId,
        /// What does not fit, and the remedy.
        problem: String,
    },
    /// A source partition can't be read where it was committed.
    #[error("{partition}: {problem}")]
    Position {
        /// The partition.
        partition: TopicPartition,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// A thread could not be started, or died.
    #[error("{0}")]
    Thread(String),
}

impl Error {
    pub(crate) fn client(doing: impl Into<String>, cause: ClientError) -> Self {
        Self::Client { doing: doing.into(), cause }
    }

    /// What the error asks of the worker: anything that is not the client's is for the uncaught
    /// handler.
    pub(crate) fn severity(&self) -> Severity {
        match self {
            Self::Client { cause, .. } => cause.severity,
            Self::Task(error) => client_cause(error).map_or(Severity::Fatal, |c| c.severity),
            _ => Severity::Fatal,
        }
    }
}

/// Finds the client's error below a task's.
fn client_cause(error: &TaskError) -> Option<&ClientError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&*error.cause);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}
