//! Iterating over ranges of a store, a page at a time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use super::{Order, StoreCore, StoreError};
use crate::record::Timestamp;

/// Entries that a scan fetches at a time.
const PAGE_ENTRIES: usize = 256;

/// A range of stored keys.
pub(super) type OwnedRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// An entry with its stored key.
pub(super) type Found<V> = (Box<[u8]>, V, Timestamp);

/// Reads ranges of a store one after the other. Writes made while it is open may or may not be
/// seen.
pub(super) struct Scan<K, V> {
    pub(super) core: Rc<RefCell<StoreCore<K, V>>>,
    /// The first one is being read.
    ranges: VecDeque<OwnedRange>,
    order: Order,
    page: VecDeque<Found<V>>,
}

impl<K, V> fmt::Debug for Scan<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("ranges", &self.ranges).finish_non_exhaustive()
    }
}

impl<K: 'static, V: Clone + 'static> Scan<K, V> {
    /// Makes a scan of these ranges, which are read in this order, each in `order`.
    pub(super) fn new(
        core: &Rc<RefCell<StoreCore<K, V>>>,
        ranges: VecDeque<OwnedRange>,
        order: Order,
    ) -> Self {
        Self { core: Rc::clone(core), ranges, order, page: VecDeque::new() }
    }

    /// Returns the next entry. After an error there is none.
    pub(super) fn next_entry(&mut self) -> Option<Result<Found<V>, StoreError>> {
        while self.page.is_empty() && !self.ranges.is_empty() {
            if let Err(error) = self.fetch() {
                self.ranges.clear();
                return Some(Err(error));
            }
        }
        self.page.pop_front().map(Ok)
    }

    fn fetch(&mut self) -> Result<(), StoreError> {
        let Some(range) = self.ranges.front_mut() else { return Ok(()) };
        let bounds = (range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice));
        let page = self.core.borrow_mut().page(bounds.0, bounds.1, self.order, PAGE_ENTRIES)?;
        let inside = |(key, ..): &Found<V>| bounds.contains(&**key);
        assert!(
            page.entries.first().is_none_or(inside) && page.entries.last().is_none_or(inside),
            "INV-12: a scan of {:?} came back to what it had passed",
            self.core.borrow(),
        );
        self.page = page.entries.into();
        match (page.resume_after, self.order) {
            (None, _) => drop(self.ranges.pop_front()),
            (Some(last), Order::Ascending) => range.0 = Bound::Excluded(last.into_vec()),
            (Some(last), Order::Descending) => range.1 = Bound::Excluded(last.into_vec()),
        }
        Ok(())
    }
}
