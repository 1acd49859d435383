//! Scans of window and session stores by key and time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Bound, RangeInclusive};
use std::rc::Rc;

use super::scan::{Found, OwnedRange, Scan};
use super::segments::{PREFIX_BYTES, prefix};
use super::{Order, StoreCore, StoreError, StoreKind};
use crate::record::Timestamp;
use crate::window::{Window, Windowed};

/// Above so many segments a scan reads them as one range and leaves out what it does not want.
const SEGMENTS_APART_MAX: i64 = 64;

/// A typed store of windows or sessions.
pub(crate) type WindowedCore<K, V> = Rc<RefCell<StoreCore<Windowed<K>, V>>>;

/// Which entries a scan gives. Sessions: those that end at or after `from` and start at or before
/// `to`; windows: those that start between both.
#[derive(Debug, Clone)]
struct Wanted {
    kind: StoreKind,
    /// The smallest and the largest key's bytes.
    keys: (Option<Vec<u8>>, Option<Vec<u8>>),
    from: i64,
    to: i64,
}

impl Wanted {
    fn admits(&self, stored_key: &[u8]) -> bool {
        let suffix_bytes = self.kind.suffix_bytes();
        let Some((_, key)) = stored_key.split_at_checked(PREFIX_BYTES) else { return false };
        let Some(at) = key.len().checked_sub(suffix_bytes) else { return false };
        let (key, suffix) = key.split_at(at);
        let time = |from: usize| {
            let bytes = suffix.get(from..).and_then(<[u8]>::first_chunk);
            bytes.map_or(-1, |bytes| i64::from_be_bytes(*bytes))
        };
        let in_time = match self.kind {
            StoreKind::Session(_) => time(0) >= self.from && time(8) <= self.to,
            _ => (self.from..=self.to).contains(&time(0)),
        };
        let (first, last) = &self.keys;
        in_time
            && first.as_deref().is_none_or(|first| key >= first)
            && last.as_deref().is_none_or(|last| key <= last)
    }

    /// The largest and the smallest suffix that a wanted key may have.
    fn suffixes(&self) -> (Vec<u8>, Vec<u8>) {
        let join = |first: i64, second: &[u8]| [&first.to_be_bytes()[..], second].concat();
        match self.kind {
            StoreKind::Session(_) => {
                (join(self.from, &[0; 8]), join(i64::MAX, &self.to.to_be_bytes()))
            }
            _ => (join(self.from, &[0; 4]), join(self.to, &i32::MAX.to_be_bytes())),
        }
    }

    /// The bounds of what is wanted in a segment.
    fn range(&self, segment: i64) -> OwnedRange {
        let joined = |parts: &[&[u8]]| parts.concat();
        let prefixed = prefix(segment);
        let (lower, upper) = self.suffixes();
        let (first, last) = &self.keys;
        let from = match first {
            Some(first) if Some(first) == last.as_ref() => joined(&[&prefixed, first, &lower]),
            Some(first) => joined(&[&prefixed, first]),
            None => prefixed.to_vec(),
        };
        // a key that the largest one begins with may lie behind it, by its suffix
        let to = last.as_ref().and_then(|last| {
            let ends = (0..=last.len()).map(|end| joined(&[&prefixed, &last[..end], &upper]));
            if first == &Some(last.clone()) {
                return Some(joined(&[&prefixed, last, &upper]));
            }
            ends.max()
        });
        (Bound::Included(from), to.map_or_else(|| end_of(segment), Bound::Included))
    }
}

fn end_of(segment: i64) -> Bound<Vec<u8>> {
    segment.checked_add(1).map_or(Bound::Unbounded, |next| Bound::Excluded(prefix(next).to_vec()))
}

/// What a scan asks for: keys (both included; none is open) and times.
pub(super) struct Query<'k, K> {
    pub(super) keys: (Option<&'k K>, Option<&'k K>),
    pub(super) times: RangeInclusive<Timestamp>,
    pub(super) order: Order,
}

/// A key, its value and the timestamp of its last update, if it could be read.
type Entry<K, V> = Result<(K, V, Timestamp), StoreError>;

/// The entries of a store that a query wants.
#[derive(Debug)]
pub(super) struct WindowedScan<K, V> {
    scan: Scan<Windowed<K>, V>,
    wanted: Wanted,
}

