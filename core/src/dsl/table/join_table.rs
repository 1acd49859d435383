//! `join`, `left_join` and `outer_join` of two tables: one value from the two of a key.
//!
//! Each side's update reads what the other side has now. So the result follows whichever table
//! changed, and two applications that get the updates in another order end with the same values.

use std::rc::Rc;
use std::sync::Arc;

use super::join_side::{JoinRole, JoinSide, SideRules};
use super::node::Flag;
use super::store::TableStore;
use super::view::Take;
use super::{Change, KTable, ReadTable, StoreNode, TableNode, TableParts, View};
use crate::BoxError;
use crate::dsl::Materialized;
use crate::processor::{Processor, ProcessorContext, StoreAccess};
use crate::record::{Record, Timestamp};
use crate::topology::{StoreBuilder, Topology, TopologyError};

const MERGE: &str = "KTABLE-MERGE-";
const JOIN_THIS: &str = "KTABLE-JOINTHIS-";
const JOIN_OTHER: &str = "KTABLE-JOINOTHER-";

impl<K: Clone + 'static, V: Clone + 'static> KTable<K, V> {
    /// Joins two tables: a key has a value where both have one. The timestamp is the larger one.
    ///
    /// ```
    /// # use tidemill_core::dsl::{Materialized, StreamsBuilder};
    /// # use tidemill_core::serdes::string;
    /// # use tidemill_core::topology::Consumed;
    /// # let builder = StreamsBuilder::new();
    /// # let table = |topic| {
    /// #     let consumed = Consumed::with(string(), string());
    /// #     builder.table(topic, consumed, Materialized::default())
    /// # };
    /// let (names, cities) = (table("names"), table("cities"));
    /// let labels = names.join(&cities, |n, c| format!("{n}, {c}"), Materialized::default());
    /// # drop(labels);
    /// # builder.build().unwrap();
    /// ```
    pub fn join<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KTable<K, VO>,
        joiner: impl Fn(&V, &VO) -> R + Send + Sync + 'static,
        materialized: Materialized<K, R>,
    ) -> KTable<K, R> {
        let both = move |_: &K, own: Option<&V>, other: Option<&VO>| {
            Ok(own.zip(other).map(|(own, other)| joiner(own, other)))
        };
        self.join_with(other, JoinRole::Inner, both, materialized)
    }

    /// As [`KTable::join`], but a key has a value wherever this table has one.
    pub fn left_join<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KTable<K, VO>,
        joiner: impl Fn(&V, Option<&VO>) -> R + Send + Sync + 'static,
        materialized: Materialized<K, R>,
    ) -> KTable<K, R> {
        let left =
            move |_: &K, own: Option<&V>, other: Option<&VO>| Ok(own.map(|own| joiner(own, other)));
        self.join_with(other, JoinRole::LeftOfLeft, left, materialized)
    }

    /// As [`KTable::join`], but a key has a value wherever one of the tables has one.
    pub fn outer_join<VO: Clone + 'static, R: Clone + 'static>(
        &self,
        other: &KTable<K, VO>,
        joiner: impl Fn(Option<&V>, Option<&VO>) -> R + Send + Sync + 'static,
        materialized: Materialized<K, R>,
    ) -> KTable<K, R> {
        let any = move |_: &K, own: Option<&V>, other: Option<&VO>| {
            Ok((own.is_some() || other.is_some()).then(|| joiner(own, other)))
        };
        self.join_with(other, JoinRole::Outer, any, materialized)
    }

    fn join_with<VO, R, F>(
        &self,
        other: &KTable<K, VO>,
        role: JoinRole,
        joiner: F,
        mut materialized: Materialized<K, R>,
    ) -> KTable<K, R>
    where
        VO: Clone + 'static,
        R: Clone + 'static,
        F: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
    {
        let graph = self.changes.shared_graph();
        let store = match materialized.name.take() {
            None if materialized.given => {
                let prefix = format!("{MERGE}STATE-STORE-");
                Some(graph.borrow_mut().name_or_generate(None, &prefix))
            }
            name => name,
        };
        let merge = self.changes.name_operator(None, MERGE);
        materialized.refuse_revision(&mut graph.borrow_mut(), &merge);
        if !other.is_of(&graph) {
            // the other handle means nothing in this graph
            graph.borrow_mut().fail(TopologyError::ForeignStream { node: merge });
            let (key_serde, value_serde) = (materialized.key_serde, materialized.value_serde);
            let parts = TableParts { key_serde, value_serde, queryable_store_name: None };
            let nothing = StoreNode::new(store.as_deref().unwrap_or_default());
            return KTable::new(graph, self.changes.id, Rc::new(nothing), parts);
        }
        let names = Names::new(self, other, merge);
        if role != JoinRole::Inner {
            self.send_old_values(true);
        }
        if role == JoinRole::Outer {
            other.send_old_values(true);
        }
        let key_serde = materialized.key_serde.take().or_else(|| self.key_serde.clone());
        let value_serde = materialized.value_serde.take();
        let joiner = Arc::new(joiner);
        let asked = Flag::default();
        let node = JoinNode {
            stored: store.as_deref().map(StoreNode::new),
            this: Rc::clone(&self.node),
            other: Rc::clone(&other.node),
            joiner: Arc::clone(&joiner),
            old_values: asked.clone(),
        };
        let parts = TableParts {
            key_serde: key_serde.clone(),
            value_serde: value_serde.clone(),
            queryable_store_name: store.clone(),
        };
        let sides = Sides { names, role, joiner, this: self.view(), other: other.view() };
        let parents = [self.changes.id, other.changes.id];
        let name = sides.names.merge.clone();
        let id = graph.borrow_mut().add(&parents, name, move |topology, _| {
            let merge = sides.write(topology, asked.is_set(), store.clone())?;
            let Some(store) = store else { return Ok(()) };
            let missing = |what| TopologyError::MissingSerde { node: merge.clone(), what };
            let keys = key_serde.ok_or_else(|| missing("key"))?;
            let values = value_serde.ok_or_else(|| missing("value"))?;
            let builder = StoreBuilder::from_parts(materialized.spec(&store), keys, values);
            topology.add_state_store(builder, &[&merge]).map(|_| ())
        });
        KTable::new(graph, id, Rc::new(node), parts)
    }
}

