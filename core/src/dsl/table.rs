//! A table: the latest value of each key.

use std::fmt;

use super::graph::{GraphId, SharedGraph};
use super::{KStream, Named};
use crate::record::Record;

/// What happened to a key of a table: the value of the edges below a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<V> {
    /// The value now; `None` if the key was deleted.
    pub new: Option<V>,
    /// The value before, if somebody downstream needs it, else `None`.
    pub old: Option<V>,
}

/// A table: the latest value of each key. As [`KStream`], a cheap handle.
pub struct KTable<K, V> {
    changes: KStream<K, Change<V>>,
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self { changes: self.changes.clone() }
    }
}

impl<K, V> fmt::Debug for KTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KTable").finish_non_exhaustive()
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    pub(super) fn new(graph: SharedGraph, id: GraphId) -> Self {
        Self { changes: KStream::new(graph, id, false) }
    }

    /// Names the next operator. See [`KStream::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Self { changes: self.changes.named(name) }
    }

    /// Returns the changes as a stream: each new value, and `None` where a key was deleted.
    ///
    /// Written with [`optional`](crate::serdes::optional)`(serde)` a `None` becomes a tombstone.
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        self.changes.attach("KTABLE-TOSTREAM-", false, |context, record| {
            let Record { key, value: Change { new, .. }, timestamp, headers } = record;
            context.forward(Record { key, value: new, timestamp, headers })
        })
    }
}
