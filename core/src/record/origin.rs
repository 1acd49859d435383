//! Which source record something came of: what a store keeps beside a value, at little cost.

use super::{Offset, Partition};

/// A source record: a number for its topic, its partition and its offset.
///
/// The topics are those that a task knows, numbered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) topic: u32,
    pub(crate) partition: Partition,
    pub(crate) offset: Offset,
}

impl Origin {
    /// No source record: a punctuation, or what a processor makes of itself.
    pub(crate) const NONE: Self =
        Self { topic: u32::MAX, partition: Partition(-1), offset: Offset(-1) };
}
