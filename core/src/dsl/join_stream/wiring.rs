//! The nodes and stores of a join of two streams, in the order of Kafka Streams.

use std::sync::Arc;

use super::keep::{Keep, KeepRules};
use super::side::{JoinSide, LeftSide, RightSide, SideRules};
use super::waiting::{LeftOrRight, WaitingKey, WaitingKeySerde, WaitingValuesSerde};
use super::{JoinWindows, StreamJoined};
use crate::BoxError;
use crate::dsl::graph::Graph;
use crate::dsl::stateless::Stateless;
use crate::dsl::{KStream, Repartitioned, repartition};
use crate::processor::ProcessorContext;
use crate::record::Record;
use crate::serdes::SharedSerde;
use crate::store::{Segments, StoreKind, StoreSpec, WindowSpec};
use crate::topology::{StoreBuilder, Topology, TopologyError};
use crate::window::Windowed;

const WINDOWED: &str = "KSTREAM-WINDOWED-";
const JOIN_THIS: &str = "KSTREAM-JOINTHIS-";
const JOIN_OTHER: &str = "KSTREAM-JOINOTHER-";
const OUTER_THIS: &str = "KSTREAM-OUTERTHIS-";
const OUTER_OTHER: &str = "KSTREAM-OUTEROTHER-";
const OUTER_SHARED: &str = "KSTREAM-OUTERSHARED-";
const MERGE: &str = "KSTREAM-MERGE-";

/// Whose records have a result without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Left,
    Outer,
}

impl Kind {
    fn left_outer(self) -> bool {
        self != Self::Inner
    }

    fn right_outer(self) -> bool {
        self == Self::Outer
    }
}

#[derive(Clone)]
struct Names {
    this_windowed: String,
    other_windowed: String,
    join_this: String,
    join_other: String,
    merge: String,
    this_store: String,
    other_store: String,
    /// Of a left or outer join.
    waiting_store: Option<String>,
}

impl Names {
    /// Consumes five numbers, named or not. Stores have names of their own, or those of the nodes
    /// as they would be generated.
    fn new(graph: &mut Graph, kind: Kind, given: Option<&str>, store: Option<&str>) -> Self {
        let this_suffix = if kind.right_outer() { "-outer-this-join" } else { "-this-join" };
        let other_suffix = if kind.left_outer() { "-outer-other-join" } else { "-other-join" };
        let suffixed = |suffix: &str| given.map(|name| format!("{name}{suffix}"));
        let this_windowed = graph.name_or_generate(suffixed("-this-windowed"), WINDOWED);
        let other_windowed = graph.name_or_generate(suffixed("-other-windowed"), WINDOWED);
        let prefix = if kind.right_outer() { OUTER_THIS } else { JOIN_THIS };
        let join_this = graph.name_or_generate(None, prefix);
        let number = &join_this[prefix.len()..];
        let shared = match (store, kind.right_outer()) {
            (Some(store), true) => format!("{store}-outer-shared-join-store"),
            (Some(store), false) => format!("{store}-left-shared-join-store"),
            (None, _) => format!("{OUTER_SHARED}{number}-store"),
        };
        let prefix = if kind.left_outer() { OUTER_OTHER } else { JOIN_OTHER };
        let join_other = graph.name_or_generate(None, prefix);
        let store_of = |suffix: &str, generated: &str| match store {
            Some(store) => format!("{store}{suffix}-store"),
            None => format!("{generated}-store"),
        };
        Self {
            this_windowed,
            other_windowed,
            this_store: store_of(this_suffix, &join_this),
            other_store: store_of(other_suffix, &join_other),
            waiting_store: kind.left_outer().then_some(shared),
            join_this: suffixed(this_suffix).unwrap_or(join_this),
            join_other: suffixed(other_suffix).unwrap_or(join_other),
            merge: graph.name_or_generate(suffixed("-merge"), MERGE),
        }
    }
}

/// A join that is being added to the graph.
pub(super) struct StreamJoin<K, V, VO> {
    this: KStream<K, V>,
    other: KStream<K, VO>,
    kind: Kind,
    windows: JoinWindows,
    joined: StreamJoined<K, V, VO>,
    names: Names,
}

