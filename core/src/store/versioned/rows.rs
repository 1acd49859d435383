//! The versions of a key as stored rows, and where a new one goes.
//!
//! ```text
//!   ff ff ff ff ff ff ff ff | key                     ->  valid from (8) | value
//!   segment (8) | key length (4) | key | valid to (8) ->  valid from (8) | 0, or 1 and the value
//! ```
//!
//! The first is the version that holds now; it never expires, and a key that was deleted has none.
//! The others ended when the next one began, or when the key was deleted, and lie in the segment of
//! that end: they go when it is older than the history. A row without value is a deletion that
//! later versions follow; one that ends where it begins, a deletion that nothing follows and
//! nothing precedes.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::serdes::SerdeError;
use crate::store::StoreError;
use crate::store::replay::{ReadStored, StoredRow};
use crate::store::segments::{Segments, prefix};

/// In front of the rows of what holds now: behind all segments.
const LATEST: [u8; 8] = [0xff; 8];

/// Rows that were changed; `None` is deleted.
pub(super) type Changed = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A version of a key, as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) from: i64,
    /// `None`: it holds now.
    pub(super) to: Option<i64>,
    /// `None`: the key was deleted.
    pub(super) value: Option<Vec<u8>>,
}

/// The rows of a store: changed ones over stored ones.
pub(super) struct Rows<'a> {
    pub(super) segments: Segments,
    /// The newest time of a version.
    pub(super) observed: i64,
    pub(super) changed: &'a mut Changed,
    pub(super) stored: &'a dyn ReadStored,
    pub(super) store: &'a str,
}

impl Rows<'_> {
    /// Returns the version that holds now.
    pub(super) fn latest(&self, key: &[u8]) -> Result<Option<Row>, StoreError> {
        let Some(bytes) = self.get(&latest_key(key))? else { return Ok(None) };
        let (from, value) = bytes.split_first_chunk().ok_or_else(|| self.damaged(bytes.len()))?;
        let value = Some(value.to_vec());
        Ok(Some(Row { from: i64::from_be_bytes(*from), to: None, value }))
    }

    /// Returns the version that held at an instant, deletions aside.
    pub(super) fn as_of(&self, key: &[u8], time: i64) -> Result<Option<Row>, StoreError> {
        if let Some(latest) = self.latest(key)?
            && latest.from <= time
        {
            return Ok(Some(latest));
        }
        if time < self.first_kept() {
            return Ok(None);
        }
        let found = self.ending_after(key, time)?;
        Ok(found.filter(|row| row.from <= time && row.value.is_some()))
    }

    /// Takes a version; returns when it ends, or `None` if it holds now.
    pub(super) fn put(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        from: i64,
    ) -> Result<Option<i64>, StoreError> {
        let latest = self.latest(key)?;
        if let Some(latest) = &latest
            && latest.from <= from
        {
            if latest.from < from {
                let ended = Row { to: Some(from), ..latest.clone() };
                self.write_ended(key, &ended);
            }
            return self.put_latest(key, value, from);
        }
        let to = match self.ending_after(key, from)? {
            Some(next) if next.from == from => next.to,
            Some(Row { from: next, .. }) if next > from => Some(next),
            Some(around) => {
                self.write_ended(key, &Row { to: Some(from), ..around.clone() });
                around.to
            }
            None => latest.map(|latest| latest.from),
        };
        if to.is_none() {
            return self.put_latest(key, value, from);
        }
        self.write_ended(key, &Row { from, to, value: value.map(<[u8]>::to_vec) });
        Ok(to)
    }

    fn put_latest(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        from: i64,
    ) -> Result<Option<i64>, StoreError> {
        let latest = latest_key(key);
        if let Some(value) = value {
            self.changed.insert(latest, Some([&from.to_be_bytes(), value].concat()));
            return Ok(None);
        }
        self.changed.insert(latest, None);
        // a version that ends here says the same
        if self.get(&self.ended_key(key, from))?.is_none() {
            self.write_ended(key, &Row { from, to: Some(from), value: None });
        }
        Ok(None)
    }

    /// Returns the first of the ended versions that ends after an instant.
    fn ending_after(&self, key: &[u8], time: i64) -> Result<Option<Row>, StoreError> {
        let Some(after) = time.checked_add(1) else { return Ok(None) };
        let mut segment = self.segments.segment(after);
        // nothing ends later than what was seen
        while segment <= self.segments.segment(self.observed) {
            let [from, to] = [after, i64::MAX].map(|end| joined(segment, key, end));
            if let Some((stored_key, bytes)) = self.first(&from, &to)? {
                return self.ended(&stored_key, &bytes).map(Some);
            }
            segment += 1;
        }
        Ok(None)
    }

    fn ended(&self, stored_key: &[u8], bytes: &[u8]) -> Result<Row, StoreError> {
        let damaged = || self.damaged(bytes.len());
        let (from, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
        let value = match rest.split_first() {
            Some((0, [])) => None,
            Some((1, value)) => Some(value.to_vec()),
            _ => return Err(damaged()),
        };
        let to = stored_key.last_chunk().ok_or_else(damaged)?;
        Ok(Row { from: i64::from_be_bytes(*from), to: Some(i64::from_be_bytes(*to)), value })
    }

    fn write_ended(&mut self, key: &[u8], Row { from, to, value }: &Row) {
        let Some(to) = to else { return };
        let mut bytes = from.to_be_bytes().to_vec();
        bytes.push(u8::from(value.is_some()));
        bytes.extend_from_slice(value.as_deref().unwrap_or_default());
        self.changed.insert(self.ended_key(key, *to), Some(bytes));
    }

    fn ended_key(&self, key: &[u8], to: i64) -> Vec<u8> {
        joined(self.segments.segment(to), key, to)
    }

    /// The earliest instant of which the store still knows.
    pub(super) fn first_kept(&self) -> i64 {
        self.observed.saturating_sub(self.segments.retention_ms)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.changed.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => self.stored.get(key),
        }
    }

    /// Returns the first row between two keys, both included.
    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<StoredRow>, StoreError> {
        let range = (Bound::Included(from), Bound::Included(to));
        let mut changed = self.changed.range::<[u8], _>(range);
        let changed = changed.find_map(|(key, row)| Some((key.clone(), row.clone()?)));
        let mut start = from.to_vec();
        while let Some((key, row)) = self.stored.first(&start, to)? {
            if !self.changed.contains_key(&key) {
                return Ok(changed.filter(|(other, _)| *other < key).or(Some((key, row))));
            }
            start = [&key[..], &[0]].concat();
        }
        Ok(changed)
    }

    fn damaged(&self, found: usize) -> StoreError {
        let cause = SerdeError::Length { what: "a version and its start", expected: 9, found };
        StoreError::Serde { store: self.store.to_owned(), operation: "read a version", cause }
    }
}

fn latest_key(key: &[u8]) -> Vec<u8> {
    [&LATEST[..], key].concat()
}

fn joined(segment: i64, key: &[u8], to: i64) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    [&prefix(segment)[..], &length.to_be_bytes(), key, &to.to_be_bytes()].concat()
}
