//! Where a task is: a task is in exactly one of these places.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill_core::record::TaskId;
use tidemill_core::task::Task;

use crate::storage::seam::Disk;
use crate::world::{DbOf, MessageOf, ReaderOf, StorageOf, World};

use super::outbox::ChangelogTarget;

/// A task that this worker owns.
pub(super) enum Slot<W: World> {
    /// Its directory is still open in another worker of this process.
    Waiting,
    /// The restoring thread has its storage.
    Restoring {
        /// Which job: an answer to an earlier one is of no interest.
        number: u64,
        cancelled: Arc<AtomicBool>,
    },
    /// It takes records.
    Running(Box<Running<W>>),
}

/// A task that takes records.
pub(super) struct Running<W: World> {
    pub(super) task: Task<MessageOf<W>>,
    /// One for each queue of the task, in the same order.
    pub(super) readers: Vec<ReaderOf<W>>,
    pub(super) storage: Rc<RefCell<StorageOf<W>>>,
    /// One for each store, `None` where logging is off.
    pub(super) changelogs: Vec<Option<ChangelogTarget>>,
    /// What was counted before, to report differences.
    pub(super) counted: (u64, u64, u64),
}

impl<W: World> Running<W> {
    /// Closes the processors, forgets what was not committed, and returns the storage.
    pub(super) fn close(self) -> DbOf<W> {
        use tidemill_core::store::TaskStorage;
        self.task.close();
        self.storage.borrow_mut().discard();
        W::Disk::db_of(&self.storage.borrow())
    }
}

impl<W: World> Slot<W> {
    /// Gives the task up; returns its storage if this thread has it.
    pub(super) fn close(self, task: TaskId) -> Option<DbOf<W>> {
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
