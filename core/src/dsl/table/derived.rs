//! Tables computed value by value from another table, with or without a store of their own.

use std::rc::Rc;
use std::sync::Arc;

use super::node::Flag;
use super::store::TableStore;
use super::{Change, KTable, StoreNode, TableNode, TableParts, View};
use crate::BoxError;
use crate::dsl::Materialized;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::topology::{StoreBuilder, TopologyError};

/// What tells one such operator from another.
pub(super) struct Derivation {
    /// Of its generated name.
    pub(super) prefix: &'static str,
    /// Whether a change from no value to no value is kept back where that is known.
    pub(super) drops_absent: bool,
}

/// How a value is computed: of one that is at hand, and of one that is only looked at.
pub(super) struct Computed<O, B> {
    pub(super) owned: O,
    pub(super) borrowed: B,
}

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    /// Adds the operator. It has a store only if `materialized` names one.
    pub(super) fn derive<V2, O, B>(
        &self,
        derivation: Derivation,
        mut materialized: Materialized<K, V2>,
        computed: Computed<O, B>,
    ) -> KTable<K, V2>
    where
        V2: Clone + 'static,
        O: Fn(&K, V) -> Result<Option<V2>, BoxError> + Send + Sync + 'static,
        B: Fn(&K, &V) -> Result<Option<V2>, BoxError> + Send + Sync + 'static,
    {
        let graph = self.changes.shared_graph();
        let store = materialized.name.take();
        if materialized.given && store.is_none() {
            // as in Kafka Streams, where the number is kept free for compatibility
            graph.borrow_mut().name_or_generate(None, derivation.prefix);
        }
        let name = self.changes.name_operator(None, derivation.prefix);
        materialized.refuse_revision(&mut graph.borrow_mut(), &name);
        let key_serde = materialized.key_serde.take().or_else(|| self.key_serde.clone());
        let value_serde = materialized.value_serde.take();
        let parts = TableParts {
            key_serde: key_serde.clone(),
            value_serde: value_serde.clone(),
            queryable_store_name: store.clone(),
        };
        let (node, old_values): (Rc<dyn TableNode<K, V2>>, Flag) = match &store {
            Some(store) => {
                let node = StoreNode::new(store);
                let old_values = node.old_values.clone();
                (Rc::new(node), old_values)
            }
            None => {
                let old_values = Flag::default();
                let (parent, compute) = (Rc::clone(&self.node), Arc::new(computed.borrowed));
                let node = ComputedNode { parent, compute, old_values: old_values.clone() };
                (Rc::new(node), old_values)
            }
        };
        // a version that was never there may still end one that was
        let drops_absent = derivation.drops_absent && !self.is_versioned();
        if drops_absent && self.node.send_old_values(false) {
            // where the old value costs nothing it spares the deletion of what was never there
            old_values.set();
        }
        let compute = Arc::new(computed.owned);
        let id =
            graph.borrow_mut().add(&[self.changes.id], name.clone(), move |topology, parents| {
                let rules = Arc::new(Rules {
                    store: store.clone(),
                    send_old: old_values.is_set(),
                    drops_absent,
                });
                let supplier = move || {
                    let (rules, compute) = (Arc::clone(&rules), Arc::clone(&compute));
                    Derived { rules, compute, store: None }
                };
                topology.add_processor(&name, supplier, parents)?;
                let Some(store) = store else { return Ok(()) };
                let missing = |what| TopologyError::MissingSerde { node: name.clone(), what };
                let keys = key_serde.ok_or_else(|| missing("key"))?;
                let values = value_serde.ok_or_else(|| missing("value"))?;
                let builder = StoreBuilder::from_parts(materialized.spec(&store), keys, values);
                topology.add_state_store(builder, &[&name]).map(|_| ())
            });
        KTable::new(graph, id, node, parts)
    }
}

/// A table without a store: read by computing from its parent.
struct ComputedNode<K, V, B> {
    parent: Rc<dyn TableNode<K, V>>,
    compute: Arc<B>,
    old_values: Flag,
}

impl<K, V, V2, B> TableNode<K, V2> for ComputedNode<K, V, B>
where
    K: 'static,
    V: Clone + 'static,
    V2: Clone + 'static,
    B: Fn(&K, &V) -> Result<Option<V2>, BoxError> + Send + Sync + 'static,
{
    fn send_old_values(&self, force: bool) -> bool {
        if self.parent.send_old_values(force) {
            self.old_values.set();
        }
        self.old_values.is_set()
    }

    fn is_versioned(&self) -> bool {
        self.parent.is_versioned()
    }

    fn view(&self) -> View<K, V2> {
        let compute = Arc::clone(&self.compute);
        self.parent.view().computed(move |key, value| compute(key, value))
    }
}

/// What the instances share.
struct Rules {
    store: Option<String>,
    send_old: bool,
    drops_absent: bool,
}

/// Computes changes from changes.
struct Derived<K, V2, O> {
    rules: Arc<Rules>,
    compute: Arc<O>,
    store: Option<TableStore<K, V2>>,
}

impl<K, V, V2, O> Processor<K, Change<V>, K, Change<V2>> for Derived<K, V2, O>
where
    K: Clone + 'static,
    V2: Clone + 'static,
    O: Fn(&K, V) -> Result<Option<V2>, BoxError>,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V2>>,
    ) -> Result<(), BoxError> {
        if let Some(store) = &self.rules.store {
            self.store = Some(TableStore::open(context, store, self.rules.send_old)?);
        }
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V2>>,
        record: Record<K, Change<V>>,
    ) -> Result<(), BoxError> {
        let Rules { send_old, drops_absent, .. } = *self.rules;
        let Record { key, value: Change { new, old }, timestamp, headers } = record;
        let compute = |value: Option<V>| match value {
            Some(value) => (self.compute)(&key, value),
            None => Ok(None),
        };
        let new = compute(new)?;
        let Some(store) = &self.store else {
            let old = if send_old { compute(old)? } else { None };
            if send_old && drops_absent && new.is_none() && old.is_none() {
                return Ok(());
            }
            let value = Change { new, old };
            return context.forward(Record { key, value, timestamp, headers });
        };
        if send_old && drops_absent && new.is_none() && !store.has(&key)? {
            return Ok(());
        }
        store.write(context, (key, new), timestamp, headers)
    }

    fn flush(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<V2>>,
    ) -> Result<(), BoxError> {
        self.store.as_ref().map_or(Ok(()), |store| store.flush(context))
    }
}
