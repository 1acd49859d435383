//! User code panics: the task is lost, the worker is not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Task;
use crate::errors::{TaskError, TaskErrorKind};
use crate::processor::{Halt, TaskContext};
use crate::record::RawRecord;

impl<R: RawRecord> Task<R> {
    /// Does something that an error ends for good: only a rollback is left then.
    pub(super) fn turn<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, TaskError>,
    ) -> Result<T, TaskError> {
        assert!(!self.failed, "INV-5: task {} goes on after it failed", self.id());
        let done = work(self);
        self.failed = done.is_err();
        done
    }
}

/// Runs user code. A panic becomes an error about which no handler is asked.
pub(super) fn guarded(
    task: &mut TaskContext<'_>,
    node: &str,
    run: impl FnOnce(&mut TaskContext<'_>) -> Result<(), Halt>,
) -> Result<(), TaskError> {
    match caught(|| run(&mut *task)) {
        Ok(done) => done.map_err(|halt| *halt.0),
        Err(panic) => Err(panicked(task, node, panic)),
    }
}

/// Runs user code; returns what a panic said.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("panicked: {}", text.as_deref().unwrap_or("(no text)"))
    })
}

/// The error that a panic becomes.
pub(super) fn panicked(task: &TaskContext<'_>, node: &str, panic: String) -> TaskError {
    TaskError::new(TaskErrorKind::Panic, &task.error_context(node), panic)
}
