//! The windows of all keys that have closed, in the order in which final results are forwarded: by
//! start and key, sessions by end, start and key.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeInclusive};

use super::segments::{PREFIX_BYTES, prefix};
use super::{Order, StoreCore, StoreError};
use crate::record::Timestamp;
use crate::window::Windowed;

/// Windows that are returned at a time.
const PAGE: usize = 4096;

/// Some of the windows that have closed.
#[derive(Debug)]
pub(crate) struct ClosedPage<K, V> {
    /// With their values, and when they were last updated.
    pub(crate) windows: Vec<(Windowed<K>, V, Timestamp)>,
    /// To be given to the next call; `None`: these were the last.
    pub(crate) resume_after: Option<Box<[u8]>>,
}

impl<K: 'static, V: Clone + 'static> StoreCore<Windowed<K>, V> {
    /// Returns the windows of all keys whose time is within `times`, whether they have expired or
    /// not. With `sorted` each segment must hold windows of one time only: they are then found in
    /// order, while otherwise every page takes a scan of all segments that may hold one.
    ///
    /// # Errors
    /// If the storage can't be read, or an entry in it.
    pub(crate) fn closed(
        &mut self,
        times: &RangeInclusive<i64>,
        sorted: bool,
        after: Option<&[u8]>,
    ) -> Result<ClosedPage<K, V>, StoreError> {
        let Some(segments) = self.spec.kind.segments().filter(|_| !times.is_empty()) else {
            return Ok(ClosedPage { windows: Vec::new(), resume_after: None });
        };
        let from = prefix(segments.segment(*times.start()));
        let last = segments.segment(*times.end()).checked_add(1).map(prefix);
        let to = last.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
        if sorted {
            self.next_in_order(
                (after.map_or(Bound::Included(&from[..]), Bound::Excluded), to),
                times,
            )
        } else {
            self.next_by_search((Bound::Included(&from[..]), to), times, after)
        }
    }

    fn next_in_order(
        &mut self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        times: &RangeInclusive<i64>,
    ) -> Result<ClosedPage<K, V>, StoreError> {
        let page = self.page(from, to, Order::Ascending, PAGE)?;
        let mut windows = Vec::with_capacity(page.entries.len());
        for (key, value, timestamp) in page.entries {
            if self.time_of_stored(&key).is_some_and(|time| times.contains(&time)) {
                windows.push((self.key_from(&key)?, value, timestamp));
            }
        }
        Ok(ClosedPage { windows, resume_after: page.resume_after })
    }

    /// Finds the first ones in order among all that there are.
    fn next_by_search(
        &mut self,
        (from, to): (Bound<&[u8]>, Bound<&[u8]>),
        times: &RangeInclusive<i64>,
        after: Option<&[u8]>,
    ) -> Result<ClosedPage<K, V>, StoreError> {
        let mut first = BTreeMap::new();
        let mut more = false;
        let mut passed: Option<Box<[u8]>> = None;
        loop {
            let from = passed.as_deref().map_or(from, Bound::Excluded);
            let page = self.page(from, to, Order::Ascending, PAGE)?;
            for (key, value, timestamp) in page.entries {
                if !self.time_of_stored(&key).is_some_and(|time| times.contains(&time)) {
                    continue;
                }
                let place = self.place_of(&key);
                if after.is_some_and(|after| *place <= *after) {
                    continue;
                }
                first.insert(place, (key, value, timestamp));
                if first.len() > PAGE {
                    more = true;
                    first.pop_last();
                }
            }
            passed = page.resume_after;
            if passed.is_none() {
                break;
            }
        }
        let resume_after = more.then(|| first.keys().next_back().cloned()).flatten();
        let windows = first
            .into_values()
            .map(|(key, value, timestamp)| Ok((self.key_from(&key)?, value, timestamp)))
            .collect::<Result<_, StoreError>>()?;
        Ok(ClosedPage { windows, resume_after })
    }

    fn time_of_stored(&self, stored_key: &[u8]) -> Option<i64> {
        // the clock is no entry
        stored_key.get(PREFIX_BYTES..).and_then(|key| self.spec.kind.time_of(key))
    }

    /// Returns bytes that sort as the entries are to be forwarded: what stands behind the key
    /// before it.
    fn place_of(&self, stored_key: &[u8]) -> Box<[u8]> {
        let key = self.spec.kind.changelog_key(stored_key);
        let suffix = key.len().saturating_sub(self.spec.kind.suffix_bytes());
        [&key[suffix..], &key[..suffix]].concat().into()
    }
}