struct Names {
    this: String,
    other: String,
    merge: String,
    join_this: String,
    join_other: String,
}

impl Names {
    /// Consumes two numbers, named or not.
    fn new<K, V, VO>(this: &KTable<K, V>, other: &KTable<K, VO>, merge: String) -> Self {
        let given = this.changes.given_name();
        let suffixed = |suffix| given.as_ref().map(|name| format!("{name}{suffix}"));
        let mut graph = this.changes.graph().borrow_mut();
        Self {
            this: graph.name_of(this.changes.id),
            other: graph.name_of(other.changes.id),
            merge,
            join_this: graph.name_or_generate(suffixed("-join-this"), JOIN_THIS),
            join_other: graph.name_or_generate(suffixed("-join-other"), JOIN_OTHER),
        }
    }
}

/// Both sides of a join, to be written when all is known.
struct Sides<K, V, VO, F> {
    names: Names,
    role: JoinRole,
    joiner: Arc<F>,
    this: View<K, V>,
    other: View<K, VO>,
}

impl<K: Clone + 'static, V: Clone + 'static, VO: Clone + 'static, F> Sides<K, V, VO, F> {
    /// Adds the three processors and returns the name of the last one.
    fn write<R: Clone + 'static>(
        self,
        topology: &mut Topology,
        send_old: bool,
        stored: Option<String>,
    ) -> Result<String, TopologyError>
    where
        F: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
    {
        let Self { names, role, joiner, this, other } = self;
        let connect = |topology: &mut Topology, node: &str, stores: &[String]| {
            let stores: Vec<&str> = stores.iter().map(|store| &**store).collect();
            topology.connect_processor_and_state_stores(node, &stores).map(|_| ())
        };
        let (this_stores, other_stores) = (this.stores.clone(), other.stores.clone());
        let reversed = Arc::clone(&joiner);
        let straight = move |key: &K, own: Option<&V>, found: Option<&VO>| joiner(key, own, found);
        let rules = Arc::new(SideRules { role, send_old, joiner: straight });
        let supplier = move || JoinSide::new(Arc::clone(&rules), other.clone());
        topology.add_processor(&names.join_this, supplier, &[&names.this])?;
        let role = role.of_the_other();
        let crossed = move |key: &K, own: Option<&VO>, found: Option<&V>| reversed(key, found, own);
        let rules = Arc::new(SideRules { role, send_old, joiner: crossed });
        let supplier = move || JoinSide::new(Arc::clone(&rules), this.clone());
        topology.add_processor(&names.join_other, supplier, &[&names.other])?;
        let supplier = move || Merge::<K, R> { stored: stored.clone(), send_old, store: None };
        topology.add_processor(&names.merge, supplier, &[&names.join_this, &names.join_other])?;
        connect(topology, &names.join_this, &other_stores)?;
        connect(topology, &names.join_other, &this_stores)?;
        Ok(names.merge)
    }
}

