//! Revisions by the system's clock.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidemill_core::record::Timestamp;
use tidemill_core::revision::{HybridRevisions, NextRevisionError};

use super::RevisionGeneratorError;
use super::mark::MarkFile;
use crate::clock;

/// How far ahead of the clock the stored mark is moved: how often it is stored, and by how much the
/// revisions may be ahead after a restart.
const MARK_AHEAD: Duration = Duration::from_secs(10);
/// From here on a lead over the clock is worth a warning.
const LEAD_WARNED: Duration = Duration::from_secs(60);

type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// Makes revisions of the system's time: strictly increasing, whatever the clock does, from any
/// number of threads.
///
/// A revision is the time in milliseconds times a million, or one more than the last if that is
/// larger. So a clock that is set back and a burst of more than a million in a millisecond do no
/// harm. Of itself a generator knows nothing of the process before it: see
/// [`RevisionGenerator::persisted_in`].
///
/// ```
/// use tidemill::revision::RevisionGenerator;
///
/// let revisions = RevisionGenerator::new();
/// let (first, second) = (revisions.next_revision()?, revisions.next_revision()?);
/// assert!(first < second);
/// # Ok::<(), tidemill::revision::RevisionGeneratorError>(())
/// ```
pub struct RevisionGenerator {
    revisions: HybridRevisions,
    node: Option<u16>,
    clock: Clock,
    mark: Option<Mutex<MarkFile>>,
}

impl fmt::Debug for RevisionGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevisionGenerator")
            .field("revisions", &self.revisions)
            .field("node", &self.node)
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}

impl Default for RevisionGenerator {
    fn default() -> Self {
        Self::new()
    }
}

impl RevisionGenerator {
    /// Makes revisions for things that only this process changes.
    #[must_use]
    pub fn new() -> Self {
        Self::of(HybridRevisions::new(), None)
    }

    /// Makes revisions that no other node makes: the last three digits are the node's number, 0 to
    /// 999, and a millisecond has a thousand of them. Which of two nodes is the newer is decided by
    /// their clocks.
    ///
    /// # Errors
    /// If the number is 1000 or larger.
    pub fn for_node(node: u16) -> Result<Self, RevisionGeneratorError> {
        Ok(Self::of(HybridRevisions::for_node(node)?, Some(node)))
    }

    fn of(revisions: HybridRevisions, node: Option<u16>) -> Self {
        Self { revisions, node, clock: Box::new(clock::wall_clock), mark: None }
    }

    /// Takes the time from somewhere else than the system's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Keeps a mark in this directory, so that the revisions of a restarted process are larger than
    /// all before, even if the clock was set back meanwhile. The directory belongs to one generator
    /// at a time and is made if there is none.
    ///
    /// The mark is stored about every ten seconds in which revisions are drawn, by the call that
    /// needs it, which waits for the disk. After a restart revisions may be ahead of the clock by
    /// that time.
    ///
    /// # Errors
    /// If the directory is in use, or the mark in it can't be read or is another node's.
    pub fn persisted_in(
        mut self,
        directory: impl AsRef<Path>,
    ) -> Result<Self, RevisionGeneratorError> {
        let (file, mark) = MarkFile::open(directory.as_ref(), self.node)?;
        self.revisions = self.revisions.starting_above(mark);
        self.mark = Some(Mutex::new(file));
        Ok(self)
    }

    /// Returns the next revision.
    ///
    /// # Errors
    /// If a new mark is due and can't be stored, or the clock is beyond the year 2262.
    pub fn next_revision(&self) -> Result<i64, RevisionGeneratorError> {
        loop {
            match self.revisions.next((self.clock)()) {
                Ok(revision) => return Ok(revision),
                Err(NextRevisionError::MarkReached) => self.move_mark()?,
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Returns by how much the last revision is ahead of the clock. See
    /// [`HybridRevisions::lead`].
    #[must_use]
    pub fn lead(&self) -> Duration {
        self.revisions.lead((self.clock)())
    }

    fn move_mark(&self) -> Result<(), RevisionGeneratorError> {
        let Some(mark) = &self.mark else { return Ok(()) };
        // a panic while it was held leaves an older mark on disk, which is still right
        let mut file = mark.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        if self.revisions.is_allowed(now) {
            // another thread moved it while this one waited
            return Ok(());
        }
        let lead = self.revisions.lead(now);
        if lead > LEAD_WARNED {
            tracing::warn!(?lead, "revisions are far ahead of the clock: was it set back?");
        }
        let next = self.revisions.next_mark(now, MARK_AHEAD)?;
        file.store(next)?;
        self.revisions.allow_up_to(next);
        Ok(())
    }
}
