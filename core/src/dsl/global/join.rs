//! `join_global_table` and `left_join_global_table`: a stream's records with what a global table
//! has for the keys that they name.

use std::any::TypeId;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::GlobalKTable;
use crate::BoxError;
use crate::dsl::{Joined, KStream};
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::serdes::SharedSerde;
use crate::store::GlobalCore;
use crate::topology::TopologyError;

/// The prefix of both joins, as in Kafka Streams.
const JOIN: &str = "KSTREAM-LEFTJOIN-";

/// The key that a selector finds in a record: a `K`, or an `Option<K>` if there may be none.
pub trait MaybeKey<K> {
    /// Returns the key.
    fn into_key(self) -> Option<K>;
}

impl<K> MaybeKey<K> for K {
    fn into_key(self) -> Option<K> {
        Some(self)
    }
}

impl<K> MaybeKey<K> for Option<K> {
    fn into_key(self) -> Option<K> {
        self
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Joins each record with what the global table has, at that moment, for the key that
    /// `selector` finds in it; one that finds nothing is left out. Updates of the table alone make
    /// no output, and there is no synchronisation by time.
    ///
    /// Records for which the selector gives no key (`None`, or a key that the table's serde takes
    /// for null) or whose value is null are dropped and counted; the serdes of `joined` say what is
    /// null. The numbers of partitions need not be the same.
    pub fn join_global_table<KG, VG, S, R>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: impl Fn(&K, &V) -> S + Send + Sync + 'static,
        joiner: impl Fn(V, &VG) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R>
    where
        KG: Clone + 'static,
        VG: Clone + 'static,
        S: MaybeKey<KG>,
        R: Clone + 'static,
    {
        let selector = move |key: &K, value: &V| Ok(selector(key, value));
        self.try_join_global_table(table, selector, move |_, v, found| Ok(joiner(v, found)), joined)
    }

    /// As [`KStream::join_global_table`], with a look at the stream's key and closures that can
    /// fail.
    pub fn try_join_global_table<KG, VG, S, R>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: impl Fn(&K, &V) -> Result<S, BoxError> + Send + Sync + 'static,
        joiner: impl Fn(&K, V, &VG) -> Result<R, BoxError> + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R>
    where
        KG: Clone + 'static,
        VG: Clone + 'static,
        S: MaybeKey<KG>,
        R: Clone + 'static,
    {
        let join = move |key: &K, value: V, found: Option<&VG>| match found {
            Some(found) => joiner(key, value, found).map(Some),
            None => Ok(None),
        };
        self.join_global(table, selector, (false, join), joined)
    }

    /// As [`KStream::join_global_table`], but a record that finds nothing, or has no key to look
    /// for, is joined with `None`.
    pub fn left_join_global_table<KG, VG, S, R>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: impl Fn(&K, &V) -> S + Send + Sync + 'static,
        joiner: impl Fn(V, Option<&VG>) -> R + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R>
    where
        KG: Clone + 'static,
        VG: Clone + 'static,
        S: MaybeKey<KG>,
        R: Clone + 'static,
    {
        let selector = move |key: &K, value: &V| Ok(selector(key, value));
        let joiner = move |_: &K, value: V, found: Option<&VG>| Ok(joiner(value, found));
        self.try_left_join_global_table(table, selector, joiner, joined)
    }

    /// As [`KStream::left_join_global_table`], with a look at the stream's key and closures that
    /// can fail.
    pub fn try_left_join_global_table<KG, VG, S, R>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: impl Fn(&K, &V) -> Result<S, BoxError> + Send + Sync + 'static,
        joiner: impl Fn(&K, V, Option<&VG>) -> Result<R, BoxError> + Send + Sync + 'static,
        joined: Joined<K, V>,
    ) -> KStream<K, R>
    where
        KG: Clone + 'static,
        VG: Clone + 'static,
        S: MaybeKey<KG>,
        R: Clone + 'static,
    {
        let join = move |key: &K, value: V, found: Option<&VG>| joiner(key, value, found).map(Some);
        self.join_global(table, selector, (true, join), joined)
    }

