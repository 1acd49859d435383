//! Windows: what they are, and the aggregations of the records in each.
//!
//! | definition | windows | end |
//! |---|---|---|
//! | [`TimeWindows`] | of one size, side by side (tumbling) or overlapping (hopping) | exclusive |
//! | [`SlidingWindows`] | around the records of a key, one for each set that fits | inclusive |
//! | [`SessionWindows`] | as long as a key is active | inclusive |
//! | [`UnlimitedWindows`] | one, for ever | exclusive |
//!
//! A window takes records until it *closes*: until stream time has passed its end by the grace
//! period. What comes later is *late*: dropped and counted. Stream time is here the largest
//! timestamp that the aggregation itself has seen.

mod aggregate_aligned;
mod aggregate_session;
mod aggregate_sliding;
mod by;
mod cogrouped;
mod emit;
mod progress;
mod running;
mod session_windowed;
mod session_windows;
mod shape;
mod sliding_windows;
mod table;
mod time_windowed;
mod time_windows;
mod unlimited_windows;

use std::time::Duration;

pub use by::WindowDefinition;
pub(super) use cogrouped::{CogroupedWindows, WindowedMember};
pub use cogrouped::{SessionWindowedCogroupedKStream, TimeWindowedCogroupedKStream};
pub use emit::EmitStrategy;
pub(super) use progress::Progress;
pub use session_windowed::SessionWindowedKStream;
pub use session_windows::SessionWindows;
pub use sliding_windows::SlidingWindows;
pub use time_windowed::TimeWindowedKStream;
pub use time_windows::TimeWindows;
pub use unlimited_windows::UnlimitedWindows;

/// Returns whole milliseconds, as many as a timestamp can have at most.
fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// What is wrong with a duration that no timestamp could be away from another.
fn too_long(what: &str, time: Duration) -> Option<String> {
    let longest = Duration::from_millis(i64::MAX.unsigned_abs());
    (time > longest).then(|| format!("the {what} of {time:?} is longer than 2^63 milliseconds"))
}
