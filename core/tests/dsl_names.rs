//! Whether names of stores and internal topics may be generated (KIP-1111).

use tidemill_core::dsl::{Grouped, Joined, KStream, Materialized, StreamsBuilder, TopologyConfig};
use tidemill_core::serdes::string;
use tidemill_core::topology::{Consumed, TopologyError};

fn builder() -> StreamsBuilder {
    let config = TopologyConfig::new().with_ensure_explicit_internal_resource_naming();
    StreamsBuilder::with_config(config)
}

fn consumed() -> Consumed<String, String> {
    Consumed::with(string(), string())
}

fn keyed(builder: &StreamsBuilder) -> KStream<String, String> {
    builder.stream("in", consumed()).select_key(|_, value| value.clone())
}

fn grouped() -> Grouped<String, String> {
    Grouped::with(string(), string())
}

#[test]
fn every_generated_name_is_listed_in_one_error() {
    let builder = builder();
    let keyed = keyed(&builder);
    let _ = keyed.group_by_key(grouped()).count(Materialized::default());
    let unlogged = Materialized::as_("unlogged").with_logging_disabled();
    let _ = keyed.group_by_key(grouped().with_name("named")).count(unlogged);
    let bare = Materialized::default().with_logging_disabled();
    let _ = keyed.group_by_key(grouped().with_name("named-too")).count(bare);
    let table = builder.table("t", consumed(), Materialized::default());
    let joined = Joined::with(string(), string());
    let _ = keyed.join_table(&table, |a, b| a + b, joined);
    let error = builder.build().unwrap_err();
    let TopologyError::UnnamedResources { stores, changelogs, repartition_topics } = &error else {
        panic!("{error}");
    };
    let count = "KSTREAM-AGGREGATE-STATE-STORE-0000000002";
    let (bare, table) = ("KSTREAM-AGGREGATE-STATE-STORE-0000000012", "t-STATE-STORE-0000000017");
    assert_eq!(stores, &[count, bare, table]);
    assert_eq!(changelogs, &[count, table]);
    let topics = [&*format!("{count}-repartition"), "KSTREAM-KEY-SELECT-0000000001-repartition"];
    assert_eq!(repartition_topics, &topics);
    let text = error.to_string();
    for name in stores.iter().chain(changelogs).chain(repartition_topics) {
        assert!(text.contains(name), "{name} is missing: {text}");
    }
}

#[test]
fn a_topology_with_names_is_built_and_names_of_operators_may_be_generated() {
    let builder = builder();
    let keyed = keyed(&builder);
    let grouped = keyed.group_by_key(grouped().with_name("by-value"));
    let _ = grouped.count(Materialized::as_("counts"));
    // a table that nobody reads has no store
    let _ = builder.table("t", consumed(), Materialized::default()).to_stream();
    let topology = builder.build().unwrap();
    assert!(topology.describe().to_string().contains("KSTREAM-KEY-SELECT-0000000001"));
}
