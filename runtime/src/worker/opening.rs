//! Opening a database that one owns; what is damaged is wiped, to be filled again.

use tidemill_core::store::StoreSpec;

use crate::Error;
use crate::storage::OpenOutcome;
use crate::storage::seam::{Disk, OwnTask};
use crate::world::{DbOf, LockOf, World};

/// Opens the database of the task that the lock owns.
pub(crate) fn open_owned<W: World>(
    world: &W,
    lock: LockOf<W>,
    stores: &[StoreSpec],
) -> Result<DbOf<W>, Error> {
    let task = lock.task_id();
    let lock = match world.disk().open_task(lock, stores)? {
        OpenOutcome::Ready(db) | OpenOutcome::Fresh(db) => return Ok(db),
        OpenOutcome::Damaged { reason, lock } => {
            tracing::error!(%task, reason, "local state is damaged: restoring it");
            lock.wipe()?;
            lock
        }
    };
    match world.disk().open_task(lock, stores)? {
        OpenOutcome::Ready(db) | OpenOutcome::Fresh(db) => Ok(db),
        OpenOutcome::Damaged { reason, .. } => Err(Error::Inconsistent {
            task,
            problem: format!("its new storage is damaged at once: {reason}; check the disk"),
        }),
    }
}
