//! Processors that bring their stores with them (KIP-401).

use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::StreamsBuilder;
use tidemill_core::processor::{Processor, ProcessorContext};
use tidemill_core::record::Record;
use tidemill_core::serdes::{i64, string};
use tidemill_core::topology::{
    ConnectedStores, Consumed, Produced, StoreBuilder, Topology, TopologyError, key_value_store,
};

/// Counts the records of each key.
struct Counter;

impl Processor<String, String, String, i64> for Counter {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, i64>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        let counts = context.key_value_store::<String, i64>("counts")?;
        let count = counts.get(&record.key)?.unwrap_or(0) + 1;
        counts.put(&record.key, count)?;
        context.forward(record.with_value(count))
    }
}

fn counts() -> StoreBuilder<String, i64> {
    key_value_store("counts", string(), i64())
}

/// Two streams, each with a processor that brings a store.
fn two(stores: [StoreBuilder<String, i64>; 2]) -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    for (topic, store) in ["one", "two"].into_iter().zip(stores) {
        builder
            .stream(topic, Consumed::with(string(), string()))
            .process_with_stores(|| Counter, ConnectedStores::new().with_store(store))
            .to("out", Produced::with(string(), i64()));
    }
    builder.build()
}

#[test]
fn processors_that_bring_one_store_share_it_and_are_in_one_sub_topology() {
    let topology = two([counts(), counts()]).unwrap();
    let subs = topology.sub_topologies();
    assert_eq!((subs.len(), subs[0].stores.len()), (1, 1));
    let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
    for topic in ["one", "two", "one"] {
        let mut input = driver.create_input_topic(topic, string(), string()).unwrap();
        input.pipe_input("k".to_owned(), "v".to_owned()).unwrap();
    }
    let mut output = driver.create_output_topic("out", string(), i64()).unwrap();
    let found: Vec<i64> =
        output.read_key_values_to_list().unwrap().into_iter().map(|(_, count)| count).collect();
    assert_eq!(found, [1, 2, 3]);
}

#[test]
fn stores_of_one_name_that_differ_are_refused() {
    let error = two([counts(), counts().with_logging_disabled()]).unwrap_err();
    assert!(matches!(&error, TopologyError::DuplicateName(name) if name == "counts"), "{error}");
    let illegal = key_value_store("no store", string(), i64());
    let error = two([illegal, counts()]).unwrap_err();
    assert!(matches!(error, TopologyError::IllegalName(_)), "{error}");
}
