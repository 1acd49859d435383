//! Whether a task's local state, its changelogs and the group's committed offsets belong together.

use std::collections::BTreeMap;

use tidemill_core::record::{Offset, TaskId, TopicPartition};
use tidemill_core::store::Checkpoint;

use crate::Error;
use crate::world::World;

use super::Worker;

/// First and last offset of each changelog.
pub(super) type Ends = BTreeMap<TopicPartition, (Offset, Offset)>;

impl<W: World> Worker<W> {
    /// Says why stored positions can't be of this changelog: the topic was made anew.
    pub(super) fn beyond_the_log(
        &self,
        task: TaskId,
        checkpoint: &Checkpoint,
        ends: &Ends,
    ) -> Option<String> {
        self.changelogs_of(task).find_map(|(_, store, changelog)| {
            let stored = *checkpoint.changelogs.get(store)?;
            let (_, last) = *ends.get(&changelog)?;
            (stored > last).then(|| {
                format!(
                    "its store {store} is at offset {stored}, changelog {changelog} ends at {last}"
                )
            })
        })
    }

    /// The number of the task's last commit, as the group has it.
    pub(super) fn committed_number(&self, task: TaskId) -> Option<u64> {
        let starts = self.inputs_of(task).filter_map(|input| self.positions.get(&input));
        starts.filter_map(|start| start.committed.as_ref()?.commit_number).max()
    }

    /// Returns whether the storage holds exactly what the group committed last: every commit of a
    /// task carries its number with each of the task's offsets.
    pub(super) fn is_at_commit(&self, task: TaskId, checkpoint: &Checkpoint) -> bool {
        checkpoint.commit_number > 0
            && self.inputs_of(task).all(|input| {
                let stored = checkpoint.inputs.get(&input);
                let start = self.positions.get(&input);
                let committed = start.and_then(|start| start.committed.as_ref());
                let number = committed.and_then(|committed| committed.commit_number);
                number == Some(checkpoint.commit_number)
                    && stored.map(|s| s.offset) == start.map(|s| s.input.offset)
            })
    }
}

/// Records are gone that the local state does not hold. The state is left alone.
pub(super) fn deleted_changelog(
    task: TaskId,
    changelog: &TopicPartition,
    first: Offset,
    position: Offset,
) -> Error {
    Error::Inconsistent {
        task,
        problem: format!(
            "the changelog {changelog} begins at offset {first}: records were deleted from it, and \
             the local state, which is at offset {position}, does not hold them; restore the state \
             directory from a backup, or reset the application (delete its internal topics and \
             offsets) to begin anew"
        ),
    }
}

/// The group committed what is no longer in the changelog. The state, which has it, is left alone.
pub(super) fn lost_changelog(task: TaskId, problem: &str) -> Error {
    Error::Inconsistent {
        task,
        problem: format!(
            "{problem}: the topic was deleted or lost records that are committed; restore it, or \
             reset the application (delete its internal topics and offsets) to begin anew"
        ),
    }
}
