//! The strict rule: each revision passes once, and only after the one before it.

/// How far the revisions of a key are complete: what the store of `KStream::in_revision_order`
/// holds.
///
/// Stored as the last revision (8 bytes, big-endian) if there is one, then the number of parked
/// records (4 bytes) if there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevisionProgress {
    pub(super) last: Option<i64>,
    pub(super) parked: u32,
}

impl RevisionProgress {
    pub(crate) fn new(last: Option<i64>, parked: u32) -> Self {
        Self { last, parked }
    }

    /// Returns the last revision that passed; `None` if the key's first one is waited for.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        self.last
    }

    /// Returns how many records wait for a gap to be filled.
    #[must_use]
    pub fn parked(&self) -> u32 {
        self.parked
    }
}

/// Where a revision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the next one.
    Next,
    /// It passed before.
    Old,
    /// The one that is named is missing before it.
    After(i64),
}

/// Compares a revision with the last one of its key. `first` is what a key has to begin with;
/// `None` if any revision will do.
pub(crate) fn place(last: Option<i64>, first: Option<i64>, revision: i64) -> Place {
    let expected = match (last, first) {
        // after the largest number there is nothing
        (Some(i64::MAX), _) => return Place::Old,
        (Some(last), _) => last + 1,
        (None, Some(first)) => first,
        (None, None) => return Place::Next,
    };
    match revision.cmp(&expected) {
        std::cmp::Ordering::Less => Place::Old,
        std::cmp::Ordering::Equal => Place::Next,
        std::cmp::Ordering::Greater => Place::After(expected),
    }
}
