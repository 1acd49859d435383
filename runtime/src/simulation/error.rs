//! Why a simulation failed.

use std::time::Duration;

use tidemill_core::topology::TopologyError;

/// How many of the last events an error tells.
const STORY_MAX: usize = 40;

/// A simulation that can't be run, or that found something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// The topology can't be built.
    #[error("the topology can't be built")]
    Topology(#[from] TopologyError),
    /// The simulated disk can't be prepared.
    #[error("the folder for the simulated disks can't be used: {0}")]
    Folder(String),
    /// Something that must hold does not. Run the same seed to see it again.
    #[error("seed {seed} violates \"{invariant}\": {detail}\n{}\nreplay: {replay}", story(.events))]
    Violation {
        /// What does not hold.
        invariant: String,
        /// How it was noticed.
        detail: String,
        /// The seed of the run.
        seed: u64,
        /// Hash over all that happened: the same for the same seed and the same program.
        trace_hash: u64,
        /// The command that shows it again.
        replay: String,
        /// What was done to the cluster, with the time since the start.
        events: Vec<(Duration, String)>,
    },
}

fn story(events: &[(Duration, String)]) -> String {
    let skipped = events.len().saturating_sub(STORY_MAX);
    let lines = events.iter().skip(skipped).map(|(at, what)| format!("  {at:>14.3?}  {what}"));
    lines.collect::<Vec<_>>().join("\n")
}

impl SimulationError {
    /// Returns the name of the invariant that does not hold, if it is that.
    #[must_use]
    pub fn violated(&self) -> Option<&str> {
        match self {
            Self::Violation { invariant, .. } => Some(invariant),
            Self::Topology(_) | Self::Folder(_) => None,
        }
    }
}
