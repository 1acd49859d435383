//! Processors of the user in a stream, and the stores that they use.

use super::KStream;
use super::graph::GraphId;
use crate::processor::{FixedKeyAdapter, FixedKeyProcessor, Processor};
use crate::topology::ConnectedStores;

const PROCESSOR: &str = "KSTREAM-PROCESSOR-";
const PROCESS_VALUES: &str = "KSTREAM-PROCESSVALUES-";

impl<K: Clone + 'static, V: Clone + 'static> KStream<K, V> {
    /// Runs a processor, connected to stores of these names; `supplier` is called once for each
    /// task (KIP-820). The key may change.
    pub fn process<K2: 'static, V2: 'static, P>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> KStream<K2, V2>
    where
        P: Processor<K, V, K2, V2> + 'static,
    {
        let name = self.name_processor(PROCESSOR);
        self.attach_processor(&[self.id], name, true, supplier, to_owned(stores))
            .marked(|traits| traits.changes_key = true)
    }

    /// As [`KStream::process`], for a processor that brings its stores with it (KIP-401): they are
    /// added and connected to it.
    ///
    /// ```
    /// # use tidemill_core::BoxError;
    /// # use tidemill_core::dsl::StreamsBuilder;
    /// # use tidemill_core::processor::{Processor, ProcessorContext};
    /// # use tidemill_core::record::Record;
    /// # use tidemill_core::serdes::{i64, string};
    /// # use tidemill_core::topology::{ConnectedStores, Consumed, Produced, key_value_store};
    /// struct Numbered;
    ///
    /// impl Processor<String, String, String, i64> for Numbered {
    ///     fn process(
    ///         &mut self,
    ///         context: &mut ProcessorContext<'_, '_, String, i64>,
    ///         record: Record<String, String>,
    ///     ) -> Result<(), BoxError> {
    ///         let seen = context.key_value_store::<String, i64>("seen")?;
    ///         let number = seen.get(&record.key)?.unwrap_or(0) + 1;
    ///         seen.put(&record.key, number)?;
    ///         context.forward(record.with_value(number))
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let stores = ConnectedStores::new().with_store(key_value_store("seen", string(), i64()));
    /// builder
    ///     .stream("orders", Consumed::with(string(), string()))
    ///     .process_with_stores(|| Numbered, stores)
    ///     .to("numbers", Produced::with(string(), i64()));
    /// # builder.build().unwrap();
    /// ```
    pub fn process_with_stores<K2: 'static, V2: 'static, P>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: ConnectedStores,
    ) -> KStream<K2, V2>
    where
        P: Processor<K, V, K2, V2> + 'static,
    {
        let name = self.name_processor(PROCESSOR);
        self.attach_with_stores(name, true, supplier, stores)
            .marked(|traits| traits.changes_key = true)
    }

    /// As [`KStream::process`], for a processor that can't change the key.
    pub fn process_values<V2: 'static, P>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: &[&str],
    ) -> KStream<K, V2>
    where
        P: FixedKeyProcessor<K, V, V2> + 'static,
    {
        let name = self.name_processor(PROCESS_VALUES);
        let supplier = move || FixedKeyAdapter(supplier());
        let stores = to_owned(stores);
        self.attach_processor(&[self.id], name, self.repartition_required, supplier, stores)
            .marked(|traits| traits.changes_value = true)
    }

    /// As [`KStream::process_with_stores`], for a processor that can't change the key.
    pub fn process_values_with_stores<V2: 'static, P>(
        &self,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: ConnectedStores,
    ) -> KStream<K, V2>
    where
        P: FixedKeyProcessor<K, V, V2> + 'static,
    {
        let name = self.name_processor(PROCESS_VALUES);
        let supplier = move || FixedKeyAdapter(supplier());
        self.attach_with_stores(name, self.repartition_required, supplier, stores)
            .marked(|traits| traits.changes_value = true)
    }

    fn attach_with_stores<K2: 'static, V2: 'static, P>(
        &self,
        name: String,
        repartition_required: bool,
        supplier: impl Fn() -> P + Send + Sync + 'static,
        stores: ConnectedStores,
    ) -> KStream<K2, V2>
    where
        P: Processor<K, V, K2, V2> + 'static,
    {
        let (node, graph) = (name.clone(), self.shared_graph());
        let parents: [GraphId; 1] = [self.id];
        let id = graph.borrow_mut().add(&parents, name, move |topology, parents| {
            topology.add_processor(&node, supplier, parents)?;
            topology.connect_processor_and_its_stores(&node, stores).map(|_| ())
        });
        KStream::new(graph, id, repartition_required)
    }

    /// As in Kafka Streams, a named processor consumes no number.
    fn name_processor(&self, prefix: &str) -> String {
        match self.given_name() {
            Some(name) => name,
            None => self.name_operator(None, prefix),
        }
    }
}

fn to_owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
