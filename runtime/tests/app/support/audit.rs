//! The auditor: what is on disk must be the fold of the changelogs up to the stored positions.

use std::collections::BTreeMap;

use tidemill::client::{Isolation, OffsetSpec};
use tidemill::record::{Offset, TopicPartition};
use tidemill::storage::audit::{TaskDump, dump};
use tidemill::store::StoreKind;

use super::kafka::{Rec, at};
use super::ledger::{BALANCES, Bank, COMMITS};
use super::until;

const STORES: [(&str, StoreKind); 2] =
    [(BALANCES, StoreKind::TimestampedKeyValue), (COMMITS, StoreKind::KeyValue)];

/// Folds committed changelog records below a position into the form that is stored.
pub(crate) fn fold(
    changelog: &[Rec],
    partition: i32,
    position: Offset,
    kind: StoreKind,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut contents = BTreeMap::new();
    let below = |r: &&Rec| r.partition == partition && r.offset < position.0;
    for record in changelog.iter().filter(below) {
        let key = record.key.clone().unwrap();
        match &record.value {
            None => drop(contents.remove(&key)),
            Some(value) => {
                let mut stored = Vec::new();
                if kind == StoreKind::TimestampedKeyValue {
                    stored.extend_from_slice(&record.timestamp.to_be_bytes());
                }
                stored.extend_from_slice(value);
                contents.insert(key, stored);
            }
        }
    }
    contents
}

impl Bank {
    /// The tasks that keep the ledger's stores: all partitions of one sub-topology.
    fn task_of(&self, partition: i32) -> String {
        format!("{}_{partition}", i32::from(self.spec.repartition))
    }

    pub(crate) fn dump(&self, partition: i32) -> Option<TaskDump> {
        let path = self.spec.task_path(&self.task_of(partition));
        path.join("CURRENT").exists().then(|| dump(&path).unwrap())
    }

    /// Compares the state of every task of a dead process with the changelogs, byte for byte
    /// (INV-2), and the stored positions with what the group committed (INV-3). Returns how many
    /// tasks are at the group's commit.
    ///
    /// A transaction may still be open: it counts for nothing.
    pub(crate) fn audit(&self) -> usize {
        let source = self.spec.sources().pop().unwrap();
        let dumps: BTreeMap<i32, TaskDump> = (0..self.partitions())
            .filter_map(|partition| Some((partition, self.dump(partition)?)))
            .collect();
        for (name, kind) in STORES {
            let topic = self.spec.changelog(name);
            let position = |dump: &TaskDump| dump.checkpoint.changelogs.get(name).copied();
            let positions: BTreeMap<_, _> = dumps
                .iter()
                .map(|(p, dump)| (at(&topic, *p), position(dump).unwrap_or(Offset::ZERO)))
                .collect();
            if positions.is_empty() {
                continue;
            }
            let changelog = self.until_stable(&topic, &positions);
            for (partition, dump) in &dumps {
                let expected =
                    fold(&changelog, *partition, positions[&at(&topic, *partition)], kind);
                let found = dump.stores.get(name).cloned().unwrap_or_default();
                assert_eq!(found, expected, "INV-2: store {name} of partition {partition}");
            }
        }
        until("commits of what is stored", || self.audit_commits(&source, &dumps))
    }

    /// Reads a changelog, which has to be committed beyond these positions: that is acknowledged
    /// before the marker is in every partition.
    fn until_stable(&self, topic: &str, positions: &BTreeMap<TopicPartition, Offset>) -> Vec<Rec> {
        let ends = until(&format!("INV-2: the positions {positions:?} to be committed"), || {
            let ends = self.kafka.ends(topic, OffsetSpec::Latest, Isolation::ReadCommitted);
            positions.iter().all(|(partition, stored)| *stored <= ends[partition]).then_some(ends)
        });
        self.kafka.read_to(topic, &ends)
    }

    /// Returns how many tasks are at the group's commit; `None` if one is beyond it.
    fn audit_commits(&self, source: &str, dumps: &BTreeMap<i32, TaskDump>) -> Option<usize> {
        let committed = self.kafka.committed_so_far(&self.spec.application_id, source);
        let mut current = 0;
        for (partition, TaskDump { checkpoint, .. }) in dumps {
            let source = at(source, *partition);
            let (offset, commit) = committed.get(&source).copied().unzip();
            let commit = commit.flatten().unwrap_or(0);
            let stored = checkpoint.inputs.get(&source).map(|input| input.offset);
            // before the first commit the position is where the reset policy says
            let ahead = checkpoint.commit_number > 0 && stored > offset;
            if ahead || checkpoint.commit_number > commit {
                return None;
            }
            current += usize::from(checkpoint.commit_number == commit && stored == offset);
        }
        Some(current)
    }

    /// After all workers stopped in good order: every task's state is at the group's commit.
    pub(crate) fn audit_current(&self) {
        let source = self.spec.sources().pop().unwrap();
        // until the last commit is in the offsets topic, too
        self.kafka.committed(&self.spec.application_id, &source);
        let tasks = usize::try_from(self.partitions()).unwrap();
        assert_eq!(self.audit(), tasks, "tasks whose state is at the group's commit");
    }

    fn partitions(&self) -> i32 {
        i32::try_from(self.kafka.partitions(&self.spec.input).len()).unwrap()
    }
}
