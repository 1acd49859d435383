//! What can be wrong with a record's revision.

/// A record that its revision keeps from being processed. It goes to the
/// [`ProcessingExceptionHandler`](crate::errors::ProcessingExceptionHandler).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevisionError {
    /// A value without a revision. Only a tombstone may have none, and only where the order need
    /// not be complete.
    #[error("the record has no revision (give its value one, or take it from a header)")]
    Missing,
    /// A revision that does not follow the one before.
    #[error(
        "revision {found} came where {expected} was expected: what lies between was lost or is \
         late (park records to wait for it)"
    )]
    Gap {
        /// The revision that would have been the next.
        expected: i64,
        /// The revision of the record.
        found: i64,
    },
    /// The record would have to wait, but as many as may wait for a key already do.
    #[error(
        "revision {found} came where {expected} was expected, and {parked} records of its key \
         already wait (raise the limit of park_up_to, or let it skip the gap)"
    )]
    ParkingFull {
        /// The revision that is waited for.
        expected: i64,
        /// The revision of the record.
        found: i64,
        /// Records of the key that wait.
        parked: u32,
    },
}
