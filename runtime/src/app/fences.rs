//! A worker whose place in the group was taken: by itself, or by another process of the same name.

use std::time::{Duration, Instant};

use crate::Error;
use crate::client::Severity;

/// So many times within the window a worker takes its place in the group again (INV-7: a fence is
/// no reason to exit); then another process must have the same name.
const FENCES_MAX: usize = 5;
const FENCES_WINDOW: Duration = Duration::from_secs(300);

/// Whether the worker's place in the group was taken by somebody with the same name. Most often
/// that is itself: a join whose answer was lost while the broker was away.
pub(super) fn is_fence(error: &Error) -> bool {
    matches!(error, Error::Membership { cause, .. } if cause.severity == Severity::Fenced)
}

/// Tells a worker that was fenced by itself from two that fight for one place.
#[derive(Debug, Default)]
pub(super) struct Fences {
    recent: Vec<Instant>,
}

impl Fences {
    /// Notes a fence; returns false if there were too many of late.
    pub(super) fn may_rejoin(&mut self, now: Instant) -> bool {
        self.recent.retain(|fence| now.saturating_duration_since(*fence) < FENCES_WINDOW);
        self.recent.push(now);
        self.recent.len() <= FENCES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inv_7_a_fenced_worker_joins_anew_until_somebody_must_be_fighting_it() {
        let mut fences = Fences::default();
        let now = crate::clock::monotonic();
        let answers: Vec<bool> = (0..FENCES_MAX + 2).map(|_| fences.may_rejoin(now)).collect();
        assert!(answers[..FENCES_MAX].iter().all(|rejoin| *rejoin));
        assert!(answers[FENCES_MAX..].iter().all(|rejoin| !*rejoin));
        assert!(fences.may_rejoin(now + FENCES_WINDOW));
    }
}
