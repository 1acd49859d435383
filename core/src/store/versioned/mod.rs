//! Stores that know what a key had at an earlier time (KIP-889).
//!
//! Rows are kept as bytes, in memory until the commit and then in the storage, by the same code
//! that replays a changelog. The changelog has a plain record for each version that was put: key,
//! value, and the version's time as timestamp.

mod handle;
mod rows;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::replay::{ReadStored, Replayed, StoredRow, expired};
use super::segments::{self, CLOCK_KEY, Clock, Segments};
use super::stored::serde_error;
use super::{
    ChangelogWriter, ErasedStore, Logged, Order, SharedStorage, StoreError, StoreIndex, StoreSpec,
    StoredWrite,
};
use crate::BoxError;
use crate::record::{Headers, Timestamp};
use crate::serdes::{Encoded, SharedSerde};

pub use handle::{PutOutcome, VersionedKeyValueStore, VersionedRecord};
use rows::{Changed, Row, Rows};

/// Bytes (estimated) that a change takes besides its own.
const ENTRY_BYTES: usize = 96;

/// Everything a [`SharedVersioned`] is made of.
pub(crate) struct VersionedParts<K, V> {
    pub(crate) spec: StoreSpec,
    pub(crate) segments: Segments,
    pub(crate) index: StoreIndex,
    pub(crate) application_id: String,
    pub(crate) key_serde: SharedSerde<K>,
    pub(crate) value_serde: SharedSerde<V>,
    pub(crate) storage: SharedStorage,
}

/// A version for the changelog.
struct Line {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    at: Timestamp,
}

/// A versioned store with its types.
pub(crate) struct VersionedCore<K, V> {
    parts: VersionedParts<K, V>,
    changelog: String,
    changed: Changed,
    log: Vec<Line>,
    /// Bytes (estimated) of both.
    bytes: usize,
    /// `None` before it is read.
    clock: Option<Clock>,
    /// As it is stored, or staged for the commit in process.
    stored_clock: Clock,
    /// Versions that were too old to be put.
    expired: u64,
}

impl<K, V> fmt::Debug for VersionedCore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VersionedCore").field("spec", &self.parts.spec).finish_non_exhaustive()
    }
}

/// What is committed, of one store.
struct Committed<'a> {
    storage: &'a SharedStorage,
    index: StoreIndex,
}

impl ReadStored for Committed<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut found = None;
        self.storage.borrow().get(self.index, key, &mut |row| found = Some(row.to_vec()))?;
        Ok(found)
    }

    fn first(&self, from: &[u8], to: &[u8]) -> Result<Option<StoredRow>, StoreError> {
        use std::ops::Bound::Included;
        let range = (Included(from), Included(to));
        let found = self.storage.borrow().scan(self.index, range, Order::Ascending, 1)?;
        Ok(found.into_iter().next().map(|(key, row)| (key.into_vec(), row.into_vec())))
    }
}

