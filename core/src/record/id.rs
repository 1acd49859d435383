//! The name of a task.

use std::fmt;
use std::str::FromStr;

use super::{Partition, SubTopologyId};

/// One sub-topology on one partition number. Printed `<sub-topology>_<partition>`, e.g. `2_7`.
/// [`TaskId::GLOBAL`] is printed `global`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Which sub-topology.
    pub sub_topology: SubTopologyId,
    /// Which partition of each of its source topics.
    pub partition: Partition,
}

impl TaskId {
    /// What fills the global stores of a process from all partitions of their topics. No partition
    /// has this number.
    pub const GLOBAL: Self = Self::new(SubTopologyId(u32::MAX), Partition(-1));

    /// Makes a task id.
    #[must_use]
    pub const fn new(sub_topology: SubTopologyId, partition: Partition) -> Self {
        Self { sub_topology, partition }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::GLOBAL {
            return f.write_str(GLOBAL);
        }
        write!(f, "{}_{}", self.sub_topology, self.partition)
    }
}

const GLOBAL: &str = "global";

/// The text is not of the form `2_7`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a task id of the form <sub-topology>_<partition>, nor `global`")]
pub struct TaskIdError(String);

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == GLOBAL {
            return Ok(Self::GLOBAL);
        }
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let (sub, part) = text
            .split_once('_')
            .filter(|(sub, part)| digits(sub) && digits(part))
            .ok_or_else(|| TaskIdError(text.to_owned()))?;
        match (sub.parse(), part.parse()) {
            (Ok(sub), Ok(part)) => Ok(Self::new(SubTopologyId(sub), Partition(part))),
            _ => Err(TaskIdError(text.to_owned())),
        }
    }
}