    fn join_global<KG, VG, S, R, F>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: impl Fn(&K, &V) -> Result<S, BoxError> + Send + Sync + 'static,
        (left, join): (bool, F),
        mut joined: Joined<K, V>,
    ) -> KStream<K, R>
    where
        KG: Clone + 'static,
        VG: Clone + 'static,
        S: MaybeKey<KG>,
        R: Clone + 'static,
        F: Fn(&K, V, Option<&VG>) -> Result<Option<R>, BoxError> + Send + Sync + 'static,
    {
        let graph = self.shared_graph();
        let name = self.name_operator(joined.name.take(), JOIN);
        if !std::ptr::eq(&*table.graph, &*graph) {
            graph.borrow_mut().fail(TopologyError::ForeignStream { node: name.clone() });
        }
        let select = move |key: &K, value: &V| -> Result<_, BoxError> {
            Ok(selector(key, value)?.into_key())
        };
        let (store, keys) = (table.store.clone(), SharedSerde::clone(&table.key_serde));
        let rules = Arc::new(Rules { joined, store, keys, left, select, join });
        let id = graph.borrow_mut().add(&[self.id], name.clone(), move |topology, parents| {
            let supplier = move || JoinGlobalTable { rules: Arc::clone(&rules), table: None };
            topology.add_processor(&name, supplier, parents).map(|_| ())
        });
        if left {
            graph.borrow_mut().takes_null_keys(id);
        }
        // a repartition topic may be moved above the join if its serdes fit there, too
        let other_type = TypeId::of::<V>() != TypeId::of::<R>();
        KStream::new(graph, id, self.repartition_required)
            .marked(|traits| traits.changes_value = other_type)
    }
}

/// What the instances share.
struct Rules<K, V, KG, S, F> {
    joined: Joined<K, V>,
    store: String,
    keys: SharedSerde<KG>,
    left: bool,
    select: S,
    join: F,
}

/// Joins a stream with a global table.
struct JoinGlobalTable<K, V, KG, VG, S, F> {
    rules: Arc<Rules<K, V, KG, S, F>>,
    table: Option<Rc<RefCell<GlobalCore<KG, VG>>>>,
}

impl<K, V, KG, VG, R, S, F> Processor<K, V, K, R> for JoinGlobalTable<K, V, KG, VG, S, F>
where
    K: Clone + 'static,
    V: 'static,
    KG: 'static,
    VG: Clone + 'static,
    R: Clone + 'static,
    S: Fn(&K, &V) -> Result<Option<KG>, BoxError>,
    F: Fn(&K, V, Option<&VG>) -> Result<Option<R>, BoxError>,
{
    fn init(&mut self, context: &mut ProcessorContext<'_, '_, K, R>) -> Result<(), BoxError> {
        self.table = Some(context.global_core(&self.rules.store)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, R>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let Rules { joined, keys, left, select, join, .. } = &*self.rules;
        let Record { key, value, timestamp, headers } = record;
        // the selector is asked first, as in Kafka Streams: its errors come before the drop
        let wanted = select(&key, &value)?.filter(|wanted| !keys.is_null(wanted));
        let no_value = joined.value_serde.as_ref().is_some_and(|serde| serde.is_null(&value));
        if no_value || (wanted.is_none() && !left) {
            context.note_dropped();
            return Ok(());
        }
        let mut table = self.table.as_ref().expect("a processor is initialised first").borrow_mut();
        let found = match &wanted {
            Some(wanted) => table.get(wanted)?.map(|(value, _)| value),
            None => None,
        };
        let result = join(&key, value, found)?;
        // what is below may read the same table
        drop(table);
        match result {
            Some(value) => context.forward(Record { key, value, timestamp, headers }),
            None => Ok(()),
        }
    }
}
