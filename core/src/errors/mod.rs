//! What happens to a record that can't be read, processed or sent: the user's handler decides.
//!
//! Three handlers, as in Kafka Streams: [`DeserializationExceptionHandler`] (KIP-161),
//! [`ProcessingExceptionHandler`] (KIP-1033) and [`ProductionExceptionHandler`] (KIP-210, KIP-399).
//! Each answers *fail* (default), *continue* (drop the record) or *dead letter queue* (KIP-1034). A
//! dead letter is written in the transaction that moves the input offset past the record, so it is
//! there exactly once. Whatever the answer, the offset of a dropped record is committed, also when
//! it is the last one of its partition (KAFKA-6502).

mod dead_letter;
mod task_error;

use std::fmt;
use std::sync::Arc;

use crate::record::{Offset, Partition, TaskId, Timestamp};

pub(crate) use dead_letter::{DeadLetterError, dead_letter_headers};
pub use task_error::{TaskError, TaskErrorKind};

/// Any error of user code or of a format.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What to do with a record that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerResponse {
    /// Abort the transaction; the uncaught handler decides what the worker does then.
    Fail,
    /// Drop the record and go on.
    Continue,
    /// Write the source record with its original bytes and headers that say why to this topic, in
    /// the same transaction, and go on.
    DeadLetterQueue(String),
}

/// Where a failure happened. Present fields name the source record that was in process.
#[derive(Debug, Clone, Copy)]
pub struct ErrorHandlerContext<'a> {
    /// The task.
    pub task_id: TaskId,
    /// The node of the topology.
    pub processor_node_id: &'a str,
    /// The source record's topic; `None` in a punctuation.
    pub topic: Option<&'a str>,
    /// The source record's partition.
    pub partition: Option<Partition>,
    /// The source record's own offset.
    pub offset: Option<Offset>,
    /// The source record's timestamp.
    pub timestamp: Option<Timestamp>,
}

type Cause<'a> = &'a (dyn std::error::Error + Send + Sync + 'static);

/// Decides on a source record whose key or value can't be read.
pub trait DeserializationExceptionHandler: Send + Sync {
    /// Returns what to do with the record.
    fn handle(&self, context: &ErrorHandlerContext<'_>, error: Cause<'_>) -> HandlerResponse;
}

/// Decides on a record for which a processor or a punctuation returned an error.
pub trait ProcessingExceptionHandler: Send + Sync {
    /// Returns what to do with the record.
    fn handle(&self, context: &ErrorHandlerContext<'_>, error: Cause<'_>) -> HandlerResponse;
}

/// Decides on an output record that can't be serialised or that the client refuses, for example
/// because it is too large.
pub trait ProductionExceptionHandler: Send + Sync {
    /// Returns what to do with the output record. `output_topic` is where it was going.
    fn handle(
        &self,
        context: &ErrorHandlerContext<'_>,
        output_topic: &str,
        error: Cause<'_>,
    ) -> HandlerResponse;
}

macro_rules! built_in_handler {
    ($(#[$doc:meta])* struct $name:ident $(($field:ty))?; |$this:ident| $response:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name $((pub $field))?;

        impl DeserializationExceptionHandler for $name {
            fn handle(&self, _: &ErrorHandlerContext<'_>, _: Cause<'_>) -> HandlerResponse {
                let $this = self;
                $response
            }
        }

        impl ProcessingExceptionHandler for $name {
            fn handle(&self, _: &ErrorHandlerContext<'_>, _: Cause<'_>) -> HandlerResponse {
                let $this = self;
                $response
            }
        }

        impl ProductionExceptionHandler for $name {
            fn handle(
                &self,
                _: &ErrorHandlerContext<'_>,
                _: &str,
                _: Cause<'_>,
            ) -> HandlerResponse {
                let $this = self;
                $response
            }
        }
    };
}

built_in_handler! {
    /// Fails on the first bad record: the default of all three handlers.
    struct LogAndFail; |_this| HandlerResponse::Fail
}

built_in_handler! {
    /// Drops bad records.
    struct LogAndContinue; |_this| HandlerResponse::Continue
}

built_in_handler! {
    /// Sends bad records to a dead letter queue.
    struct DeadLetterQueue(String); |this| HandlerResponse::DeadLetterQueue(this.0.clone())
}

/// The three handlers of an application.
#[derive(Clone)]
pub struct Handlers {
    /// For records that can't be read.
    pub deserialization: Arc<dyn DeserializationExceptionHandler>,
    /// For errors of processors and punctuations.
    pub processing: Arc<dyn ProcessingExceptionHandler>,
    /// For records that can't be sent.
    pub production: Arc<dyn ProductionExceptionHandler>,
}

impl Default for Handlers {
    fn default() -> Self {
        Self {
            deserialization: Arc::new(LogAndFail),
            processing: Arc::new(LogAndFail),
            production: Arc::new(LogAndFail),
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}
