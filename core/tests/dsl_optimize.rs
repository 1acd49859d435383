//! Optimisations beyond what Kafka Streams itself can answer.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{
    Branched, Grouped, KStream, Materialized, StreamsBuilder, TopologyConfig, TopologyOptimization,
};
use tidemill_core::revision::Revisioned;
use tidemill_core::serdes::{Serde, i64, string};
use tidemill_core::topology::{Consumed, Produced, Topology};

fn builder(optimization: TopologyOptimization) -> StreamsBuilder {
    StreamsBuilder::with_config(TopologyConfig::new().with_optimization(optimization))
}

fn consumed() -> Consumed<String, String> {
    Consumed::with(string(), string())
}

fn count(stream: &KStream<String, String>, name: &str) {
    let counts = stream
        .group_by_key(Grouped::with(string(), string()))
        .count(Materialized::as_(name).with_caching_disabled());
    counts.to_stream().map_values(|count| count.unwrap_or(0)).to(name, produced());
}

fn produced() -> Produced<String, i64> {
    Produced::with(string(), i64())
}

/// Kafka Streams refuses this one: it looks for the second topic where the first one was.
fn split(optimization: TopologyOptimization) -> Topology {
    let builder = builder(optimization);
    let keyed = builder.stream("in", consumed()).select_key(|_, value| value.clone());
    let branches = keyed
        .split()
        .branch(|_, value| value.len() > 1, Branched::as_("-long"))
        .default_branch(Branched::as_("-short"));
    for (name, branch) in branches {
        count(&branch, if name.ends_with("-long") { "long" } else { "short" });
    }
    builder.build().unwrap()
}

#[test]
fn topics_below_the_branches_of_a_split_become_one_above_it() {
    let topics = |topology: &Topology| -> Vec<String> {
        topology.repartitions().iter().map(|topic| topic.name.clone()).collect()
    };
    let plain = split(TopologyOptimization::NONE);
    assert_eq!(topics(&plain), ["long-repartition", "short-repartition"]);
    let merged = split(TopologyOptimization::NONE.with_merge_repartition_topics());
    assert_eq!(topics(&merged), ["long-repartition"]);
    let mut results = Vec::new();
    for topology in [plain, merged] {
        let driver = TopologyTestDriver::new(&topology, DriverConfig::default()).unwrap();
        let mut input = driver.create_input_topic("in", string(), string()).unwrap();
        for value in ["a", "bb", "a", "bb", "ccc", "a"] {
            input.pipe_input("k".to_owned(), value.to_owned()).unwrap();
        }
        let read = |topic: &str| {
            let mut output = driver.create_output_topic(topic, string(), i64()).unwrap();
            output.read_key_values_to_list().unwrap()
        };
        results.push((read("long"), read("short")));
    }
    let pair = |key: &str, count| (key.to_owned(), count);
    let expected = (
        vec![pair("bb", 1), pair("bb", 2), pair("ccc", 1)],
        vec![pair("a", 1), pair("a", 2), pair("a", 3)],
    );
    assert_eq!(results, [expected.clone(), expected]);
}

#[derive(Clone)]
struct Versioned(i64);

impl Revisioned for Versioned {
    fn revision(&self) -> Option<i64> {
        Some(self.0)
    }
}

/// Returns, for each store: its name, whether it has a changelog, and the topic it is restored
/// from otherwise.
fn stores(topology: &Topology) -> Vec<(String, bool, Option<String>)> {
    let subs = topology.sub_topologies();
    let stores = subs.iter().flat_map(|sub| &sub.stores);
    stores.map(|s| (s.name.clone(), s.logging, s.source_topic.clone())).collect()
}

#[test]
fn the_topic_of_a_table_is_its_changelog_unless_the_table_is_guarded() {
    let versions = || serde_of_versions();
    let build = |optimization| {
        let builder = builder(optimization);
        let _ = builder.table("plain", consumed(), Materialized::as_("plain"));
        let guarded = Materialized::as_("guarded").with_revision();
        let _ = builder.table("guarded", Consumed::with(string(), versions()), guarded);
        count(&builder.stream("in", consumed()), "counts");
        stores(&builder.build().unwrap())
    };
    let logged = |name: &str| (name.to_owned(), true, None);
    let all = build(TopologyOptimization::ALL);
    let reused = ("plain".to_owned(), false, Some("plain".to_owned()));
    let rest = ["guarded", "guarded-revisions", "counts"].map(logged);
    assert!(all.contains(&reused) && rest.iter().all(|store| all.contains(store)), "{all:?}");
    let none = build(TopologyOptimization::NONE);
    assert!(none.iter().all(|(_, logging, source)| *logging && source.is_none()), "{none:?}");
}

fn serde_of_versions() -> impl Serde<Versioned> {
    use tidemill_core::serdes::{Encoded, SerdeError};
    struct Versions;
    impl Serde<Versioned> for Versions {
        fn serialize(
            &self,
            topic: &str,
            value: &Versioned,
            into: &mut Vec<u8>,
        ) -> Result<Encoded, SerdeError> {
            i64().serialize(topic, &value.0, into)
        }
        fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Versioned, SerdeError> {
            i64().deserialize(topic, bytes).map(Versioned)
        }
        fn is_null(&self, _: &Versioned) -> bool {
            false
        }
    }
    Versions
}
