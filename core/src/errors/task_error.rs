//! The error that ends a task's turn: its transaction is aborted.

use std::fmt;

use super::{BoxError, ErrorHandlerContext};
use crate::record::{Offset, Partition, TaskId};

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// A source record could not be read and the handler said *fail*.
    Deserialization,
    /// A processor failed and the handler said *fail*.
    Processing,
    /// An output record could not be sent and the handler said *fail*.
    Production,
    /// User code panicked. No handler is asked: what it left behind is not known.
    Panic,
    /// The client refused to send or a store could not be read or written.
    Runtime,
}

impl TaskErrorKind {
    pub(crate) const fn exception_name(self) -> &'static str {
        match self {
            Self::Deserialization => "tidemill.DeserializationError",
            Self::Processing => "tidemill.ProcessingError",
            Self::Production => "tidemill.ProductionError",
            Self::Panic => "tidemill.Panic",
            Self::Runtime => "tidemill.RuntimeError",
        }
    }
}

/// A failure that no handler absorbed. The transaction it belongs to must be aborted (INV-5).
#[derive(Debug)]
pub struct TaskError {
    /// The task.
    pub task_id: TaskId,
    /// What kind of failure it was.
    pub kind: TaskErrorKind,
    /// The node of the topology.
    pub node: String,
    /// The source record in process; `None` in a punctuation or a commit.
    pub source_record: Option<(String, Partition, Offset)>,
    /// The failure itself.
    pub cause: BoxError,
}

impl TaskError {
    pub(crate) fn new(
        kind: TaskErrorKind,
        context: &ErrorHandlerContext<'_>,
        cause: impl Into<BoxError>,
    ) -> Self {
        let source_record = match (context.topic, context.partition, context.offset) {
            (Some(topic), Some(partition), Some(offset)) => {
                Some((topic.to_owned(), partition, offset))
            }
            _ => None,
        };
        Self {
            task_id: context.task_id,
            kind,
            node: context.processor_node_id.to_owned(),
            source_record,
            cause: cause.into(),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.kind {
            TaskErrorKind::Deserialization => "could not read",
            TaskErrorKind::Processing => "could not process",
            TaskErrorKind::Production => "could not send the result of",
            TaskErrorKind::Panic => "panicked on",
            TaskErrorKind::Runtime => "could not carry on at",
        };
        write!(f, "task {}, node {}: {doing} ", self.task_id, self.node)?;
        match &self.source_record {
            Some((topic, partition, offset)) => {
                write!(f, "record {offset} of {topic}-{partition}: {}", self.cause)
            }
            None => write!(f, "a punctuation or commit: {}", self.cause),
        }
    }
}

impl std::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.cause)
    }
}
