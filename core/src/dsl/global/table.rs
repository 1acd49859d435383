//! `global_table`: the latest value of each key of a topic, in every process.

use std::cell::RefCell;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use super::{GlobalKTable, name_nodes};
use crate::BoxError;
use crate::dsl::graph::GraphId;
use crate::dsl::table::of_present;
use crate::dsl::{Materialized, StreamsBuilder};
use crate::processor::{Processor, ProcessorContext};
use crate::record::Record;
use crate::serdes::{SharedSerde, optional};
use crate::store::StoreCore;
use crate::topology::{Consumed, StoreBuilder};

impl StreamsBuilder {
    /// Reads all partitions of a topic into a table that every process has all of: each record is
    /// the new value of its key, a null value deletes it. Records without a key are dropped and
    /// counted.
    ///
    /// Nothing is processed before the table holds all that was in the topic when the process
    /// started; from then on it follows the topic. The topic is what the table is restored from,
    /// so it should be compacted, there is no changelog, and logging and caching of `materialized`
    /// have no effect. A serde that `materialized` does not give is that of the topic.
    ///
    /// A timestamp extractor of `consumed` is asked about records that have key and value.
    ///
    /// ```
    /// # use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
    /// # use tidemill_core::dsl::{Joined, Materialized, StreamsBuilder};
    /// # use tidemill_core::serdes::string;
    /// # use tidemill_core::topology::{Consumed, Produced};
    /// let strings = || Consumed::with(string(), string());
    /// let builder = StreamsBuilder::new();
    /// let products = builder.global_table("products", strings(), Materialized::as_("products"));
    /// builder
    ///     // order number -> product number
    ///     .stream("orders", strings())
    ///     .join_global_table(
    ///         &products,
    ///         |_order, product| product.clone(),
    ///         |product, name| format!("{product}: {name}"),
    ///         Joined::default(),
    ///     )
    ///     .to("labels", Produced::with(string(), string()));
    ///
    /// let driver = TopologyTestDriver::new(builder.build()?, DriverConfig::default())?;
    /// let mut products = driver.create_input_topic("products", string(), string())?;
    /// let mut orders = driver.create_input_topic("orders", string(), string())?;
    /// let mut labels = driver.create_output_topic("labels", string(), string())?;
    /// products.pipe_input("p7".to_owned(), "pencil".to_owned())?;
    /// orders.pipe_input("o1".to_owned(), "p7".to_owned())?;
    /// assert_eq!(labels.read_key_value()?, ("o1".to_owned(), "p7: pencil".to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn global_table<K, V>(
        &self,
        topic: &str,
        mut consumed: Consumed<K, V>,
        mut materialized: Materialized<K, V>,
    ) -> GlobalKTable<K, V>
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        let graph = self.shared_graph();
        let queryable = materialized.name.take();
        let store = queryable.clone().unwrap_or_else(|| {
            graph.borrow_mut().name_or_generate(None, &format!("{topic}-STATE-STORE-"))
        });
        let (source, name) = name_nodes(&graph, consumed.name.take());
        materialized.refuse_revision(&mut graph.borrow_mut(), &name);
        let keys: SharedSerde<Option<K>> = Arc::new(optional(Arc::clone(&consumed.key_serde)));
        let values: SharedSerde<Option<V>> = Arc::new(optional(Arc::clone(&consumed.value_serde)));
        let read = Consumed {
            key_serde: keys,
            value_serde: values,
            name: None,
            auto_offset_reset: consumed.auto_offset_reset,
            timestamp_extractor: consumed.timestamp_extractor.take().map(of_present),
        };
        let spec = materialized.spec(&store);
        let Consumed { key_serde, value_serde, .. } = consumed;
        let key_serde = materialized.key_serde.unwrap_or(key_serde);
        let value_serde = materialized.value_serde.unwrap_or(value_serde);
        let kept = StoreBuilder::from_parts(spec, Arc::clone(&key_serde), value_serde);
        let (topic, filled, nulls) = (topic.to_owned(), store.clone(), Arc::clone(&key_serde));
        graph.borrow_mut().add(&[GraphId::ROOT], name.clone(), move |topology, _| {
            let supplier = move || GlobalTableSource {
                store: filled.clone(),
                keys: Arc::clone(&nulls),
                core: None,
            };
            topology.add_global_store(kept, &topic, read, (&source, &name), supplier).map(|_| ())
        });
        GlobalKTable {
            graph,
            store,
            key_serde,
            queryable_store_name: queryable,
            values: PhantomData,
        }
    }
}

/// Keeps the latest value of each key.
struct GlobalTableSource<K, V> {
    store: String,
    keys: SharedSerde<K>,
    core: Option<Rc<RefCell<StoreCore<K, V>>>>,
}

impl<K, V> Processor<Option<K>, Option<V>, Infallible, Infallible> for GlobalTableSource<K, V>
where
    K: 'static,
    V: Clone + 'static,
{
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Infallible, Infallible>,
    ) -> Result<(), BoxError> {
        self.core = Some(context.core(&self.store)?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, Infallible, Infallible>,
        record: Record<Option<K>, Option<V>>,
    ) -> Result<(), BoxError> {
        let Record { key, value, timestamp, .. } = record;
        let Some(key) = key.filter(|key| !self.keys.is_null(key)) else {
            context.note_dropped();
            return Ok(());
        };
        let core = self.core.as_ref().expect("a processor is initialised first");
        Ok(core.borrow_mut().put(&key, value, timestamp)?)
    }
}
