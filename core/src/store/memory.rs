//! Committed contents in memory: what the test driver keeps its state in.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound;

use super::{
    Acknowledged, Checkpoint, KeyRange, Order, StoreError, StoreIndex, StoredEntry, TaskStorage,
};

type Contents = BTreeMap<Box<[u8]>, Box<[u8]>>;
type StagedWrite = (StoreIndex, Box<[u8]>, Option<Box<[u8]>>);

/// Ordered maps, one per store.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    stores: BTreeMap<StoreIndex, Contents>,
    staged: Vec<StagedWrite>,
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
fn is_empty_range((from, to): KeyRange<'_>) -> bool {
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
        self.staged.push((store, key.into(), value.map(Into::into)));
    }

    fn discard(&mut self) {
        self.staged.clear();
    }

    fn publish(&mut self, checkpoint: Checkpoint, _: Acknowledged) -> Result<(), StoreError> {
        checkpoint.assert_follows(&self.checkpoint);
        for (store, key, value) in mem::take(&mut self.staged) {
            let entries = self.stores.entry(store).or_default();
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        self.checkpoint = checkpoint;
        Ok(())
    }

    fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}
