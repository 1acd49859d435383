//! What a worker without one of its guards does. With the feature `mutations` only.

use std::collections::BTreeMap;

use tidemill_core::processor::{Collector, Outgoing, SendError, SinkTopic};
use tidemill_core::record::{Headers, Timestamp, TopicPartition};
use tidemill_core::store::{Acknowledged, InputPosition, StoreIndex, TaskStorage};
use tidemill_core::transaction::Acknowledgements;

use super::Worker;
use super::slot::Slot;
use crate::mutation::{Guard, removed};
use crate::world::World;

/// What a mutant keeps from one transaction to the next.
#[derive(Debug, Default)]
pub(super) struct Mutant {
    /// A proof that was meant for another commit.
    pub(super) proof: Option<Acknowledged>,
    /// Where the tasks were when their transaction was aborted.
    pub(super) reached: BTreeMap<TopicPartition, InputPosition>,
}

impl Mutant {
    /// Keeps a proof for later.
    pub(super) fn keep(&mut self, proof: &Acknowledgements) {
        self.proof = Some(proof.for_task());
    }
}

impl<W: World> Worker<W> {
    /// To be called before the tasks of an aborted transaction are closed.
    pub(super) fn mutate_rollback(&mut self) {
        let (keep, go_on) = (removed(Guard::DropOverlay), removed(Guard::Rewind));
        if !keep && !go_on {
            return;
        }
        let now = self.shared.world.wall_clock();
        for slot in self.slots.values_mut() {
            let Slot::Running(running) = slot else { continue };
            if !running.task.commit_needed() {
                continue;
            }
            let Ok(plan) = running.task.prepare_commit(&mut Nowhere, now) else { continue };
            if go_on {
                self.mutant.reached.extend(plan.inputs);
            }
            if keep && let Some(proof) = self.mutant.proof.take() {
                let mut storage = running.storage.borrow_mut();
                let checkpoint = storage.checkpoint().clone();
                // whether it is written makes no difference to a mutant
                drop(storage.publish(checkpoint, proof));
            }
        }
    }

    /// To be called when the committed offsets were read.
    pub(super) fn mutate_positions(&mut self) {
        for (partition, reached) in std::mem::take(&mut self.mutant.reached) {
            if let Some(start) = self.positions.get_mut(&partition) {
                start.input = reached;
            }
        }
    }
}

/// Takes everything and sends nothing.
struct Nowhere;

impl Collector for Nowhere {
    fn resolve(&mut self, _: &str) -> Result<SinkTopic, SendError> {
        Err(SendError::Rejected("a mutant finds no topics".into()))
    }

    fn send(&mut self, _: Outgoing<'_>) -> Result<(), SendError> {
        Ok(())
    }

    fn log(
        &mut self,
        _: StoreIndex,
        _: &[u8],
        _: Option<&[u8]>,
        _: Timestamp,
        _: &Headers,
    ) -> Result<(), SendError> {
        Ok(())
    }
}
