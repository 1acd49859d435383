//! Range scans: own writes over committed entries, a page at a time.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Order, StoreCore, StoreError};
use crate::record::Timestamp;

/// A piece of a range scan.
#[derive(Debug)]
pub(super) struct Page<V> {
    pub(super) entries: Vec<(Box<[u8]>, V, Timestamp)>,
    /// Where the next page begins (exclusive); `None` if this was the last.
    pub(super) resume_after: Option<Box<[u8]>>,
}

impl<K: 'static, V: Clone + 'static> StoreCore<K, V> {
    /// Returns up to `limit` entries of the range, own writes included, in byte order.
    pub(super) fn page(
        &mut self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        order: Order,
        limit: usize,
    ) -> Result<Page<V>, StoreError> {
        let committed = self.storage.borrow().scan(self.index, (from, to), order, limit)?;
        let exhausted = committed.len() < limit;
        let mut merged = BTreeMap::new();
        let mut last = None;
        for (key, stored) in committed {
            let (value, timestamp) = self.decode(&stored)?;
            last = Some(key.clone());
            merged.insert(key, Some((value, timestamp)));
        }
        // own writes beyond the last committed key belong to the next page, unless there is none
        let within = |key: &[u8]| match (&last, exhausted, order) {
            (_, true, _) | (None, ..) => true,
            (Some(last), _, Order::Ascending) => key <= &**last,
            (Some(last), _, Order::Descending) => key >= &**last,
        };
        for slot in self.overlay.dirty_in((from, to)) {
            let entry = self.overlay.entry(slot);
            if within(&entry.key) {
                let value = entry.value.clone().map(|value| (value, entry.timestamp));
                merged.insert(entry.key.clone(), value);
            }
        }
        let mut entries: Vec<_> = merged
            .into_iter()
            .filter_map(|(key, value)| value.map(|(value, timestamp)| (key, value, timestamp)))
            .collect();
        if order == Order::Descending {
            entries.reverse();
        }
        Ok(Page { entries, resume_after: if exhausted { None } else { last } })
    }
}
