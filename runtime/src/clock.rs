//! The clocks: the only place where the runtime asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidemill_core::record::Timestamp;

/// Returns the wall-clock time in milliseconds since the Unix epoch: what punctuations see.
pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Returns the monotonic time: what intervals and deadlines are measured with, so that a step of
/// the wall clock moves neither.
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