impl<K: 'static, V: 'static> VersionedCore<K, V> {
    /// Gives access to the rows, at the stream time of the store.
    fn with_rows<T>(
        &mut self,
        work: impl FnOnce(&mut Rows<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let observed = self.clock()?.observed.as_millis();
        let VersionedParts { spec, segments, index, storage, .. } = &self.parts;
        let stored = Committed { storage, index: *index };
        work(&mut Rows {
            segments: *segments,
            observed,
            changed: &mut self.changed,
            stored: &stored,
            store: &spec.name,
        })
    }

    fn clock(&mut self) -> Result<Clock, StoreError> {
        if let Some(clock) = self.clock {
            return Ok(clock);
        }
        let VersionedParts { spec, index, storage, .. } = &self.parts;
        let stored = Committed { storage, index: *index }.get(CLOCK_KEY)?;
        let clock = spec.clock_from(stored.as_deref())?;
        (self.clock, self.stored_clock) = (Some(clock), clock);
        Ok(clock)
    }

    fn key_bytes(&self, key: &K) -> Result<Vec<u8>, StoreError> {
        let VersionedParts { spec, key_serde, .. } = &self.parts;
        let mut bytes = Vec::new();
        match key_serde.serialize(&self.changelog, key, &mut bytes) {
            Ok(Encoded::Bytes) => Ok(bytes),
            Ok(Encoded::Null) => Err(StoreError::NullKey { store: spec.name.clone() }),
            Err(cause) => Err(serde_error(spec, "serialize a key", cause)),
        }
    }

    fn value_bytes(&self, value: &V) -> Result<Option<Vec<u8>>, StoreError> {
        let VersionedParts { spec, value_serde, .. } = &self.parts;
        let mut bytes = Vec::new();
        match value_serde.serialize(&self.changelog, value, &mut bytes) {
            Ok(encoded) => Ok((encoded == Encoded::Bytes).then_some(bytes)),
            Err(cause) => Err(serde_error(spec, "serialize a value", cause)),
        }
    }

    fn typed(&self, row: Row) -> Result<Option<VersionedRecord<V>>, StoreError> {
        let Row { from, to, value: Some(value) } = row else { return Ok(None) };
        let VersionedParts { spec, value_serde, .. } = &self.parts;
        let value = value_serde.deserialize(&self.changelog, Some(&value));
        let value = value.map_err(|cause| serde_error(spec, "deserialize a value", cause))?;
        Ok(Some(VersionedRecord { value, timestamp: Timestamp(from), valid_to: to.map(Timestamp) }))
    }

    /// Puts a version; `None` deletes the key as of then.
    pub(crate) fn put(
        &mut self,
        key: &K,
        value: Option<&V>,
        at: Timestamp,
    ) -> Result<PutOutcome, StoreError> {
        let key = self.key_bytes(key)?;
        let value = value.map(|value| self.value_bytes(value)).transpose()?.flatten();
        let mut clock = self.clock()?;
        let outcome = if is_too_old(self.parts.segments, clock, at.0) {
            self.expired += 1;
            PutOutcome::NotPut
        } else {
            clock.advance(at.0);
            self.clock = Some(clock);
            match self.with_rows(|rows| rows.put(&key, value.as_deref(), at.0))? {
                None => PutOutcome::Latest,
                Some(to) => PutOutcome::ValidTo(Timestamp(to)),
            }
        };
        // key and value: in the changelog and as a row, which may move another row
        self.bytes += 3 * (key.len() + value.as_ref().map_or(0, Vec::len) + ENTRY_BYTES);
        self.log.push(Line { key, value, at });
        Ok(outcome)
    }

    pub(crate) fn latest(&mut self, key: &K) -> Result<Option<VersionedRecord<V>>, StoreError> {
        let key = self.key_bytes(key)?;
        let row = self.with_rows(|rows| rows.latest(&key))?;
        row.map_or(Ok(None), |row| self.typed(row))
    }

    pub(crate) fn as_of(
        &mut self,
        key: &K,
        at: Timestamp,
    ) -> Result<Option<VersionedRecord<V>>, StoreError> {
        let key = self.key_bytes(key)?;
        let row = self.with_rows(|rows| rows.as_of(&key, at.0))?;
        row.map_or(Ok(None), |row| self.typed(row))
    }

    fn flush(&mut self, log: &mut ChangelogWriter<'_>) -> Result<(), BoxError> {
        let headers = Headers::new();
        for Line { key, value, at } in self.log.drain(..) {
            if self.parts.spec.logging {
                let (value, timestamp) = (value.as_deref(), Some(at));
                log(Logged { key: &key, value, timestamp, headers: &headers })?;
            }
        }
        let Some(now) = self.clock else { return Ok(()) };
        let VersionedParts { segments, index, storage, .. } = &self.parts;
        let mut storage = storage.borrow_mut();
        let mut stage = |write: StoredWrite<'_>| match write {
            StoredWrite::Put(key, row) => storage.stage(*index, key, Some(row)),
            StoredWrite::Delete(key) => storage.stage(*index, key, None),
            StoredWrite::DeleteRange(from, to) => storage.stage_delete_range(*index, from, to),
        };
        write(&self.changed, *segments, (self.stored_clock, now), &mut stage);
        self.stored_clock = now;
        Ok(())
    }
}