impl<K, V, VO> StreamJoin<K, V, VO>
where
    K: Clone + 'static,
    V: Clone + 'static,
    VO: Clone + 'static,
{
    /// Names everything. Streams whose keys may have changed go through repartition topics, which
    /// keep null keys where these have results.
    pub(super) fn new(
        this: &KStream<K, V>,
        other: &KStream<K, VO>,
        kind: Kind,
        windows: JoinWindows,
        mut joined: StreamJoined<K, V, VO>,
    ) -> Self {
        let given = joined.name.take().or_else(|| this.given_name());
        let keys = &joined.key_serde;
        let topic = |side: &str| given.as_ref().map(|name| format!("{name}-{side}"));
        let foreign = !std::ptr::eq(this.graph(), other.graph());
        let this = by_key(this, kind, topic("left"), (keys, &joined.value_serde));
        // a handle of another builder means nothing in this graph
        let other = if foreign {
            KStream::new(this.shared_graph(), this.id, false)
        } else {
            by_key(other, kind, topic("right"), (keys, &joined.other_value_serde))
        };
        let mut graph = this.graph().borrow_mut();
        let names = Names::new(&mut graph, kind, given.as_deref(), joined.store_name.as_deref());
        if foreign {
            graph.fail(TopologyError::ForeignStream { node: names.merge.clone() });
        }
        if let Err(mistake) = windows.check(&names.merge) {
            graph.fail(mistake);
        }
        drop(graph);
        Self { this, other, kind, windows, joined, names }
    }

    /// Adds everything and returns the stream of the results.
    ///
    /// The join itself is one operator of the graph, which writes its nodes and stores when all is
    /// known. So a join of a stream with itself can be written in another way.
    pub(super) fn add<R, J>(self, joiner: J) -> KStream<K, R>
    where
        R: Clone + 'static,
        J: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
    {
        let Self { this, other, kind, windows, joined, names } = self;
        keep(&this, &names.this_windowed, &names.this_store, &joined.key_serde);
        keep(&other, &names.other_windowed, &names.other_store, &joined.key_serde);
        let (graph, merge) = (this.shared_graph(), names.merge.clone());
        let parents = [this.id, other.id];
        let write = Write { kind, windows, joined, names, joiner: Arc::new(joiner) };
        let id = graph.borrow_mut().add(&parents, merge, move |topology, _| write.write(topology));
        if kind.left_outer() {
            graph.borrow_mut().takes_null_keys(id);
        }
        KStream::new(graph, id, false)
    }
}

/// Puts a repartition topic below a stream whose keys may have changed.
fn by_key<K: Clone + 'static, V: Clone + 'static>(
    stream: &KStream<K, V>,
    kind: Kind,
    topic: Option<String>,
    (keys, values): (&SharedSerde<K>, &SharedSerde<V>),
) -> KStream<K, V> {
    if !stream.repartition_required {
        return stream.clone();
    }
    let mut graph = stream.graph().borrow_mut();
    let base = topic.unwrap_or_else(|| graph.name_of(stream.id));
    let mut options = Repartitioned::from_serdes(Arc::clone(keys), Arc::clone(values));
    options.keep_null_keys = kind.left_outer();
    let id = repartition::add(&mut graph, stream.id, &base, options);
    KStream::new(stream.shared_graph(), id, false)
}

/// Adds the node that keeps a stream's records. Its store is added by the join.
fn keep<K: Clone + 'static, V: Clone + 'static>(
    stream: &KStream<K, V>,
    name: &str,
    store: &str,
    keys: &SharedSerde<K>,
) {
    let rules = Arc::new(KeepRules { store: store.to_owned(), keys: Arc::clone(keys) });
    let supplier = move || Keep::new(Arc::clone(&rules));
    let parents = [stream.id];
    let name = name.to_owned();
    let _: KStream<K, V> = stream.attach_processor(&parents, name, false, supplier, Vec::new());
}

