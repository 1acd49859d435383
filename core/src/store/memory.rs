//! Committed contents in memory: what the test driver keeps its state in.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound;

use super::{
    Acknowledged, Checkpoint, KeyRange, Order, StoreError, StoreIndex, StoredEntry, TaskStorage,
};

type Contents = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// A write that waits for its commit.
#[derive(Debug)]
enum Staged {
    Put(Box<[u8]>, Box<[u8]>),
    Delete(Box<[u8]>),
    DeleteRange(Box<[u8]>, Box<[u8]>),
}

/// Ordered maps, one per store.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    stores: BTreeMap<StoreIndex, Contents>,
    staged: Vec<(StoreIndex, Staged)>,
    checkpoint: Checkpoint,
}

impl MemoryStorage {
    /// Makes an empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// Returns true if no key can lie in the range; `BTreeMap::range` panics on some of those.
pub(super) fn is_empty_range((from, to): KeyRange<'_>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a >= b
        }
    }
}

impl TaskStorage for MemoryStorage {
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        let found = self.stores.get(&store).and_then(|entries| entries.get(key));
        if let Some(value) = found {
            visit(value);
        }
        Ok(found.is_some())
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let Some(entries) = self.stores.get(&store) else { return Ok(Vec::new()) };
        if is_empty_range(range) {
            return Ok(Vec::new());
        }
        let found =
            entries.range::<[u8], _>(range).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match order {
            Order::Ascending => found.take(limit).collect(),
            Order::Descending => found.rev().take(limit).collect(),
        })
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        self.stores.get(&store).map_or(0, |entries| entries.len() as u64)
    }

    fn stage(&mut self, store: StoreIndex, key: &[u8], value: Option<&[u8]>) {
        let write = match value {
            Some(value) => Staged::Put(key.into(), value.into()),
            None => Staged::Delete(key.into()),
        };
        self.staged.push((store, write));
    }

    fn stage_delete_range(&mut self, store: StoreIndex, from: &[u8], to: &[u8]) {
        self.staged.push((store, Staged::DeleteRange(from.into(), to.into())));
    }

    fn discard(&mut self) {
        self.staged.clear();
    }

    fn publish(&mut self, checkpoint: Checkpoint, _: Acknowledged) -> Result<(), StoreError> {
        checkpoint.assert_follows(&self.checkpoint);
        for (store, write) in mem::take(&mut self.staged) {
            let entries = self.stores.entry(store).or_default();
            match write {
                Staged::Put(key, value) => drop(entries.insert(key, value)),
                Staged::Delete(key) => drop(entries.remove(&key)),
                Staged::DeleteRange(from, to) => entries.retain(|key, _| *key < from || *key >= to),
            }
        }
        self.checkpoint = checkpoint;
        Ok(())
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}
