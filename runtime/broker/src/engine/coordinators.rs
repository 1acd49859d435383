//! Requests for groups and transactions, handed to their coordinators.

use super::{Call, Engine, Handled, Millis};

impl Engine {
    /// Handles a request that is neither about topics nor about records.
    pub(super) fn coordinate(&mut self, _now: Millis, call: Call) -> Handled {
        Handled::unsupported(&call)
    }
}
