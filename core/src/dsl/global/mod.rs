//! Global tables and stores: all of a topic in every process.
//!
//! A stream looks up any key of a global table, whatever its own partitions are: nothing has to be
//! co-partitioned, and nothing goes through a repartition topic. The price is that every process
//! keeps and follows the whole topic, and that a look-up finds what this process has taken from it
//! at that moment, not what was valid at the record's timestamp.

mod join;
mod table;

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

pub use join::MaybeKey;

use super::StreamsBuilder;
use super::graph::{GraphId, SharedGraph};
use crate::processor::Processor;
use crate::serdes::SharedSerde;
use crate::topology::{Consumed, StoreBuilder};

const SOURCE: &str = "KSTREAM-SOURCE-";
const TABLE_SOURCE: &str = "KTABLE-SOURCE-";

/// A table that every process has all of: what [`StreamsBuilder::global_table`] makes.
pub struct GlobalKTable<K, V> {
    graph: SharedGraph,
    store: String,
    key_serde: SharedSerde<K>,
    queryable_store_name: Option<String>,
    values: PhantomData<fn() -> V>,
}

impl<K, V> Clone for GlobalKTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            graph: SharedGraph::clone(&self.graph),
            store: self.store.clone(),
            key_serde: SharedSerde::clone(&self.key_serde),
            queryable_store_name: self.queryable_store_name.clone(),
            values: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for GlobalKTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalKTable").field("store", &self.store).finish_non_exhaustive()
    }
}

impl<K, V> GlobalKTable<K, V> {
    /// Returns the name of the table's store, if it was given one by name.
    #[must_use]
    pub fn queryable_store_name(&self) -> Option<&str> {
        self.queryable_store_name.as_deref()
    }
}

impl StreamsBuilder {
    /// Adds a store that every process fills from all partitions of `topic` by a processor of its
    /// own, and that every processor can read
    /// ([`ProcessorContext::global_key_value_store`]).
    ///
    /// The processor is called for each record of the topic from the beginning on, at a restart
    /// from where it was; it has to write the store, and can forward nothing. See
    /// [`Topology::add_global_store`](crate::topology::Topology::add_global_store).
    ///
    /// [`ProcessorContext::global_key_value_store`]:
    ///     crate::processor::ProcessorContext::global_key_value_store
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use tidemill_core::BoxError;
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// # use tidemill_core::dsl::StreamsBuilder;
    /// # use tidemill_core::processor::{Processor, ProcessorContext};
    /// # use tidemill_core::record::Record;
    /// # use tidemill_core::serdes::{i64, string};
    /// # use tidemill_core::store::KeyValueStore;
    /// # use tidemill_core::topology::{Consumed, Produced, key_value_store};
    /// /// Keeps the length of each text.
    /// #[derive(Default)]
    /// struct Lengths(Option<KeyValueStore<String, i64>>);
    ///
    /// impl Processor<String, String, Infallible, Infallible> for Lengths {
    ///     fn init(
    ///         &mut self,
    ///         context: &mut ProcessorContext<'_, '_, Infallible, Infallible>,
    ///     ) -> Result<(), BoxError> {
    ///         self.0 = Some(context.key_value_store("lengths")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(
    ///         &mut self,
    ///         _: &mut ProcessorContext<'_, '_, Infallible, Infallible>,
    ///         record: Record<String, String>,
    ///     ) -> Result<(), BoxError> {
    ///         let store = self.0.as_ref().ok_or("not initialised")?;
    ///         Ok(store.put(&record.key, record.value.len() as i64)?)
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let store = key_value_store("lengths", string(), i64());
    /// let texts = Consumed::with(string(), string());
    /// builder.add_global_store(store, "texts", texts, Lengths::default);
    /// builder
    ///     .stream("in", Consumed::with(string(), string()))
    ///     .to("out", Produced::with(string(), string()));
    ///
    /// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
    /// let mut texts = driver.create_input_topic("texts", string(), string())?;
    /// texts.pipe_input("a".to_owned(), "four".to_owned())?;
    /// let lengths = driver.key_value_store::<String, i64>("lengths")?;
    /// assert_eq!(lengths.get(&"a".to_owned())?, Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_global_store<SK, SV, K, V, P>(
        &self,
        store: StoreBuilder<SK, SV>,
        topic: &str,
        mut consumed: Consumed<K, V>,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) -> &Self
    where
        SK: 'static,
        SV: Clone + 'static,
        K: Clone + 'static,
        V: Clone + 'static,
        P: Processor<K, V, Infallible, Infallible> + 'static,
    {
        let graph = self.shared_graph();
        let (source, name) = name_nodes(&graph, consumed.name.take());
        let topic = topic.to_owned();
        graph.borrow_mut().add(&[GraphId::ROOT], name.clone(), move |topology, _| {
            topology
                .add_global_store(store, &topic, consumed, (&source, &name), supplier)
                .map(|_| ())
        });
        self
    }
}

/// Names source and processor, as those of a table.
fn name_nodes(graph: &SharedGraph, given: Option<String>) -> (String, String) {
    let mut graph = graph.borrow_mut();
    let suffixed = given.as_ref().map(|name| format!("{name}-source"));
    let source = graph.name_or_generate(suffixed, SOURCE);
    (source, graph.name_or_generate(given, TABLE_SOURCE))
}
