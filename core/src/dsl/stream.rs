//! A stream of records, and where it can go.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use super::graph::{Graph, GraphId, SharedGraph, Traits};
use super::stateless::Stateless;
use super::{BranchedKStream, Grouped, KGroupedStream, Named, Repartitioned, repartition};
use crate::BoxError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::topology::{Produced, TopicNameExtractor, TopologyError};

const SINK: &str = "KSTREAM-SINK-";

/// A stream of records. A handle on the builder's graph: cheap to clone, and each operator that is
/// called on it adds a node below the same parent.
///
/// Operators that may change the key mark the stream; the next operator that needs records of a key
/// together then puts a repartition topic before itself.
pub struct KStream<K, V> {
    graph: SharedGraph,
    pub(super) id: GraphId,
    pub(super) repartition_required: bool,
    /// For the next operator.
    name: Option<String>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for KStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            graph: Rc::clone(&self.graph),
            id: self.id,
            repartition_required: self.repartition_required,
            name: self.name.clone(),
            types: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for KStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KStream")
            .field("repartition_required", &self.repartition_required)
            .finish_non_exhaustive()
    }
}

impl<K, V> KStream<K, V> {
    pub(super) fn new(graph: SharedGraph, id: GraphId, repartition_required: bool) -> Self {
        Self { graph, id, repartition_required, name: None, types: PhantomData }
    }

    pub(super) fn graph(&self) -> &RefCell<Graph> {
        &self.graph
    }

    pub(super) fn shared_graph(&self) -> SharedGraph {
        Rc::clone(&self.graph)
    }

    /// Returns the stream of another operator that leaves keys as they are.
    pub(super) fn sibling(&self, id: GraphId) -> Self {
        Self::new(Rc::clone(&self.graph), id, self.repartition_required)
    }

    /// Notes what the operator that made this stream is like.
    pub(super) fn marked(self, mark: impl FnOnce(&mut Traits)) -> Self {
        self.graph.borrow_mut().mark(self.id, mark);
        self
    }

    /// Names the next operator (Kafka Streams' `Named.as`): `stream.named("valid").filter(..)`.
    ///
    /// An operator whose options take a name ([`KStream::to`], [`KStream::group_by`],
    /// [`KStream::repartition`]) prefers that one.
    #[must_use]
    pub fn named(&self, name: impl Into<Named>) -> Self {
        Self { name: Some(name.into().into_string()), ..self.clone() }
    }

    /// Returns the name that [`KStream::named`] gave.
    pub(super) fn given_name(&self) -> Option<String> {
        self.name.clone()
    }

