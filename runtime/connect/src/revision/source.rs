//! Whatever gives out revisions without being asked for a row.

use std::error::Error;
use std::future::{Future, ready};

use tidemill::revision::{RevisionGenerator, RevisionGeneratorError};

/// Gives out revisions, each larger than those that were answered before it was asked.
///
/// [`RevisionGenerator`] does in its process; `service::RevisionClient` in the whole system.
pub trait RevisionSource: Sync {
    /// Why there is none.
    type Error: Error + Send + Sync + 'static;

    /// Returns the next revision.
    ///
    /// # Errors
    /// As the source says. A revision that was lost on the way is never given out again.
    fn next_revision(&self) -> impl Future<Output = Result<i64, Self::Error>> + Send;
}

/// By the clock of this machine. Every ten seconds or so a persisted one waits for its disk.
impl RevisionSource for RevisionGenerator {
    type Error = RevisionGeneratorError;

    fn next_revision(&self) -> impl Future<Output = Result<i64, Self::Error>> + Send {
        ready(Self::next_revision(self))
    }
}
