//! From changelogs to stores, on a thread of its own, so that restoring never holds up tasks that
//! run.
//!
//! A job brings the stores of one task up to the high watermark that its changelogs had *after* the
//! task's committed offsets were read (INV-4). The consumer reads committed records only; an open
//! transaction of an earlier owner below the target therefore makes the job wait until it is
//! decided, at most `transaction.timeout.ms`. A partition is done when its position is at or beyond
//! the target, which control records, compaction and aborted records make it reach by the end of
//! partition rather than by a record (Quix #1017); equality is never asked for.

mod job;
mod listener;
mod restoring;

pub(crate) use job::{RestoreJob, RestoreOutcome, StoreRestore};
pub(crate) use listener::NoListener;
pub use listener::StateRestoreListener;
pub(crate) use restoring::{RestoreHandle, RestoreLimits, Restoring};