    /// Returns the given name, the one of [`KStream::named`], or a generated one.
    pub(super) fn name_operator(&self, given: Option<String>, prefix: &str) -> String {
        let given = given.or_else(|| self.name.clone());
        self.graph.borrow_mut().name_or_generate(given, prefix)
    }
}

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Adds an operator without a store.
    pub(super) fn attach<K2: 'static, V2: 'static, F>(
        &self,
        prefix: &str,
        repartition_required: bool,
        operator: F,
    ) -> KStream<K2, V2>
    where
        F: Fn(&mut ProcessorContext<'_, '_, K2, V2>, Record<K, V>) -> Result<(), BoxError>
            + Send
            + Sync
            + 'static,
    {
        let operator = Arc::new(operator);
        let name = self.name_operator(None, prefix);
        let supplier = move || Stateless(Arc::clone(&operator));
        self.attach_processor(&[self.id], name, repartition_required, supplier, Vec::new())
    }

    /// Adds a processor that is connected to stores of these names.
    pub(super) fn attach_processor<K2: 'static, V2: 'static, P>(
        &self,
        parents: &[GraphId],
        name: String,
        repartition_required: bool,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: Vec<String>,
    ) -> KStream<K2, V2>
    where
        P: Processor<K, V, K2, V2> + 'static,
    {
        let node = name.clone();
        let id = self.graph.borrow_mut().add(parents, name, move |topology, parents| {
            topology.add_processor(&node, supplier, parents)?;
            let stores: Vec<&str> = stores.iter().map(|store| &**store).collect();
            topology.connect_processor_and_state_stores(&node, &stores).map(|_| ())
        });
        KStream::new(Rc::clone(&self.graph), id, repartition_required)
    }

    /// Puts the records of two streams into one. There is no order between them but that of the
    /// timestamps.
    pub fn merge(&self, other: &Self) -> Self {
        let name = self.name_operator(None, "KSTREAM-MERGE-");
        if !Rc::ptr_eq(&self.graph, &other.graph) {
            self.graph.borrow_mut().fail(TopologyError::ForeignStream { node: name });
            return self.clone();
        }
        let pass = |context: &mut ProcessorContext<'_, '_, K, V>, record| context.forward(record);
        let repartition_required = self.repartition_required || other.repartition_required;
        let supplier = move || Stateless(Arc::new(pass));
        let parents = [self.id, other.id];
        self.attach_processor(&parents, name, repartition_required, supplier, Vec::new())
            .marked(|traits| traits.merges = true)
    }

    /// Begins to split the stream: each record goes to the first branch whose predicate takes it.
    pub fn split(&self) -> BranchedKStream<K, V> {
        BranchedKStream::new(self)
    }

    /// Groups the records by a new key, for an aggregation. The aggregation reads them back from a
    /// repartition topic.
    pub fn group_by<K2: Clone + 'static>(
        &self,
        selector: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
        grouped: Grouped<K2, V>,
    ) -> KGroupedStream<K2, V> {
        self.try_group_by(move |key, value| Ok(selector(key, value)), grouped)
    }

    /// As [`KStream::group_by`], with a closure that can fail.
    pub fn try_group_by<K2: Clone + 'static>(
        &self,
        selector: impl Fn(&K, &V) -> Result<K2, BoxError> + Send + Sync + 'static,
        grouped: Grouped<K2, V>,
    ) -> KGroupedStream<K2, V> {
        let grouped = grouped.or_name(self.name.clone());
        let keyed = Self { name: grouped.name.clone(), ..self.clone() }.try_select_key(selector);
        KGroupedStream::new(keyed, grouped)
    }

    /// Groups the records by their key, for an aggregation. There is a repartition topic in between
    /// only if the key may have changed since the source.
    pub fn group_by_key(&self, grouped: Grouped<K, V>) -> KGroupedStream<K, V> {
        let grouped = grouped.or_name(self.name.clone());
        KGroupedStream::new(Self { name: None, ..self.clone() }, grouped)
    }

    /// Writes the stream to a topic.
    pub fn to(&self, topic: &str, mut produced: Produced<K, V>) {
        produced.windows_together = true;
        let name = self.name_operator(produced.name.take(), SINK);
        let (node, topic) = (name.clone(), topic.to_owned());
        self.graph.borrow_mut().add(&[self.id], name, move |topology, parents| {
            topology.add_sink(&node, &topic, produced, parents).map(|_| ())
        });
    }

    /// Writes each record to the topic that `extractor` chooses for it (KIP-303). The topic must
    /// exist; a record for one that does not goes to the production handler.
    ///
    /// ```
    /// # use tidemill_core::dsl::StreamsBuilder;
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// # use tidemill_core::serdes::string;
    /// # use tidemill_core::topology::{Consumed, Produced, RecordContext};
    /// let builder = StreamsBuilder::new();
    /// builder.stream("orders", Consumed::with(string(), string())).to_with_extractor(
    ///     |country: &String, _: &String, _: &RecordContext<'_>| format!("orders-{country}"),
    ///     Produced::with(string(), string()),
    /// );
    /// let driver = TopologyTestDriver::new(&builder.build()?, DriverConfig::default())?;
    /// let mut orders = driver.create_input_topic("orders", string(), string())?;
    /// orders.pipe_input("fr".to_owned(), "a hat".to_owned())?;
    /// let mut french = driver.create_output_topic("orders-fr", string(), string())?;
    /// assert_eq!(french.read_value()?, "a hat");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_with_extractor(
        &self,
        extractor: impl TopicNameExtractor<K, V> + 'static,
        mut produced: Produced<K, V>,
    ) {
        produced.windows_together = true;
        let name = self.name_operator(produced.name.take(), SINK);
        let node = name.clone();
        self.graph.borrow_mut().add(&[self.id], name, move |topology, parents| {
            topology.add_sink_with_extractor(&node, extractor, produced, parents).map(|_| ())
        });
    }

    /// Writes the stream to a repartition topic and reads it back, so that records of a key meet in
    /// one task (KIP-221). Records with a null key are dropped.
    pub fn repartition(&self, repartitioned: Repartitioned<K, V>) -> Self {
        let mut graph = self.graph.borrow_mut();
        let base = match repartitioned.name.clone().or_else(|| self.name.clone()) {
            Some(name) => name,
            None => graph.name_or_generate(None, "KSTREAM-REPARTITION-"),
        };
        let id = repartition::add(&mut graph, self.id, &base, repartitioned);
        KStream::new(Rc::clone(&self.graph), id, false)
    }
}
