//! The second phase: a marker for each partition and each group that the transaction touched.

use super::{Transaction, TransactionState, Transactions};
use crate::engine::{Context, MarkerTarget, Millis};
use crate::group::Groups;
use crate::log::Topics;

impl Transactions {
    /// Holds back the markers for a target until a time.
    pub(crate) fn hold_markers(&mut self, target: MarkerTarget, until: Millis) {
        self.holds.insert(target, until);
    }

    /// Writes the markers that may be written now. With the last one the transaction is complete.
    pub(super) fn write_markers(
        &mut self,
        ctx: &mut Context<'_>,
        (topics, groups): (&mut Topics, &mut Groups),
        id: &str,
    ) {
        if self.moves.is_away(id, ctx.now) {
            return;
        }
        let coordinator_epoch = self.coordinator_epoch;
        let Some(transaction) = self.ids.get_mut(id) else { return };
        let Some(marker) = transaction.state.marker() else { return };
        let producer = (transaction.producer_id, transaction.epoch);
        // a partition that can't be written to is tried again when it can
        for target in &transaction.unsent {
            let MarkerTarget::Partition { topic, partition } = target else { continue };
            let log = topics.partition(topic, *partition);
            if let Some(until) = log.and_then(|log| log.fails_until(ctx.now)) {
                let held = self.holds.entry(target.clone()).or_insert(until);
                *held = until.max(*held);
            }
        }
        let held =
            |target: &MarkerTarget| self.holds.get(target).is_some_and(|until| *until > ctx.now);
        let due: Vec<MarkerTarget> =
            transaction.unsent.extract_if(.., |target| !held(target)).collect();
        for target in due {
            match target {
                MarkerTarget::Partition { topic, partition } => {
                    // a topic that was deleted has no use for markers
                    if let Some(log) = topics.partition_mut(&topic, partition) {
                        log.append_marker(ctx, producer.0, producer.1, marker, coordinator_epoch);
                    }
                }
                MarkerTarget::Group(group) => groups.apply_marker(ctx, &group, producer, marker),
            }
        }
        if transaction.unsent.is_empty() {
            let complete = match transaction.state {
                TransactionState::PrepareCommit => TransactionState::CompleteCommit,
                _ => TransactionState::CompleteAbort,
            };
            transaction.transition(complete, ctx.now);
            transaction.targets.clear();
            self.store(ctx, id);
        }
    }

    /// When the next marker of a decided transaction may be written: at once, if none is held back.
    pub(super) fn markers_due(&self, transaction: &Transaction) -> Option<Millis> {
        let due = |target: &MarkerTarget| self.holds.get(target).copied();
        let due = transaction.unsent.iter().map(|target| due(target).unwrap_or(Millis::MIN));
        Some(due.min().unwrap_or(Millis::MIN))
    }
}
