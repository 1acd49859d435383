//! The rule of the last writer: a record passes if its revision is larger than all before.

use crate::record::Timestamp;

/// The last revision of a key: what the store of `KStream::deduplicate_by_revision` holds.
///
/// Stored as the revision (8 bytes, big-endian), so that Kafka's `LongDeserializer` reads it, and
/// 1 or 9 bytes more if the key was deleted or has a time after which it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRevision {
    pub(super) revision: i64,
    pub(super) deleted: bool,
    /// At which time the expiry index has an entry of this key.
    pub(crate) armed: Option<Timestamp>,
}

impl LastRevision {
    pub(crate) fn new(revision: i64, deleted: bool) -> Self {
        Self { revision, deleted, armed: None }
    }

    pub(crate) fn armed_at(self, armed: Option<Timestamp>) -> Self {
        Self { armed, ..self }
    }

    /// Returns the largest revision that passed.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Returns true if the last record that passed was a tombstone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is passed on; the key's entry is this from now on, `None` if there is nothing to keep.
    Pass(Option<LastRevision>),
    /// It is old, or was here before.
    Ignore,
}

/// Decides on a record. `deletes` says that it is a tombstone; only then there may be no revision.
///
/// A tombstone leaves the revision behind: what is older than the deletion stays out, what is newer
/// makes the key anew. A tombstone without a revision of its own can't be compared: it counts as
/// the newest, except after another deletion.
pub(crate) fn judge(last: Option<LastRevision>, revision: Option<i64>, deletes: bool) -> Verdict {
    assert!(revision.is_some() || deletes, "a value without a revision was let through");
    match (last, revision) {
        (None, None) => Verdict::Pass(None),
        (Some(last), None) if last.deleted => Verdict::Ignore,
        (Some(last), None) => Verdict::Pass(Some(LastRevision { deleted: true, ..last })),
        (Some(last), Some(revision)) if revision <= last.revision => Verdict::Ignore,
        (_, Some(revision)) => Verdict::Pass(Some(LastRevision::new(revision, deletes))),
    }
}
