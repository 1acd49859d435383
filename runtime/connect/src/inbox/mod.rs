//! The inbox: events remembered by their id, in the transaction of their effect.
