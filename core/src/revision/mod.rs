//! Revisions: which of two events about the same thing is the newer one.
//!
//! A producer that sends an event again gives it a new offset, so an offset can't tell a consumer
//! that it has seen the event before. A *revision* can: it belongs to the event, grows with each
//! change of the thing, and is the same each time the event is sent.
//!
//! * [`Revisioned`] says where an event carries its revision; `KStream::deduplicate_by_revision`
//!   and `KStream::in_revision_order` read it.
//! * [`HybridRevisions`] makes revisions of timestamps. It takes the time as an argument; the
//!   runtime has the one that reads the clock.
//! * [`text`] carries a revision through JSON without loss.

mod error;
mod generator;
mod latest;
mod order;
mod stored;
#[cfg(test)]
mod tests;
pub mod text;

pub use error::RevisionError;
pub use generator::{HybridRevisions, NextRevisionError};
pub use latest::LastRevision;
pub(crate) use latest::{Verdict, judge};
pub use order::RevisionProgress;
pub(crate) use order::{Place, place};
pub(crate) use stored::{LastRevisionSerde, RevisionProgressSerde};

/// A value that knows its revision.
///
/// Revisions of one key are compared with each other, those of different keys never. They need not
/// be dense, except for `KStream::in_revision_order`.
///
/// ```
/// use tidemill_core::revision::Revisioned;
///
/// struct PriceUpdated {
///     cents: i64,
///     revision: i64,
/// }
///
/// impl Revisioned for PriceUpdated {
///     fn revision(&self) -> Option<i64> {
///         Some(self.revision)
///     }
/// }
///
/// let update = PriceUpdated { cents: 199, revision: 3 };
/// assert_eq!(Some(update).revision(), Some(3));
/// assert_eq!(None::<PriceUpdated>.revision(), None);
/// ```
pub trait Revisioned {
    /// Returns the revision; `None` if there is none, as in a tombstone.
    fn revision(&self) -> Option<i64>;
}

/// A tombstone has no revision.
impl<T: Revisioned> Revisioned for Option<T> {
    fn revision(&self) -> Option<i64> {
        self.as_ref().and_then(T::revision)
    }
}
