//! How records are compared with those before them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::serdes::{Serde, SharedSerde};

/// How `KStream::deduplicate_by_revision` reads and keeps revisions.
pub struct Deduplicated<K, V> {
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) name: Option<String>,
    pub(super) forget_after: Option<i64>,
    pub(super) forget_deleted_after: Option<i64>,
}

impl<K, V> Deduplicated<K, V> {
    /// The serdes say which keys and values are null, the key's is that of the store too, and both
    /// write the repartition topic if the key may have changed since the source.
    ///
    /// Revisions are kept for ever unless told otherwise.
    pub fn with(key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        Self {
            key_serde: Arc::new(key_serde),
            value_serde: Arc::new(value_serde),
            name: None,
            forget_after: None,
            forget_deleted_after: None,
        }
    }

    /// Names the repartition topic, if one is needed: `<application.id>-<name>-repartition`.
    /// Default: the store's name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Forgets a key's revision when none of its records was seen for longer than `time` (whole
    /// milliseconds of stream time). Ignored records count as seen.
    ///
    /// What it trades: the store stays as small as the keys in use, but a record that comes again
    /// after that time passes again, however old its revision. Choose it longer than any producer,
    /// replay or mirror can hold a record back.
    #[must_use]
    pub fn forget_after(mut self, time: Duration) -> Self {
        self.forget_after = Some(millis(time));
        self
    }

    /// As [`Deduplicated::forget_after`], for keys whose last record was a tombstone. Without it
    /// they are kept as long as the others.
    ///
    /// After that time a key may begin anew with any revision, also one that is smaller than before
    /// its deletion; until then a smaller one is taken for an old record.
    #[must_use]
    pub fn forget_deleted_after(mut self, time: Duration) -> Self {
        self.forget_deleted_after = Some(millis(time));
        self
    }
}

impl<K, V> fmt::Debug for Deduplicated<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deduplicated")
            .field("name", &self.name)
            .field("forget_after", &self.forget_after)
            .field("forget_deleted_after", &self.forget_deleted_after)
            .finish_non_exhaustive()
    }
}

/// What becomes of a record that is older than the window of `KStream::deduplicate_by_id`: whether
/// its id was there before is not known any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LateRecords {
    /// It is dropped and counted: no record passes twice, but one that is only late is lost.
    #[default]
    Drop,
    /// It passes if its id is not remembered: none is lost, but one that is late may pass twice.
    Pass,
}

/// How long `KStream::deduplicate_by_id` remembers an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeduplicationWindow {
    pub(super) millis: i64,
    pub(super) late: LateRecords,
}

impl DeduplicationWindow {
    /// Remembers an id for `time` (whole milliseconds of stream time) after it was seen first.
    /// Records that come later again do not prolong it.
    #[must_use]
    pub fn of(time: Duration) -> Self {
        Self { millis: millis(time), late: LateRecords::default() }
    }

    /// Says what becomes of records whose timestamp is more than the window behind stream time.
    /// Default: they are dropped.
    #[must_use]
    pub fn with_late_records(mut self, late: LateRecords) -> Self {
        self.late = late;
        self
    }
}

/// What happens when a record has to wait and as many as may wait for its key already do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkingFull {
    /// The record goes to the processing handler, which fails, drops it, or sends it to a dead
    /// letter queue. The others go on waiting.
    Reject,
    /// What is missing is given up: the records that wait pass, up to the next gap. A record that
    /// was given up and comes after all is ignored.
    SkipGap,
}

/// How `KStream::in_revision_order` reads and orders revisions.
pub struct RevisionOrder<K, V> {
    pub(super) key_serde: SharedSerde<K>,
    pub(super) value_serde: SharedSerde<V>,
    pub(super) name: Option<String>,
    pub(super) first: Option<i64>,
    /// How many may wait per key, and what if more come; `None`: none waits.
    pub(super) parking: Option<(u32, ParkingFull)>,
}

impl<K, V> RevisionOrder<K, V> {
    /// Every key begins with the revision `first`: one that comes before it is missing is waited
    /// for.
    pub fn starting_at(first: i64, key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        let first = Some(first);
        Self { first, ..Self::starting_anywhere(key_serde, value_serde) }
    }

    /// A key begins with whatever revision is seen first. What is older is taken for a repetition,
    /// even if it was overtaken: for topics whose beginning is gone.
    pub fn starting_anywhere(key_serde: impl Serde<K>, value_serde: impl Serde<V>) -> Self {
        Self {
            key_serde: Arc::new(key_serde),
            value_serde: Arc::new(value_serde),
            name: None,
            first: None,
            parking: Some((100, ParkingFull::Reject)),
        }
    }

    /// Names the repartition topic, if one is needed: `<application.id>-<name>-repartition`.
    /// Default: the store's name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Lets up to `records` of a key wait for a gap to be filled, and says what happens to the next
    /// one. Default: 100, [`ParkingFull::Reject`].
    #[must_use]
    pub fn park_up_to(mut self, records: u32, full: ParkingFull) -> Self {
        self.parking = Some((records, full));
        self
    }

    /// Lets none wait: a record after a gap goes to the processing handler, which fails, drops it,
    /// or sends it to a dead letter queue. Unless it fails, the key takes nothing but the missing
    /// revision from then on.
    #[must_use]
    pub fn reject_gaps(mut self) -> Self {
        self.parking = None;
        self
    }
}

impl<K, V> fmt::Debug for RevisionOrder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevisionOrder")
            .field("name", &self.name)
            .field("first", &self.first)
            .field("parking", &self.parking)
            .finish_non_exhaustive()
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
