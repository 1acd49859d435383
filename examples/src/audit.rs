//! The offline auditor: what a stopped worker has on disk against what Kafka says it must have.
//!
//! For each task (INV-2): the contents of the store are, byte for byte, the changelog's committed
//! records folded up to the stored position; that position is no further than the last committed
//! record; and the stored input offsets are no further than the group's committed ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidemill::BoxError;
use tidemill::client::{Isolation, OffsetSpec};
use tidemill::record::{Offset, RawRecord, TaskId, TopicPartition};
use tidemill::storage::audit::{StoreDump, TaskDump, dump};

use crate::balances::STORE;
use crate::cluster::{Cluster, retrying};
use crate::job::Job;

/// What an audit found.
#[derive(Debug, Default)]
pub struct Audit {
    /// Databases looked at.
    pub tasks: u64,
    /// Store entries that are as they must be.
    pub entries: u64,
    /// What is not; empty if all is well.
    pub problems: Vec<String>,
}

/// Audits every task below a worker's state directory. The worker must not run.
///
/// # Errors
/// If a database or the cluster can't be read.
pub fn audit(cluster: &Cluster, job: &Job, state_dir: &Path) -> Result<Audit, BoxError> {
    let mut audit = Audit::default();
    for (task, path) in tasks(&state_dir.join(&job.application_id))? {
        let found = dump(&path).map_err(|error| format!("task {task}: {error}"))?;
        audit.tasks += 1;
        inputs(cluster, job, task, &found, &mut audit)?;
        if let Some(contents) = found.stores.get(STORE) {
            let position = found.checkpoint.changelogs.get(STORE).copied().unwrap_or(Offset::ZERO);
            let changelog = TopicPartition::new(job.changelog(), task.partition);
            store(cluster, task, &changelog, position, contents, &mut audit)?;
        }
    }
    Ok(audit)
}

/// The tasks that have a database.
fn tasks(folder: &Path) -> Result<Vec<(TaskId, PathBuf)>, BoxError> {
    let mut tasks = Vec::new();
    if !folder.is_dir() {
        return Ok(tasks);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // a worker may have died between making the folder and the database
        if let Ok(task) = name.parse::<TaskId>()
            && path.join("CURRENT").is_file()
        {
            tasks.push((task, path));
        }
    }
    tasks.sort();
    Ok(tasks)
}

fn inputs(
    cluster: &Cluster,
    job: &Job,
    task: TaskId,
    found: &TaskDump,
    audit: &mut Audit,
) -> Result<(), BoxError> {
    let partitions: Vec<TopicPartition> = found.checkpoint.inputs.keys().cloned().collect();
    let group = cluster.group_watcher(&job.application_id)?;
    for committed in retrying(|timeout| group.committed(&partitions, timeout))? {
        let stored = found.checkpoint.inputs[&committed.partition].offset;
        let committed_offset = committed.offset.unwrap_or(Offset::ZERO);
        if stored > committed_offset {
            audit.problems.push(format!(
                "INV-2: task {task} stored {}@{stored}, committed is {committed_offset}",
                committed.partition
            ));
        }
    }
    Ok(())
}

fn store(
    cluster: &Cluster,
    task: TaskId,
    changelog: &TopicPartition,
    position: Offset,
    contents: &StoreDump,
    audit: &mut Audit,
) -> Result<(), BoxError> {
    let one = std::slice::from_ref(changelog);
    let stable = cluster.log_ends(one, OffsetSpec::Latest, Isolation::ReadCommitted)?;
    if stable.iter().any(|stable| position > *stable) {
        audit.problems.push(format!(
            "INV-2: task {task} stored position {position} of {changelog}, where only what is \
             before {stable:?} is committed"
        ));
        return Ok(());
    }
    let folded = fold(cluster, changelog, position)?;
    if folded == *contents {
        audit.entries += contents.len() as u64;
        return Ok(());
    }
    let differs = folded.iter().find(|(key, value)| contents.get(*key) != Some(*value));
    let surplus = || contents.iter().find(|(key, _)| !folded.contains_key(*key));
    let key = differs.or_else(surplus).map(|(key, _)| key.clone()).unwrap_or_default();
    let text =
        |dump: &StoreDump| dump.get(&key).map(|value| String::from_utf8_lossy(value).into_owned());
    audit.problems.push(format!(
        "INV-2: task {task} holds {} entries, its changelog up to {position} makes {}; {} is {:?} \
         and must be {:?}",
        contents.len(),
        folded.len(),
        String::from_utf8_lossy(&key),
        text(contents),
        text(&folded),
    ));
    Ok(())
}

/// Folds the committed records below a position into what the store must hold: the timestamp as
/// eight bytes, big end first, and the value.
fn fold(
    cluster: &Cluster,
    changelog: &TopicPartition,
    position: Offset,
) -> Result<StoreDump, BoxError> {
    let mut folded: StoreDump = BTreeMap::new();
    let mut reader = cluster.reader(std::slice::from_ref(changelog), Isolation::ReadCommitted)?;
    reader.read_to(&[position], &mut |_, record| {
        if record.offset() >= position {
            return Ok(());
        }
        let key = record.key().ok_or("a changelog record without a key")?.to_vec();
        match record.value() {
            None => {
                folded.remove(&key);
            }
            Some(value) => {
                let mut stored = record.timestamp().0.to_be_bytes().to_vec();
                stored.extend_from_slice(value);
                folded.insert(key, stored);
            }
        }
        Ok(())
    })?;
    Ok(folded)
}
