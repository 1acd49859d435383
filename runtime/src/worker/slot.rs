//! Where a task is: a task is in exactly one of these places.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_core::record::TaskId;
use tidemill_core::task::Task;

use crate::client::{Message, PartitionReader};
use crate::storage::{RocksStorage, TaskDb};

use super::outbox::ChangelogTarget;

/// A task that this worker owns.
pub(super) enum Slot {
    /// Its directory is still open in another worker of this process.
    Waiting,
    /// The restoring thread has its storage.
    Restoring {
        /// Which job: an answer to an earlier one is of no interest.
        number: u64,
        cancelled: Arc<AtomicBool>,
    },
    /// It takes records.
    Running(Box<Running>),
}

/// A task that takes records.
pub(super) struct Running {
    pub(super) task: Task<Message>,
    /// One for each queue of the task, in the same order.
    pub(super) readers: Vec<PartitionReader>,
    pub(super) storage: Rc<RefCell<RocksStorage>>,
    /// One for each store, `None` where logging is off.
    pub(super) changelogs: Vec<Option<ChangelogTarget>>,
    /// What was counted before, to report differences.
    pub(super) counted: (u64, u64),
}

impl Running {
    /// Closes the processors, forgets what was not committed, and returns the storage.
    pub(super) fn close(self) -> TaskDb {
        use tidemill_core::store::TaskStorage;
        self.task.close();
        self.storage.borrow_mut().discard();
        self.storage.borrow().db().clone()
    }
}

impl Slot {
    /// Gives the task up; returns its storage if this thread has it.
    pub(super) fn close(self, task: TaskId) -> Option<TaskDb> {
        match self {
            Self::Waiting => None,
            Self::Restoring { cancelled, .. } => {
                tracing::debug!(%task, "restoring is cancelled");
                cancelled.store(true, Ordering::Release);
                None
            }
            Self::Running(running) => Some(running.close()),
        }
    }
}
