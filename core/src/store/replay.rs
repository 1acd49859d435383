//! From changelog records to what is stored: what restoring writes, and what an auditor expects.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::segments::{self, CLOCK_KEY, Clock};
use super::{StoreError, StoreKind, StoreSpec, versioned};

/// What a changelog record does to the contents of a store.
#[derive(Debug, PartialEq, Eq)]
pub enum StoredWrite<'a> {
    /// Sets a key.
    Put(&'a [u8], &'a [u8]),
    /// Deletes a key.
    Delete(&'a [u8]),
    /// Deletes all keys from the first on, up to and without the second.
    DeleteRange(&'a [u8], &'a [u8]),
}

/// A changelog record: key, value, timestamp in milliseconds.
pub type Replayed<'a> = (&'a [u8], Option<&'a [u8]>, i64);

/// A stored key and what is stored under it.
pub type StoredRow = (Vec<u8>, Vec<u8>);

/// What is stored of one store so far, for a replay that depends on it.
pub trait ReadStored {
    /// Returns what is stored under a key.
    ///
    /// # Errors
    /// If it can't be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns the first key between two, both included, with what is stored under it.
    ///
    /// # Errors
    /// If it can't be read.
    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<StoredRow>, StoreError>;
}

impl ReadStored for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(BTreeMap::get(self, key).cloned())
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<StoredRow>, StoreError> {
        if from > to {
            return Ok(None);
        }
        let mut found = self.range::<[u8], _>((Bound::Included(from), Bound::Included(to)));
        Ok(found.next().map(|(key, value)| (key.clone(), value.clone())))
    }
}

impl StoreSpec {
    /// Replays changelog records, in offset order, as (key, value, timestamp in milliseconds):
    /// calls `write` with everything that they change, in an order that must be kept. What has
    /// expired by the last of them is deleted.
    ///
    /// `stored` is what was stored before the first of them.
    ///
    /// # Errors
    /// [`StoreError::ForeignKey`] if a key can't be one of this store; [`StoreError::Serde`] if
    /// what is stored is damaged; as [`ReadStored`] if it can't be read.
    pub fn replay<'a>(
        &self,
        stored: &dyn ReadStored,
        records: impl IntoIterator<Item = Replayed<'a>>,
        write: &mut dyn FnMut(StoredWrite<'_>),
    ) -> Result<(), StoreError> {
        if let StoreKind::VersionedKeyValue(segments) = self.kind {
            return versioned::replay(self, segments, stored, records, write);
        }
        let Some(segments) = self.kind.segments() else {
            let mut stored = Vec::new();
            for (key, value, timestamp) in records {
                self.write_value(key, value, timestamp, &mut stored, write);
            }
            return Ok(());
        };
        let before = self.clock_from(stored.get(CLOCK_KEY)?.as_deref())?;
        let mut now = before;
        let (mut stored_key, mut stored) = (Vec::new(), Vec::new());
        for (key, value, timestamp) in records {
            let time = self.kind.time_of(key).ok_or_else(|| StoreError::ForeignKey {
                store: self.name.clone(),
                length: key.len(),
                shortest: self.kind.suffix_bytes(),
            })?;
            now.write(self.kind, (key, time), value.is_none());
            let segment = segments.segment(time);
            if segments.first_live(now.observed).is_some_and(|live| segment < live) {
                continue;
            }
            stored_key.clear();
            stored_key.extend_from_slice(&segments::prefix(segment));
            stored_key.extend_from_slice(key);
            self.write_value(&stored_key, value, timestamp, &mut stored, write);
        }
        if let Some((from, to)) = expired(segments, before, now) {
            write(StoredWrite::DeleteRange(&from, &to));
        }
        if now != before {
            write(StoredWrite::Put(CLOCK_KEY, &now.to_bytes()));
        }
        Ok(())
    }

    fn write_value(
        &self,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: i64,
        stored: &mut Vec<u8>,
        write: &mut dyn FnMut(StoredWrite<'_>),
    ) {
        match value {
            Some(value) => {
                self.stored_value(timestamp, value, stored);
                write(StoredWrite::Put(key, stored));
            }
            None => write(StoredWrite::Delete(key)),
        }
    }

    /// Reads the clock row.
    pub(super) fn clock_from(&self, stored: Option<&[u8]>) -> Result<Clock, StoreError> {
        let Some(stored) = stored else { return Ok(Clock::default()) };
        Clock::from_bytes(stored).ok_or_else(|| {
            let (what, found) = ("the stream time of a store", stored.len());
            let cause = crate::serdes::SerdeError::Length { what, expected: 12, found };
            StoreError::Serde { store: self.name.clone(), operation: "read the clock", cause }
        })
    }
}

/// Returns the keys that expired between two moments, as a range without its end.
pub(super) fn expired(
    segments: segments::Segments,
    before: Clock,
    now: Clock,
) -> Option<([u8; segments::PREFIX_BYTES], [u8; segments::PREFIX_BYTES])> {
    // what was older than the first live one is gone already
    let from = segments.first_live(before.observed).unwrap_or(i64::MIN);
    let to = segments.first_live(now.observed)?;
    (from < to).then(|| (segments::prefix(from), segments::prefix(to)))
}