/// Whether a version comes too late to be put.
fn is_too_old(segments: Segments, clock: Clock, at: i64) -> bool {
    at < clock.observed.as_millis().saturating_sub(segments.retention_ms)
}

/// Writes what changed, without what has expired.
fn write(
    changed: &Changed,
    segments: Segments,
    (before, now): (Clock, Clock),
    write: &mut dyn FnMut(StoredWrite<'_>),
) {
    let first_live = segments.first_live(now.observed);
    for (key, row) in changed.iter().filter(|(key, _)| segments::segment_of(key) >= first_live) {
        match row {
            Some(row) => write(StoredWrite::Put(key, row)),
            None => write(StoredWrite::Delete(key)),
        }
    }
    if let Some((from, to)) = expired(segments, before, now) {
        write(StoredWrite::DeleteRange(&from, &to));
    }
    if now != before {
        write(StoredWrite::Put(CLOCK_KEY, &now.to_bytes()));
    }
}

/// Replays the changelog of a versioned store. See [`StoreSpec::replay`].
pub(super) fn replay<'a>(
    spec: &StoreSpec,
    segments: Segments,
    stored: &dyn ReadStored,
    records: impl IntoIterator<Item = Replayed<'a>>,
    out: &mut dyn FnMut(StoredWrite<'_>),
) -> Result<(), StoreError> {
    let before = spec.clock_from(stored.get(CLOCK_KEY)?.as_deref())?;
    let (mut now, mut changed) = (before, Changed::new());
    for (key, value, at) in records {
        if is_too_old(segments, now, at) {
            continue;
        }
        now.advance(at);
        let (observed, store) = (now.observed.as_millis(), &*spec.name);
        let mut rows = Rows { segments, observed, changed: &mut changed, stored, store };
        rows.put(key, value, at)?;
    }
    write(&changed, segments, (before, now), out);
    Ok(())
}

/// A versioned store shared by the task and its processors.
pub(crate) struct SharedVersioned<K, V> {
    spec: StoreSpec,
    core: Rc<RefCell<VersionedCore<K, V>>>,
}

impl<K: 'static, V: 'static> SharedVersioned<K, V> {
    pub(crate) fn new(parts: VersionedParts<K, V>) -> Self {
        let spec = parts.spec.clone();
        let core = VersionedCore {
            changelog: spec.changelog_topic(&parts.application_id),
            parts,
            changed: Changed::new(),
            log: Vec::new(),
            bytes: 0,
            clock: None,
            stored_clock: Clock::default(),
            expired: 0,
        };
        Self { spec, core: Rc::new(RefCell::new(core)) }
    }
}

impl<K: 'static, V: 'static> ErasedStore for SharedVersioned<K, V> {
    fn spec(&self) -> &StoreSpec {
        &self.spec
    }

    fn flush(&self, log: &mut ChangelogWriter<'_>) -> Result<(), BoxError> {
        self.core.borrow_mut().flush(log)
    }

    fn end_interval(&self, _: usize) {
        let mut core = self.core.borrow_mut();
        core.changed.clear();
        core.bytes = 0;
    }

    fn held_bytes(&self) -> (usize, usize) {
        let bytes = self.core.borrow().bytes;
        (bytes, bytes)
    }

    fn expired(&self) -> u64 {
        self.core.borrow().expired
    }

    fn handle(&self) -> Rc<dyn Any> {
        Rc::clone(&self.core) as Rc<dyn Any>
    }

    fn type_name(&self) -> &'static str {
        std::any::type_name::<VersionedKeyValueStore<K, V>>()
    }
}
