//! What has to be done now and then, away from the workers.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use tidemill_core::record::{Offset, TaskId, TopicPartition};

use crate::worker::{Chore, Shared};

/// The longest time between two looks at abandoned state.
const CLEANUP_INTERVAL_MAX: Duration = Duration::from_secs(60);
const PURGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Does chores until it is told to stop.
pub(super) fn run(shared: &Shared, chores: &Receiver<Chore>) {
    let interval = shared.config.state_cleanup_delay.min(CLEANUP_INTERVAL_MAX);
    loop {
        match chores.recv_timeout(interval) {
            Ok(Chore::Purge(committed)) => purge(shared, &committed),
            Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => clean_up(shared),
        }
    }
}

/// Deletes records of repartition topics that are committed as read. Failing is harmless: the next
/// purge includes this one.
fn purge(shared: &Shared, committed: &[(TopicPartition, Offset)]) {
    match shared.admin.delete_records(committed, PURGE_TIMEOUT) {
        Ok(_) => tracing::debug!(partitions = committed.len(), "purged repartition topics"),
        Err(error) => tracing::warn!(%error, "could not purge repartition topics"),
    }
}

/// Deletes the state of tasks that nobody here has owned for `state.cleanup.delay.ms`.
fn clean_up(shared: &Shared) {
    let tasks = match shared.directory.task_ids_on_disk() {
        Ok(tasks) => tasks,
        Err(error) => return tracing::warn!(%error, "could not look for abandoned state"),
    };
    for task in tasks {
        if !is_abandoned(shared, task) {
            continue;
        }
        // an owner makes this fail, and that is the answer
        let Ok(lock) = shared.directory.acquire_task(task) else { continue };
        match lock.wipe() {
            Ok(()) => tracing::info!(%task, "deleted the state of a task that moved away"),
            Err(error) => tracing::warn!(%task, %error, "could not delete abandoned state"),
        }
    }
}

fn is_abandoned(shared: &Shared, task: TaskId) -> bool {
    let path = shared.directory.task_path(task);
    let newest = std::fs::read_dir(path).ok().and_then(|entries| {
        let modified = |entry: std::fs::DirEntry| entry.metadata().ok()?.modified().ok();
        entries.flatten().filter_map(modified).max()
    });
    let age = newest.and_then(|newest| SystemTime::now().duration_since(newest).ok());
    age.is_some_and(|age| age >= shared.config.state_cleanup_delay)
}
