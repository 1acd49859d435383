//! Revisions of events: read by the operators that deduplicate, made by a [`RevisionGenerator`].
//!
//! Which generator:
//!
//! | where the thing lives | revision |
//! |---|---|
//! | in a database | a counter in its row, increased by the statement that changes it |
//! | in one process, which is the only one that changes it | [`RevisionGenerator::new`] |
//! | the same, and it must hold over restarts | [`RevisionGenerator::persisted_in`] |
//! | in several processes, and their clocks may decide | [`RevisionGenerator::for_node`] |
//!
//! Draw a revision while you hold the lock under which you change the thing. Drawn before it, a
//! smaller revision can be written after a larger one: the source then ends with the one value and
//! every consumer with the other.

mod error;
mod generator;
mod mark;
#[cfg(test)]
mod tests;

pub use error::RevisionGeneratorError;
pub use generator::RevisionGenerator;
pub use tidemill_core::revision::{
    HybridRevisions, LastRevision, NextRevisionError, RevisionError, RevisionProgress, Revisioned,
    text,
};
