//! How the aggregation that owns a store of windows reads those of one key.

use std::ops::RangeInclusive;

use super::window_scan::{Query, WindowedCore, WindowedScan};
use super::{Order, StoreError};
use crate::record::Timestamp;
use crate::window::Window;

/// A window with its value and when it was last updated.
pub(crate) type OwnWindow<V> = (Window, V, Timestamp);

fn scan<K: Clone + 'static, V: Clone + 'static>(
    core: &WindowedCore<K, V>,
    key: &K,
    times: RangeInclusive<i64>,
    order: Order,
) -> Result<WindowedScan<K, V>, StoreError> {
    let times = Timestamp(*times.start())..=Timestamp(*times.end());
    WindowedScan::new(core, &Query { keys: (Some(key), Some(key)), times, order })
}

fn collected<K: Clone + 'static, V: Clone + 'static>(
    mut scan: WindowedScan<K, V>,
) -> Result<Vec<OwnWindow<V>>, StoreError> {
    std::iter::from_fn(|| scan.next_window()).collect()
}

/// Returns the windows of a key that start within `starts`, the latest first.
pub(crate) fn own_windows<K: Clone + 'static, V: Clone + 'static>(
    core: &WindowedCore<K, V>,
    key: &K,
    starts: RangeInclusive<i64>,
) -> Result<Vec<OwnWindow<V>>, StoreError> {
    collected(scan(core, key, starts, Order::Descending)?)
}

/// Returns the latest window of a key that starts within `starts`.
pub(crate) fn last_own_window<K: Clone + 'static, V: Clone + 'static>(
    core: &WindowedCore<K, V>,
    key: &K,
    starts: RangeInclusive<i64>,
) -> Result<Option<OwnWindow<V>>, StoreError> {
    scan(core, key, starts, Order::Descending)?.next_window().transpose()
}

/// Returns the sessions of a key that end at `earliest_end` or later and start at `latest_start` or
/// earlier, by end and then start.
pub(crate) fn own_sessions<K: Clone + 'static, V: Clone + 'static>(
    core: &WindowedCore<K, V>,
    key: &K,
    (earliest_end, latest_start): (i64, i64),
) -> Result<Vec<OwnWindow<V>>, StoreError> {
    collected(scan(core, key, earliest_end..=latest_start, Order::Ascending)?)
}
