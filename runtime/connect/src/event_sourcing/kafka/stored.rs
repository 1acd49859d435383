//! A stream as the deciding operator stores it.

use serde::{Deserialize, Serialize};
use tidemill::BoxError;

use crate::event_sourcing::{Decider, Stream, Version};

/// The value of the operator's store, as JSON: what interactive queries and the changelog show.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredStream<S> {
    /// [`Decider::STATE_SCHEMA`] of the program that folded it.
    pub schema: u32,
    /// How many events the stream has.
    pub version: Version,
    /// Their fold.
    pub state: S,
    /// Number of the oldest answer that is remembered.
    pub(crate) first_answer: u64,
    /// Number that the next answer gets.
    pub(crate) next_answer: u64,
}

impl<S> StoredStream<S> {
    /// A stream that nothing was asked yet.
    pub(crate) fn of<D: Decider<State = S>>(stream: Stream<S>) -> Self {
        let Stream { version, state } = stream;
        Self { schema: D::STATE_SCHEMA, version, state, first_answer: 0, next_answer: 0 }
    }

    /// Fails if another program's fold made it.
    pub(super) fn check<D: Decider>(&self, store: &str) -> Result<(), BoxError> {
        check_schema::<D>(store, self.schema)
    }
}

/// Fails if a stored state is not of this program's schema: deciding on it would be guessing.
pub(super) fn check_schema<D: Decider>(store: &str, stored: u32) -> Result<(), BoxError> {
    let known = D::STATE_SCHEMA;
    if stored == known {
        return Ok(());
    }
    Err(format!(
        "store {store} has states of schema {stored}, this program folds schema {known}: \
         rebuild from the events into a store of a new name"
    )
    .into())
}
