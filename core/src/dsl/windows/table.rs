//! The table of a windowed aggregation.

use std::rc::Rc;
use std::sync::Arc;

use super::EmitStrategy;
use super::running::Rules;
use super::shape::Shape;
use crate::dsl::grouped::Place;
use crate::dsl::table::{StoreNode, TableParts};
use crate::dsl::{Change, KGroupedStream, KTable, Materialized};
use crate::processor::Processor;
use crate::topology::{StoreBuilder, TopologyError};
use crate::window::Windowed;

/// How the records of a window are aggregated, whatever the windows are.
pub(super) struct Aggregator<F> {
    /// Whether `apply` may fail.
    pub(super) fallible: bool,
    pub(super) apply: F,
}

/// A definition of windows and what follows from it.
pub(super) struct Windowing<W> {
    pub(super) windows: W,
    pub(super) shape: Shape,
    pub(super) emit: EmitStrategy,
}

/// Makes the processor of a task.
type Make<K, V, W, F, P> = fn(Arc<Rules<K, V, W, F>>) -> P;

impl<K: Clone + 'static, V: Clone + 'static> KGroupedStream<K, V> {
    /// Adds a windowed aggregation at its place; `make` makes the processor of a task.
    pub(super) fn add_windowed<A, W, F, P>(
        &self,
        place: Place,
        mut materialized: Materialized<K, A>,
        windowing: Windowing<W>,
        aggregator: Aggregator<F>,
        make: Make<K, V, W, F, P>,
    ) -> KTable<Windowed<K>, A>
    where
        A: Clone + 'static,
        W: Send + Sync + 'static,
        F: Send + Sync + 'static,
        P: Processor<K, V, Windowed<K>, Change<A>> + 'static,
    {
        let Place { node, store, queryable, parent } = place;
        let Windowing { windows, shape, emit } = windowing;
        let grouped = &self.grouped;
        let (keys, values) = (Arc::clone(&grouped.key_serde), Arc::clone(&grouped.value_serde));
        let store_keys = materialized.key_serde.take().unwrap_or_else(|| Arc::clone(&keys));
        let retention = materialized.retention;
        let segments = shape.segments(retention, emit);
        let kind = shape.store_kind(segments);
        let table = StoreNode::new(&store);
        let parts = TableParts {
            key_serde: Some(shape.key_serde(&store_keys)),
            value_serde: materialized.value_serde.clone(),
            queryable_store_name: queryable,
        };
        let old_values = table.old_values.clone();
        let mut graph = self.stream.graph().borrow_mut();
        let (mistake, closes_after) = (shape.mistake(retention), shape.closes_after);
        let id = graph.add(&[parent], node.clone(), move |topology, parents| {
            if let Some(why) = mistake {
                return Err(TopologyError::Windows { node, why });
            }
            let value_serde = materialized
                .value_serde
                .take()
                .ok_or_else(|| TopologyError::MissingSerde { node: node.clone(), what: "value" })?;
            let spec = materialized.window_spec(&store, kind, emit);
            let builder = StoreBuilder::windowed(spec, store_keys, value_serde);
            let rules = Arc::new(Rules {
                node: node.clone(),
                store,
                segments,
                sorted: shape.is_sorted(segments),
                key_serde: keys,
                value_serde: values,
                windows,
                emit,
                send_old_values: old_values.is_set(),
                fallible: aggregator.fallible,
                apply: aggregator.apply,
            });
            topology.add_processor(&node, move || make(Arc::clone(&rules)), parents)?;
            topology.add_state_store(builder, &[&node]).map(|_| ())
        });
        graph.note_windows(id, closes_after);
        drop(graph);
        KTable::new(self.stream.shared_graph(), id, Rc::new(table), parts)
    }
}
