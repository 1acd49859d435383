//! One task to be restored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use tidemill_core::record::{Offset, TaskId, TopicPartition};
use tidemill_core::store::StoreIndex;

use crate::Error;
use crate::client::Waker;
use crate::world::{RestorerOf, World};

/// A store of the task and how far it has to go.
#[derive(Debug, Clone)]
pub(crate) struct StoreRestore {
    pub(crate) index: StoreIndex,
    pub(crate) store: String,
    pub(crate) changelog: TopicPartition,
    /// The next changelog record to apply.
    pub(crate) position: Offset,
    /// The high watermark to reach (INV-4).
    pub(crate) target: Offset,
    /// Records applied so far.
    pub(crate) restored: u64,
}

impl StoreRestore {
    pub(crate) fn is_done(&self) -> bool {
        self.position >= self.target
    }
}

/// A task whose stores are being restored. Whoever holds the job owns the task's storage.
pub(crate) struct RestoreJob<W: World> {
    pub(crate) task: TaskId,
    /// Tells apart two jobs for one task, before and after a rebalance.
    pub(crate) number: u64,
    pub(crate) storage: RestorerOf<W>,
    pub(crate) stores: Vec<StoreRestore>,
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) reply: mpsc::Sender<RestoreOutcome<W>>,
    pub(crate) waker: Arc<Waker>,
}

/// What became of a job.
pub(crate) enum RestoreOutcome<W: World> {
    /// Every store is at or beyond its target.
    Done(RestoreJob<W>),
    /// It can't be done; the storage was released.
    Failed { task: TaskId, number: u64, error: Error },
}

impl<W: World> RestoreJob<W> {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Hands the job back to its worker, or drops it if the worker no longer wants it.
    pub(crate) fn finish(self, error: Option<Error>) {
        if self.is_cancelled() {
            return;
        }
        let (reply, waker) = (self.reply.clone(), Arc::clone(&self.waker));
        let outcome = match error {
            None => {
                assert!(
                    self.stores.iter().all(StoreRestore::is_done),
                    "INV-4: task {} was handed back before its stores reached their targets",
                    self.task,
                );
                RestoreOutcome::Done(self)
            }
            Some(error) => RestoreOutcome::Failed { task: self.task, number: self.number, error },
        };
        // a worker that is gone needs no answer
        let _ = reply.send(outcome);
        waker.wake();
    }
}