/// Takes the results of both sides, and writes them to the store if there is one.
struct Merge<K, R> {
    stored: Option<String>,
    send_old: bool,
    store: Option<TableStore<K, R>>,
}

impl<K: Clone + 'static, R: Clone + 'static> Processor<K, Change<R>, K, Change<R>> for Merge<K, R> {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<R>>,
    ) -> Result<(), BoxError> {
        if let Some(store) = &self.stored {
            self.store = Some(TableStore::open(context, store, self.send_old)?);
        }
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<R>>,
        record: Record<K, Change<R>>,
    ) -> Result<(), BoxError> {
        let Some(store) = &self.store else { return context.forward(record) };
        let Record { key, value, timestamp, headers } = record;
        store.write(context, (key, value.new), timestamp, headers)
    }

    fn flush(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, Change<R>>,
    ) -> Result<(), BoxError> {
        self.store.as_ref().map_or(Ok(()), |store| store.flush(context))
    }
}

/// The join as others see it.
struct JoinNode<K, V, VO, F> {
    stored: Option<StoreNode>,
    this: Rc<dyn TableNode<K, V>>,
    other: Rc<dyn TableNode<K, VO>>,
    joiner: Arc<F>,
    old_values: Flag,
}

impl<K, V, VO, R, F> TableNode<K, R> for JoinNode<K, V, VO, F>
where
    K: 'static,
    V: Clone + 'static,
    VO: Clone + 'static,
    R: Clone + 'static,
    F: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
{
    fn send_old_values(&self, _force: bool) -> bool {
        // what the result was before can be told only if both sides tell
        self.this.send_old_values(true);
        self.other.send_old_values(true);
        self.old_values.set();
        true
    }

    fn view(&self) -> View<K, R> {
        if let Some(stored) = &self.stored {
            return TableNode::<K, R>::view(stored);
        }
        let (this, other) = (self.this.view(), self.other.view());
        let mut stores = this.stores.clone();
        stores.extend(other.stores.iter().filter(|store| !this.stores.contains(store)).cloned());
        let joiner = Arc::clone(&self.joiner);
        let open = move |access: &dyn StoreAccess| -> Result<Box<dyn ReadTable<K, R>>, BoxError> {
            let (this, other) = ((this.open)(access)?, (other.open)(access)?);
            Ok(Box::new(Both { this, other, joiner: Arc::clone(&joiner) }))
        };
        View { stores, open: Arc::new(open) }
    }
}

/// Reads a join that has no store by joining what both tables have.
struct Both<K, V, VO, F> {
    this: Box<dyn ReadTable<K, V>>,
    other: Box<dyn ReadTable<K, VO>>,
    joiner: Arc<F>,
}

impl<K, V: Clone, VO, R, F> ReadTable<K, R> for Both<K, V, VO, F>
where
    F: Fn(&K, Option<&V>, Option<&VO>) -> Result<Option<R>, BoxError>,
{
    fn read(&self, key: &K, take: &mut Take<'_, R>) -> Result<(), BoxError> {
        // both may be of one store, so the first value is not held while the second is read
        let mut own: Option<(V, Timestamp)> = None;
        self.this.read(key, &mut |found| {
            own = found.map(|(value, timestamp)| (value.clone(), timestamp));
            Ok(())
        })?;
        let (mut joined, mut at) = (None, own.as_ref().map_or(Timestamp(-1), |(_, at)| *at));
        self.other.read(key, &mut |found| {
            at = found.map_or(at, |(_, other)| at.max(other));
            let own = own.as_ref().map(|(value, _)| value);
            joined = (self.joiner)(key, own, found.map(|(value, _)| value))?;
            Ok(())
        })?;
        take(joined.as_ref().map(|value| (value, at)))
    }
}
