//! Real servers for tests and demonstrations: a throw-away PostgreSQL, a broker, processes that can
//! be killed, and what a reader of a topic sees. Nothing here is for production.

mod broker;
mod child;
mod port;
mod postgres;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use broker::{Broker, Seen};
pub use child::Child;
pub use port::Port;
pub use postgres::{PgOptions, PgServer, Shutdown};

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Returns a name that nobody else has: letters, digits and `_`.
#[must_use]
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_micros());
    format!("{name}_{now}_{next}")
}

/// Looks again and again until there is something.
///
/// # Panics
/// If there is nothing for [`PATIENCE`].
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(PAUSE);
    }
}
