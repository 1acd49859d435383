//! Where tasks keep their stores: a locked state directory and one RocksDB for each task.
//!
//! ```text
//!   <state.dir>/<application.id>/       StateDirectory: locked by one process (INV-10)
//!     .lock                             the lock, with the holder's process id
//!     tidemill.json                     format version, application id, process identity
//!     0_3/                              task 0_3: one RocksDB, owned through a TaskLock
//!       family "default"                manifest of the task, checkpoint
//!       family "store/<name>"           one for each store: key -> stored value
//! ```
//!
//! The rules:
//! * **One batch** (INV-3): contents and the checkpoint that says what they correspond to are
//!   written by the same atomic batch, always, while running and while restoring.
//! * **One writer** (INV-10): a task's database is written through a [`RocksStorage`] or a
//!   [`Restorer`], of which at most one exists.
//! * **Logged or flushed**: commits go through RocksDB's write-ahead log without fsync, so they
//!   survive the death of the process. Bulk restoring skips the log, and everything it wrote is
//!   flushed before the first logged write: the disk never holds a checkpoint without its contents.
//! * **Never a panic, never a guess**: contents that can't be trusted are reported as damaged, and
//!   the caller wipes the task and restores it from its changelogs.
//!
//! This is the only code that knows RocksDB. The bytes on disk are drawn in
//! `docs/STORAGE_FORMAT.md`.

pub mod audit;
mod directory;
mod encoding;
mod error;
#[cfg(feature = "simulation")]
mod hooked;
mod lock;
mod manifest;
#[cfg(any(test, feature = "simulation"))]
mod memory;
mod restore;
mod rocks;
mod rocks_disk;
mod rocks_storage;
pub(crate) mod seam;
mod staged;
mod task_db;
#[cfg(test)]
mod tests;

pub use directory::{StateDirectory, TaskLock};
pub use error::{StateDirectoryError, StorageError};
#[cfg(feature = "simulation")]
pub(crate) use hooked::{HookedRocks, RocksDrive};
#[cfg(feature = "simulation")]
pub(crate) use memory::{DiskCall, DiskFault, Drive, MemoryDisk};
pub use restore::Restorer;
pub use rocks::SharedRocks;
pub(crate) use rocks_disk::RocksDisk;
pub use rocks_storage::RocksStorage;
pub use seam::OpenOutcome;
pub use task_db::TaskDb;
