//! Revisions made of timestamps that never go back, whatever the clock does.
//!
//! A millisecond has a number of *slots*, a million of them, or a thousand where the last three
//! digits name the node. The next revision takes the slot after the last one, or the first slot of
//! the present millisecond, whichever is later:
//!
//! ```text
//!   last = max(last + 1, now * slots)
//! ```
//!
//! So a clock that is set back, and a burst that uses up a millisecond, borrow slots from the
//! future until the clock has caught up. Nothing is borrowed twice: the last slot is taken by
//! compare-and-swap.
//!
//! For restarts there is a *mark*: no revision above it is given out, and a new mark has to be
//! stored before it is [allowed](HybridRevisions::allow_up_to). Who starts with the stored mark as
//! the last revision is above all that was given out before. Marks are made in advance, so that
//! storing them is rare.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::record::Timestamp;

const SLOTS_PER_MILLI: i64 = 1_000_000;
const NODES: i64 = 1_000;
/// How far a mark is moved at least, in slots.
const MARK_STEP: i64 = 100_000;

/// Why there is no next revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NextRevisionError {
    /// A new mark has to be stored and allowed first.
    #[error("all revisions up to the stored mark were given out")]
    MarkReached,
    /// The clock is later than the year 2262, or no larger number is left.
    #[error("the clock is beyond what a revision of 64 bits can hold (check the clock)")]
    Exhausted,
    /// A node number that has more than three digits.
    #[error("node {0} is not in 0 to 999")]
    Node(u16),
}

/// Makes revisions of timestamps: strictly increasing, from any number of threads.
///
/// ```
/// use tidemill_core::record::Timestamp;
/// use tidemill_core::revision::HybridRevisions;
///
/// let revisions = HybridRevisions::new();
/// let first = revisions.next(Timestamp(1_000))?;
/// let second = revisions.next(Timestamp(1_000))?;
/// let set_back = revisions.next(Timestamp(400))?;
/// assert_eq!([first, second, set_back], [1_000_000_000, 1_000_000_001, 1_000_000_002]);
/// # Ok::<(), tidemill_core::revision::NextRevisionError>(())
/// ```
#[derive(Debug)]
pub struct HybridRevisions {
    slots_per_milli: i64,
    /// Factor and addend that make a revision of a slot.
    spread: i64,
    node: i64,
    last: AtomicI64,
    mark: AtomicI64,
}

impl Default for HybridRevisions {
    fn default() -> Self {
        Self::new()
    }
}

impl HybridRevisions {
    /// Makes revisions for all keys that only this process writes: a million a millisecond.
    #[must_use]
    pub const fn new() -> Self {
        Self::with(SLOTS_PER_MILLI, 1, 0)
    }

    /// Makes revisions that no other node makes: a thousand a millisecond, and the number of the
    /// node, 0 to 999, in the last three digits. Between nodes the order is that of their clocks.
    ///
    /// # Errors
    /// If the number is 1000 or larger.
    pub const fn for_node(node: u16) -> Result<Self, NextRevisionError> {
        if node as i64 >= NODES {
            return Err(NextRevisionError::Node(node));
        }
        Ok(Self::with(SLOTS_PER_MILLI / NODES, NODES, node as i64))
    }

    const fn with(slots_per_milli: i64, spread: i64, node: i64) -> Self {
        let (last, mark) = (AtomicI64::new(0), AtomicI64::new(i64::MAX));
        Self { slots_per_milli, spread, node, last, mark }
    }

    /// Begins above a stored mark, and gives out nothing before
    /// [`HybridRevisions::allow_up_to`] was called. `None`: none was stored yet.
    #[must_use]
    pub fn starting_above(mut self, mark: Option<i64>) -> Self {
        // rounded up: above the mark whatever node made it
        let slot = mark.map_or(0, |mark| mark / self.spread + i64::from(mark % self.spread > 0));
        let last = slot.max(*self.last.get_mut());
        *self.last.get_mut() = last;
        *self.mark.get_mut() = last;
        self
    }

    /// Returns the next revision. `now` is the present time.
    ///
    /// # Errors
    /// [`NextRevisionError::MarkReached`] if the stored mark has to be moved first;
    /// [`NextRevisionError::Exhausted`] after the year 2262. Neither has an effect.
    pub fn next(&self, now: Timestamp) -> Result<i64, NextRevisionError> {
        let floor = self.first_slot(now)?;
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let slot = self.checked(last.checked_add(1))?.max(floor);
            if slot > self.mark.load(Ordering::Acquire) {
                return Err(NextRevisionError::MarkReached);
            }
            let taken =
                self.last.compare_exchange_weak(last, slot, Ordering::AcqRel, Ordering::Relaxed);
            match taken {
                Ok(_) => return Ok(slot * self.spread + self.node),
                Err(newer) => last = newer,
            }
        }
    }

    /// Returns true if [`HybridRevisions::next`] would not ask for a new mark.
    #[must_use]
    pub fn is_allowed(&self, now: Timestamp) -> bool {
        let next = self.last.load(Ordering::Acquire).checked_add(1);
        let slot = self.first_slot(now).ok().max(next);
        slot.is_some_and(|slot| slot <= self.mark.load(Ordering::Acquire))
    }

    /// Returns the mark to be stored so that revisions can be given out for as long as `ahead`.
    ///
    /// # Errors
    /// [`NextRevisionError::Exhausted`] after the year 2262.
    pub fn next_mark(&self, now: Timestamp, ahead: Duration) -> Result<i64, NextRevisionError> {
        let ahead = i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX);
        let until = self.first_slot(Timestamp(now.0.saturating_add(ahead)))?;
        // a process that starts again and again does not run away from the clock: beyond `until`
        // the mark moves by a step only
        let last = self.last.load(Ordering::Acquire);
        let slot = self.checked(last.checked_add(MARK_STEP))?.max(until);
        Ok(slot * self.spread)
    }

    /// Lets revisions be given out up to a mark that was stored. A smaller mark than before has no
    /// effect.
    pub fn allow_up_to(&self, mark: i64) {
        self.mark.fetch_max(mark / self.spread, Ordering::AcqRel);
    }

    /// Returns by how much the last revision is ahead of the clock: because of a clock that was set
    /// back, of bursts, or of a mark that was stored in advance. A lead that grows and grows means
    /// that a clock is wrong.
    #[must_use]
    pub fn lead(&self, now: Timestamp) -> Duration {
        let last = self.last.load(Ordering::Acquire) / self.slots_per_milli;
        let millis = last.saturating_sub(now.0).max(0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    fn first_slot(&self, now: Timestamp) -> Result<i64, NextRevisionError> {
        self.checked(now.0.checked_mul(self.slots_per_milli))
    }

    /// Refuses slots whose revision has more than 64 bits.
    fn checked(&self, slot: Option<i64>) -> Result<i64, NextRevisionError> {
        let slot = slot.filter(|slot| *slot < i64::MAX / self.spread);
        slot.ok_or(NextRevisionError::Exhausted)
    }
}
