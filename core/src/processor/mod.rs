//! What user code sees: processors and their context.
//!
//! ```text
//!   init --> process / punctuate / flush, in any order --> close
//! ```
//!
//! A processor belongs to one task and runs on one thread. After an aborted transaction the task
//! and its processors are built anew, so a processor must keep what matters in a store.

mod collector;
mod context;
mod fixed_key;
mod global;
mod node;
mod punctuation;
mod stores;
#[cfg(test)]
mod tests;

use crate::BoxError;
use crate::record::Record;

pub use collector::{Collector, Outgoing, SendError, SinkTopic};
pub use context::ProcessorContext;
pub(crate) use context::{Current, Halt, TaskContext, TaskShared};
pub(crate) use fixed_key::FixedKeyAdapter;
pub use fixed_key::{FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord};
pub(crate) use node::{Child, Children, Lifecycle, ProcessorNode, Receive};
pub(crate) use punctuation::PunctuationQueue;
pub use punctuation::{Punctuation, PunctuationHandle, PunctuationType};
pub(crate) use stores::{StoreAccess, open_handle, open_store};

/// Takes records of one type and forwards records of another.
///
/// An error that a method returns goes to the `ProcessingExceptionHandler`; an error that
/// [`ProcessorContext::forward`] returned must be passed on with `?`.
pub trait Processor<KIn, VIn, KOut, VOut> {
    /// Called once, before the first record: the place to take store handles and schedule
    /// punctuations.
    ///
    /// # Errors
    /// Whatever stops the task from being built.
    fn init(
        &mut self,
        _context: &mut ProcessorContext<'_, '_, KOut, VOut>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// Called for each record.
    ///
    /// # Errors
    /// Whatever is wrong with the record; the handler decides what becomes of it.
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, KOut, VOut>,
        record: Record<KIn, VIn>,
    ) -> Result<(), BoxError>;

    /// Called when a punctuation that this processor scheduled is due.
    ///
    /// # Errors
    /// As [`Processor::process`].
    fn punctuate(
        &mut self,
        _context: &mut ProcessorContext<'_, '_, KOut, VOut>,
        _punctuation: Punctuation,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// Called at each commit, before the stores are written: forwards what was held back.
    ///
    /// # Errors
    /// Any error aborts the transaction.
    fn flush(
        &mut self,
        _context: &mut ProcessorContext<'_, '_, KOut, VOut>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// Called once, when the task is closed, cleanly or not.
    fn close(&mut self) {}
}