impl<K: Clone + 'static, V: Clone + 'static> WindowedScan<K, V> {
    pub(super) fn new(core: &WindowedCore<K, V>, query: &Query<'_, K>) -> Result<Self, StoreError> {
        let mut open = core.borrow_mut();
        let (readable, observed) = open.readable_times()?;
        let kind = open.spec.kind;
        let bytes = |key: Option<&K>| key.map(|key| raw_key(&open, key)).transpose();
        let keys = (bytes(query.keys.0)?, bytes(query.keys.1)?);
        let (from, to) = (query.times.start().0.max(readable), query.times.end().0);
        let wanted = Wanted { kind, keys, from, to };
        let inverted = matches!(&wanted.keys, (Some(first), Some(last)) if first > last);
        // sessions may end at any time after they start
        let last = if matches!(kind, StoreKind::Session(_)) { observed } else { to.min(observed) };
        let ranges = match kind.segments() {
            Some(segments) if !inverted && from <= last => {
                let segments = (segments.segment(from), segments.segment(last));
                ranges(&wanted, segments, query.order)
            }
            _ => VecDeque::new(),
        };
        drop(open);
        Ok(Self { scan: Scan::new(core, ranges, query.order), wanted })
    }

    fn next_entry(&mut self) -> Option<Result<Found<V>, StoreError>> {
        loop {
            match self.scan.next_entry()? {
                Ok((key, ..)) if !self.wanted.admits(&key) => {}
                found => return Some(found),
            }
        }
    }

    /// Returns the next entry with its key.
    fn next_windowed(&mut self) -> Option<Entry<Windowed<K>, V>> {
        let found = self.next_entry()?;
        Some(found.and_then(|(key, value, timestamp)| {
            let key = self.scan.core.borrow().key_from(&key)?;
            Ok((key, value, timestamp))
        }))
    }

    /// Returns the next entry with its window.
    pub(super) fn next_window(&mut self) -> Option<Result<(Window, V, Timestamp), StoreError>> {
        let found = self.next_entry()?;
        let kind = self.wanted.kind;
        Some(found.map(|(key, value, timestamp)| {
            let window = kind.window_of(kind.changelog_key(&key));
            (window.unwrap_or(Window::new(Timestamp(0), Timestamp(0))), value, timestamp)
        }))
    }

    /// Returns the next entry with the time that its key begins its suffix with.
    fn next_timed(&mut self) -> Option<Entry<Timestamp, V>> {
        let found = self.next_entry()?;
        let kind = self.wanted.kind;
        Some(found.map(|(key, value, timestamp)| {
            let time = kind.time_of(kind.changelog_key(&key)).unwrap_or(-1);
            (Timestamp(time), value, timestamp)
        }))
    }
}

fn ranges(wanted: &Wanted, (first, last): (i64, i64), order: Order) -> VecDeque<OwnedRange> {
    let every_key = wanted.keys.0.is_none() && wanted.keys.1.is_none();
    if every_key || last.saturating_sub(first) >= SEGMENTS_APART_MAX {
        return [(Bound::Included(prefix(first).to_vec()), end_of(last))].into();
    }
    let ranges = (first..=last).map(|segment| wanted.range(segment));
    match order {
        Order::Ascending => ranges.collect(),
        Order::Descending => ranges.rev().collect(),
    }
}

/// Returns the bytes of a key without its window.
fn raw_key<K: Clone + 'static, V: Clone + 'static>(
    core: &StoreCore<Windowed<K>, V>,
    key: &K,
) -> Result<Vec<u8>, StoreError> {
    let anywhere = Window::new(Timestamp(0), Timestamp(0));
    let mut bytes = core.key_bytes(&Windowed::new(key.clone(), anywhere))?;
    bytes.truncate(bytes.len().saturating_sub(core.spec.kind.suffix_bytes()));
    bytes.drain(..PREFIX_BYTES.min(bytes.len()));
    Ok(bytes)
}

/// How an iterator shows a value and the timestamp of its last update.
pub(super) type Show<V, T> = fn(V, Timestamp) -> T;

macro_rules! windowed_iterator {
    ($(#[$doc:meta])* $name:ident, $next:ident, $key:ty) => {
        $(#[$doc])*
        pub struct $name<K, V, T = V> {
            scan: WindowedScan<K, V>,
            show: Show<V, T>,
        }

        impl<K, V, T> fmt::Debug for $name<K, V, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        impl<K: Clone + 'static, V: Clone + 'static, T> $name<K, V, T> {
            pub(super) fn new(
                core: &WindowedCore<K, V>,
                query: &Query<'_, K>,
                show: Show<V, T>,
            ) -> Result<Self, StoreError> {
                Ok(Self { scan: WindowedScan::new(core, query)?, show })
            }
        }

        impl<K: Clone + 'static, V: Clone + 'static, T> Iterator for $name<K, V, T> {
            type Item = Result<($key, T), StoreError>;

            fn next(&mut self) -> Option<Self::Item> {
                let next = self.scan.$next()?;
                Some(next.map(|(key, value, at)| (key, (self.show)(value, at))))
            }
        }
    };
}

windowed_iterator!(
    /// Iterates over the windows of one key: start of the window and value.
    WindowStoreIterator,
    next_timed,
    Timestamp
);
windowed_iterator!(
    /// Iterates over windows of many keys: key with window, and value.
    WindowedIterator,
    next_windowed,
    Windowed<K>
);
