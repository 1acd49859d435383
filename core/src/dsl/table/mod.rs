//! A table: the latest value of each key.
//!
//! Every table is a stream of changes with a memory. Where that memory is kept is decided when the
//! topology is built: a table has a store of its own if it is given one by name; the source of a
//! table also gets one as soon as somebody reads from it or asks for old values. All other tables
//! are computed from the one above them.

mod changed;
mod derived;
mod filter;
mod foreign_key;
mod group;
mod guard;
mod join_side;
mod join_stream;
mod join_table;
mod map_values;
mod node;
mod source;
mod store;
mod suppress;
mod view;

use std::fmt;
use std::rc::Rc;

use super::graph::{GraphId, SharedGraph};
use super::{KStream, Named};
use crate::record::Record;
use crate::serdes::SharedSerde;

pub use foreign_key::TableJoined;
pub use group::KGroupedTable;
pub use join_stream::Joined;
pub(super) use node::{Flag, StoreNode, TableNode};
pub use source::TableValue;
pub(super) use source::of_present;
pub(super) use store::change;
pub use suppress::{
    BufferBounds, BufferConfig, Eager, EagerBufferConfig, Strict, StrictBufferConfig, Suppressed,
};
pub(super) use view::{ReadTable, View};

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
    node: Rc<dyn TableNode<K, V>>,
    key_serde: Option<SharedSerde<K>>,
    value_serde: Option<SharedSerde<V>>,
    queryable_store_name: Option<String>,
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            changes: self.changes.clone(),
            node: Rc::clone(&self.node),
            key_serde: self.key_serde.clone(),
            value_serde: self.value_serde.clone(),
            queryable_store_name: self.queryable_store_name.clone(),
        }
    }
}

impl<K, V> fmt::Debug for KTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KTable")
            .field("queryable_store_name", &self.queryable_store_name)
            .finish_non_exhaustive()
    }
}

impl<K, V> KTable<K, V> {
    /// Returns the name of the table's store, if it was given one by name.
    #[must_use]
    pub fn queryable_store_name(&self) -> Option<&str> {
        self.queryable_store_name.as_deref()
    }
}

/// What a table is made of, besides its node.
pub(super) struct TableParts<K, V> {
    pub(super) key_serde: Option<SharedSerde<K>>,
    pub(super) value_serde: Option<SharedSerde<V>>,
    pub(super) queryable_store_name: Option<String>,
}

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    pub(super) fn new(
        graph: SharedGraph,
        id: GraphId,
        node: Rc<dyn TableNode<K, V>>,
        parts: TableParts<K, V>,
    ) -> Self {
        let TableParts { key_serde, value_serde, queryable_store_name } = parts;
        let changes = KStream::new(graph, id, false);
        Self { changes, node, key_serde, value_serde, queryable_store_name }
    }

    /// Names the next operator. See [`KStream::named`].
    #[must_use]
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Self { changes: self.changes.named(name), ..self.clone() }
    }

    /// Returns the changes as a stream: each new value, and `None` where a key was deleted.
    ///
    /// Written with [`optional`](crate::serdes::optional)`(serde)` a `None` becomes a tombstone.
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        self.changes.attach("KTABLE-TOSTREAM-", false, |context, record| {
            let Record { key, value: Change { new, .. }, timestamp, headers } = record;
            context.forward_in_order(true, Record { key, value: new, timestamp, headers })
        })
    }

    /// As [`KTable::to_stream`], with a new key for each change.
    pub fn to_stream_with_key<K2: Clone + 'static>(
        &self,
        selector: impl Fn(&K, &Option<V>) -> K2 + Send + Sync + 'static,
    ) -> KStream<K2, Option<V>> {
        self.to_stream().select_key(selector)
    }

    /// Has the table's changes carry the values before. With `force` a source without a store gets
    /// one; without, the answer may be that they don't.
    pub(super) fn send_old_values(&self, force: bool) -> bool {
        self.node.send_old_values(force)
    }

    /// Returns whether the table was made by the builder of this graph.
    pub(super) fn is_of(&self, graph: &SharedGraph) -> bool {
        std::ptr::eq(self.changes.graph(), &**graph)
    }

    /// Returns whether changes may be of a version that is not the latest of its key.
    pub(super) fn is_versioned(&self) -> bool {
        self.node.is_versioned()
    }

    /// Returns how others read the table; its source has a store from now on.
    pub(super) fn view(&self) -> View<K, V> {
        self.node.view()
    }
}