/// What the join writes to the topology.
struct Write<K, V, VO, J> {
    kind: Kind,
    windows: JoinWindows,
    joined: StreamJoined<K, V, VO>,
    names: Names,
    joiner: Arc<J>,
}

impl<K, V, VO, J> Write<K, V, VO, J>
where
    K: Clone + 'static,
    V: Clone + 'static,
    VO: Clone + 'static,
{
    fn write<R: Clone + 'static>(self, topology: &mut Topology) -> Result<(), TopologyError>
    where
        J: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
    {
        let Self { kind, joined, names, .. } = &self;
        let StreamJoined { value_serde, other_value_serde, .. } = joined;
        let rules = Arc::new(self.rules(kind.left_outer(), &names.other_store, value_serde));
        let supplier = move || JoinSide::<LeftSide, K, V, VO, J>::new(Arc::clone(&rules));
        topology.add_processor(&names.join_this, supplier, &[&names.this_windowed])?;
        let rules = Arc::new(self.rules(kind.right_outer(), &names.this_store, other_value_serde));
        let supplier = move || JoinSide::<RightSide, K, V, VO, J>::new(Arc::clone(&rules));
        topology.add_processor(&names.join_other, supplier, &[&names.other_windowed])?;
        let pass =
            Arc::new(|context: &mut ProcessorContext<'_, '_, K, R>, record: Record<K, R>| {
                context.forward(record)
            });
        let supplier = move || Stateless(Arc::clone(&pass));
        topology.add_processor(&names.merge, supplier, &[&names.join_this, &names.join_other])?;
        let store = self.window_store(&names.this_store, value_serde);
        topology.add_state_store(store, &[&names.this_windowed, &names.join_other])?;
        let store = self.window_store(&names.other_store, other_value_serde);
        topology.add_state_store(store, &[&names.other_windowed, &names.join_this])?;
        if let Some(store) = self.waiting_store() {
            topology.add_state_store(store, &[&names.join_this, &names.join_other])?;
        }
        Ok(())
    }

    fn rules<T>(&self, outer: bool, other: &str, values: &SharedSerde<T>) -> SideRules<K, T, J> {
        SideRules {
            windows: self.windows,
            outer,
            other_store: other.to_owned(),
            waiting_store: self.names.waiting_store.clone(),
            keys: Arc::clone(&self.joined.key_serde),
            values: Arc::clone(values),
            joiner: Arc::clone(&self.joiner),
        }
    }

    /// The store of one stream's records, several of the same key and time included.
    fn window_store<T: Clone + 'static>(
        &self,
        name: &str,
        values: &SharedSerde<T>,
    ) -> StoreBuilder<Windowed<K>, T> {
        let kind = StoreKind::Window(WindowSpec {
            size_ms: self.windows.size_ms(),
            segments: Segments::of_retention(self.windows.retention_ms()),
            retain_duplicates: true,
        });
        let mut spec = StoreSpec { logging: self.joined.logging, ..StoreSpec::new(name, kind) };
        spec.changelog_config.clone_from(&self.joined.changelog_config);
        // no record replaces another one, so there is nothing to compact
        spec.changelog_config.insert("cleanup.policy".to_owned(), "delete".to_owned());
        StoreBuilder::windowed(spec, Arc::clone(&self.joined.key_serde), Arc::clone(values))
    }

    #[expect(clippy::type_complexity, reason = "a store of lists of either value")]
    fn waiting_store(&self) -> Option<StoreBuilder<WaitingKey<K>, Vec<LeftOrRight<V, VO>>>> {
        let name = self.names.waiting_store.as_deref()?;
        let StreamJoined { key_serde, value_serde, other_value_serde, .. } = &self.joined;
        let spec = StoreSpec {
            logging: self.joined.logging,
            changelog_config: self.joined.changelog_config.clone(),
            ..StoreSpec::new(name, StoreKind::KeyValue)
        };
        let values = WaitingValuesSerde {
            left: Arc::clone(value_serde),
            right: Arc::clone(other_value_serde),
        };
        let keys = WaitingKeySerde(Arc::clone(key_serde));
        Some(StoreBuilder::from_parts(spec, Arc::new(keys), Arc::new(values)))
    }
}
