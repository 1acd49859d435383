//! Global stores: one thread of a process fills them, all its workers read them.
//!
//! ```text
//!   topics, all partitions --> consumer without group --> Task::global --> one database, global/
//!                                                                             ^  ^  ^
//!                                                                     tasks of all workers read
//! ```
//!
//! The rules:
//! * Records are read committed and go through the topology's own nodes, from the beginning of the
//!   topic or from where the process was: there is no second way into a store, neither at the start
//!   nor after a restart.
//! * Contents and positions are one batch (INV-3), so that a kill loses and repeats nothing.
//! * No worker joins the group before the stores reached the high watermark that the topics had
//!   when the process started (INV-4). A transaction that is open below it is waited for.
//! * From then on the stores follow their topics. Readers see each batch as a whole as soon as it
//!   is stored, and are never held up by the writer.
//! * What the process can't know to be a part of the topic (positions outside of the log, another
//!   topic than before) is not used: the stores are built anew from the topics.

mod filler;
mod opening;
mod shared;

pub(crate) use filler::Filler;
pub(crate) use shared::Globals;
