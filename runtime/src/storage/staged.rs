//! Writes that wait for their commit to be acknowledged.

use std::ops::Range;

use rocksdb::WriteBatch;
use tidemill_core::store::StoreIndex;

use super::TaskDb;

/// Writes in one buffer, handed to RocksDB in the order of their keys: its memory table finds the
/// place of a key next to the one before much faster than any place. (The changelog has them in the
/// order in which they were made; that one is the truth.)
#[derive(Debug, Default)]
pub(super) struct Staged {
    bytes: Vec<u8>,
    writes: Vec<Write>,
    ranges: Vec<DeletedRange>,
}

/// Keys of a store from the first on, up to and without the second.
#[derive(Debug)]
pub(super) struct DeletedRange {
    pub(super) store: StoreIndex,
    pub(super) from: Box<[u8]>,
    pub(super) to: Box<[u8]>,
}

#[derive(Debug)]
struct Write {
    store: StoreIndex,
    key: Range<usize>,
    /// `None` deletes.
    value: Option<Range<usize>>,
}

impl Staged {
    pub(super) fn add(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let key = self.keep(key);
        let value = value.map(|value| self.keep(value));
        self.writes.push(Write { store, key, value });
    }

    /// Deletes a range, also of what was added before. Nothing that is added later may lie in it.
    pub(super) fn add_range(&mut self, store: StoreIndex, from: &[u8], to: &[u8]) {
        self.ranges.push(DeletedRange { store, from: from.into(), to: to.into() });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.writes.clear();
        self.ranges.clear();
    }

    /// Moves all writes into a batch, and returns the ranges that it deletes. Writes of one key
    /// keep their order.
    pub(super) fn drain_to(&mut self, batch: &mut WriteBatch, db: &TaskDb) -> Vec<DeletedRange> {
        let ranges = std::mem::take(&mut self.ranges);
        let Self { bytes, writes, .. } = self;
        let key = |write: &Write| (write.store, &bytes[write.key.clone()]);
        writes.sort_by(|a, b| key(a).cmp(&key(b)));
        for Write { store, key, value } in writes.iter() {
            let (family, key) = (db.family(*store), &bytes[key.clone()]);
            match value {
                Some(value) => batch.put_cf(family, key, &bytes[value.clone()]),
                None => batch.delete_cf(family, key),
            }
        }
        for DeletedRange { store, from, to } in &ranges {
            batch.delete_range_cf(db.family(*store), &**from, &**to);
        }
        self.clear();
        ranges
    }
}
