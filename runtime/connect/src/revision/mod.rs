//! Revisions that a database gives out: counters in the row, sequences, and a service for all.
//!
//! A revision tells a consumer which of two events about one thing is the newer one, and that it
//! has seen an event before: see [`tidemill::revision`].
//!
//! | | grows | costs |
//! |---|---|---|
//! | [`RowCounter`] | per row, dense, in the order of commits | nothing: part of the statement |
//! | [`SequenceRevision`] | per row; one order for all rows | a round trip |
//! | [`RevisionedTable::draw`] | as the [`RevisionSource`] it asks | a round trip, the source |
//! | [`RevisionedTable::write_if_newer`] | guards what is drawn elsewhere | nothing |
//! | `service` | in the whole system, over all databases | a request, and a commit |
//!
//! # Guarantee
//!
//! With the first three, the row's last writer has its largest revision, because the revision is
//! drawn when the row is locked. With the guarded write the row keeps its largest revision: a
//! writer that drew early and comes late is told so and has no effect. Either way source and
//! consumers end with the same value.
//!
//! # What it does not promise
//!
//! Nothing about a revision that is drawn before the lock and written without the guard. Nothing
//! about events of a transaction that was rolled back: tell the world after the commit, best by an
//! outbox. And a consumer that keeps the last writer loses *changes* that were overtaken; events
//! should carry states.

mod counter;
mod error;
mod sequence;
#[cfg(feature = "revision-service")]
pub mod service;
mod source;
mod table;

pub use counter::RowCounter;
pub use error::CounterError;
pub use sequence::SequenceRevision;
pub use source::RevisionSource;
pub use table::{GuardedWrite, Parameter, RevisionedTable};
