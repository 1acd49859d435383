//! What a table's operator is asked while the topology is built.

use std::cell::Cell;
use std::rc::Rc;

use super::View;

/// The operator of a table, as others see it.
pub(in crate::dsl) trait TableNode<K, V> {
    /// Has the operator's changes carry the values before, and returns whether they do. A source
    /// that has no store yet gets one if `force` is set, and else declines.
    fn send_old_values(&self, force: bool) -> bool;

    /// Returns whether changes may be of a version that is not the latest of its key.
    fn is_versioned(&self) -> bool {
        false
    }

    /// Returns how the current values are read. A source has a store from then on.
    fn view(&self) -> View<K, V>;
}

/// A question that is decided while the topology is built, and read when it is written.
#[derive(Debug, Clone, Default)]
pub(in crate::dsl) struct Flag(Rc<Cell<bool>>);

impl Flag {
    pub(in crate::dsl) fn set(&self) {
        self.0.set(true);
    }

    pub(in crate::dsl) fn is_set(&self) -> bool {
        self.0.get()
    }
}

/// An operator that has a store in any case.
#[derive(Debug, Clone)]
pub(in crate::dsl) struct StoreNode {
    store: String,
    /// Whether somebody asked for old values.
    pub(in crate::dsl) old_values: Flag,
}

impl StoreNode {
    pub(in crate::dsl) fn new(store: &str) -> Self {
        Self { store: store.to_owned(), old_values: Flag::default() }
    }
}

impl<K: 'static, V: Clone + 'static> TableNode<K, V> for StoreNode {
    fn send_old_values(&self, _force: bool) -> bool {
        self.old_values.set();
        true
    }

    fn view(&self) -> View<K, V> {
        View::of_store(&self.store)
    }
}
