//! What a simulation that found nothing has to tell.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::observe::View;
use super::run::Ran;

/// A run in which everything held.
pub struct Report {
    pub(super) seed: u64,
    pub(super) ran: Ran,
}

impl Report {
    /// Returns the seed of the run.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the hash over all that happened, in order: the same for the same seed and program.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.ran.trace_hash
    }

    /// Returns how much time has passed in the simulation.
    #[must_use]
    pub fn simulated_time(&self) -> Duration {
        self.ran.time
    }

    /// Returns how often a fiber of the simulation was given its turn.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.ran.steps
    }

    /// Returns how often each fault happened and each step of a commit was passed, by name.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<String, u64> {
        &self.ran.counts
    }

    /// Returns the most that processes ever held of what has a bound, by name: in percent of the
    /// bound. More than 100 is a violation of INV-11, and no report.
    #[must_use]
    pub fn most_held(&self) -> &BTreeMap<&'static str, u64> {
        &self.ran.held
    }

    /// Returns what was done to the cluster, with the time since the start.
    #[must_use]
    pub fn events(&self) -> &[(Duration, String)] {
        &self.ran.story
    }

    /// Looks at what was committed in the end.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        self.ran.view()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran { trace_hash, steps, time, counts, .. } = &self.ran;
        let seed = self.seed;
        write!(f, "seed {seed}: trace {trace_hash:016x}, {steps} steps in simulated {time:.1?}")?;
        let faults = counts.iter().filter(|(name, _)| !name.starts_with("passed "));
        faults.into_iter().try_for_each(|(name, count)| write!(f, ", {name} {count}"))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
