//! What a store whose entries expire knows of time while it runs.

use super::overlay::Slot;
use super::segments::{CLOCK_KEY, Clock, Segments};
use super::{StoreCore, StoreError, StoreKind, StoreSpec};

/// The clock of a store, with and without the writes that are not committed.
///
/// It is read from the storage at the first access. An abort builds the store anew, and with it
/// this: the time goes back to what is committed.
#[derive(Debug)]
pub(super) struct Expiry {
    kind: StoreKind,
    segments: Segments,
    /// With every write.
    now: Clock,
    /// As it is stored, or staged for the commit in process.
    pub(super) stored: Clock,
    loaded: bool,
    /// Something in the overlay may have expired since the last commit.
    passed: bool,
    /// Writes whose entry had expired before.
    expired_writes: u64,
}

impl Expiry {
    pub(super) fn of(spec: &StoreSpec) -> Option<Self> {
        Some(Self {
            kind: spec.kind,
            segments: spec.kind.segments()?,
            now: Clock::default(),
            stored: Clock::default(),
            loaded: false,
            passed: false,
            expired_writes: 0,
        })
    }

    /// Returns the clock after these stored keys were logged. What was written but is not logged
    /// does not count: nobody will learn of it from the changelog.
    pub(super) fn after<'k>(
        &self,
        writes: impl Iterator<Item = (&'k [u8], bool)>,
    ) -> (Clock, Segments) {
        let mut clock = self.stored;
        for (key, is_delete) in writes {
            let key = self.kind.changelog_key(key);
            let time = self.kind.time_of(key).unwrap_or(-1);
            clock.write(self.kind, (key, time), is_delete);
        }
        (clock, self.segments)
    }

    /// Returns the oldest segment that is kept if entries may have expired since the last call.
    pub(super) fn take_expired(&mut self) -> Option<i64> {
        let passed = std::mem::take(&mut self.passed);
        passed.then(|| self.segments.first_live(self.stored.observed))?
    }

    /// Notes a write, and whether its segment has expired already.
    fn note_write(&mut self, time: i64, counts: bool) {
        let before = self.segments.first_live(self.now.observed);
        self.now.advance(time);
        let live = self.segments.first_live(self.now.observed);
        let expired = live.is_some_and(|live| self.segments.segment(time) < live);
        self.passed |= expired || before != live;
        self.expired_writes += u64::from(expired && counts);
    }

    fn is_readable(&self, time: i64) -> bool {
        time >= self.segments.first_readable(self.now.observed)
    }
}

impl<K: 'static, V: Clone + 'static> StoreCore<K, V> {
    /// Reads the clock, once.
    fn expiry(&mut self) -> Result<Option<&mut Expiry>, StoreError> {
        let Some(expiry) = &mut self.expiry else { return Ok(None) };
        if !expiry.loaded {
            let mut clock = Ok(Clock::default());
            self.storage.borrow().get(self.index, CLOCK_KEY, &mut |stored| {
                clock = self.spec.clock_from(Some(stored));
            })?;
            expiry.now = clock?;
            expiry.stored = expiry.now;
            expiry.loaded = true;
        }
        Ok(Some(expiry))
    }

    /// Returns the times that entries which can be read may have.
    pub(super) fn readable_times(&mut self) -> Result<(i64, i64), StoreError> {
        Ok(self.expiry()?.map_or((0, i64::MAX), |expiry| {
            let first = expiry.segments.first_readable(expiry.now.observed);
            (first.max(0), expiry.now.observed.as_millis())
        }))
    }

    /// Returns whether an entry has expired for readers.
    pub(super) fn is_hidden(&mut self, slot: Slot) -> Result<bool, StoreError> {
        if self.expiry.is_none() {
            return Ok(false);
        }
        let time = self.time_of(slot);
        Ok(self.expiry()?.is_some_and(|expiry| !expiry.is_readable(time)))
    }

    /// Has an update begin anew if the entry has expired. A value that waits to be forwarded stays,
    /// as in Java, where a cache does not know what expired below it.
    pub(super) fn hide_expired(&mut self, slot: Slot) -> Result<(), StoreError> {
        if self.is_hidden(slot)? {
            let entry = self.overlay.entry_mut(slot);
            entry.value = entry.value.take().filter(|_| entry.unforwarded);
        }
        Ok(())
    }

    /// Notes that an entry is being written. If it has expired, that is counted, and the write is
    /// logged as every other and not stored.
    pub(super) fn note_write(&mut self, slot: Slot, is_delete: bool) -> Result<(), StoreError> {
        if self.expiry.is_some() {
            let time = self.time_of(slot);
            // a session that is removed when it has expired already is not a loss
            let counts = !(is_delete && matches!(self.spec.kind, StoreKind::Session(_)));
            if let Some(expiry) = self.expiry()? {
                expiry.note_write(time, counts);
            }
        }
        Ok(())
    }

    /// Returns the next number for a store that keeps duplicates.
    pub(super) fn next_sequence(&mut self) -> Result<u32, StoreError> {
        Ok(self.expiry()?.map_or(0, |expiry| {
            expiry.now.sequence = expiry.now.sequence.wrapping_add(1) & 0x7FFF_FFFF;
            expiry.now.sequence
        }))
    }

    pub(super) fn expired_writes(&self) -> u64 {
        self.expiry.as_ref().map_or(0, |expiry| expiry.expired_writes)
    }

    fn time_of(&self, slot: Slot) -> i64 {
        let kind = self.spec.kind;
        kind.time_of(kind.changelog_key(&self.overlay.entry(slot).key)).unwrap_or(-1)
    }
}
