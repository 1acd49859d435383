//! Building, cutting and partitioning.

use proptest::prelude::*;

use super::*;
use crate::BoxError;
use crate::processor::{Processor, ProcessorContext};
use crate::record::{Partition, Record};
use crate::serdes::{i64, string};

/// Forwards what it gets.
struct Pass;

impl<K: Clone, V: Clone> Processor<K, V, K, V> for Pass {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, K, V>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        context.forward(record)
    }
}

fn pass() -> impl Processor<String, String, String, String> {
    Pass
}

fn strings() -> Consumed<String, String> {
    Consumed::with(string(), string())
}

fn to_strings() -> Produced<String, String> {
    Produced::with(string(), string())
}

fn message(result: Result<&mut Topology, TopologyError>) -> String {
    result.expect_err("this is a mistake").to_string()
}

#[test]
fn an_edge_of_the_wrong_types_names_both_nodes_and_both_types() {
    let mut topology = Topology::new();
    topology.add_source("words", strings(), &["in"]).unwrap();
    let text = message(topology.add_sink("sums", "out", Produced::with(i64(), i64()), &["words"]));
    let strings = std::any::type_name::<(String, String)>();
    assert_eq!(text, format!("sums takes (i64, i64), but its parent words forwards {strings}"));
}

#[test]
fn each_mistake_is_an_error_that_names_the_node() {
    let mut topology = Topology::new();
    topology
        .add_source("a", strings(), &["in"])
        .and_then(|t| t.add_sink("sink", "out", to_strings(), &["a"]))
        .unwrap();
    let unknown = message(topology.add_processor("b", pass, &["x"]));
    assert_eq!(unknown, "node b names a parent x that was not added before it");
    let sink = message(topology.add_processor("b", pass, &["sink"]));
    assert_eq!(sink, "node b names the sink sink as parent, but sinks have no children");
    let orphan = message(topology.add_processor("b", pass, &[]));
    assert_eq!(orphan, "node b has nothing to read from");
    let twice = message(topology.add_source("b", strings(), &["in"]));
    assert_eq!(twice, "topic in is already read by source a");
    let taken = message(topology.add_processor("a", pass, &["a"]));
    assert_eq!(taken, "the name a is already taken by another node or store");
    let store = message(topology.connect_processor_and_state_stores("a", &["s"]));
    assert_eq!(store, "node a names a store s that was not added");
    assert!(message(topology.add_source("b", strings(), &[])).contains("nothing to read"));
    for bad in ["", ".", "..", "a/b", "a b", "\u{e4}", &"x".repeat(250)] {
        let illegal = message(topology.add_processor(bad, pass, &["a"]));
        assert!(illegal.contains("is no legal name"), "{bad}: {illegal}");
        assert!(message(topology.add_sink("b", bad, to_strings(), &["a"])).contains("no legal"));
    }
    let store = || key_value_store("s", string(), i64());
    topology.add_state_store(store(), &["a"]).unwrap();
    assert!(message(topology.add_state_store(store(), &[])).contains("already taken"));
    assert_eq!(topology.nodes().len(), 2, "a refused node stays out");
}

#[test]
fn sub_topologies_are_numbered_by_first_node_and_joined_by_edges_and_stores() {
    let mut topology = Topology::new();
    topology
        .add_source("s0", strings(), &["a"])
        .and_then(|t| t.add_source("s1", strings(), &["b"]))
        .and_then(|t| t.add_source("s2", strings(), &["c", "d"]))
        .and_then(|t| t.add_processor("p0", pass, &["s0"]))
        .and_then(|t| t.add_processor("p1", pass, &["s1"]))
        .and_then(|t| t.add_processor("p2", pass, &["s2"]))
        .and_then(|t| t.add_sink("k2", "out", to_strings(), &["p2"]))
        .unwrap();
    let members = |topology: &Topology| {
        let subs = topology.sub_topologies();
        let ids: Vec<_> = subs.iter().map(|sub| sub.id.0).collect();
        assert_eq!(ids, (0..).take(subs.len()).collect::<Vec<_>>());
        subs.into_iter().map(|sub| sub.nodes).collect::<Vec<_>>()
    };
    assert_eq!(members(&topology), [vec![0, 3], vec![1, 4], vec![2, 5, 6]]);
    let alone = key_value_store("alone", string(), i64());
    topology.add_state_store(alone, &["p1"]).unwrap();
    assert_eq!(topology.sub_topologies().len(), 3);
    let shared = key_value_store("shared", string(), i64());
    topology.add_state_store(shared, &["p0", "p2"]).unwrap();
    assert_eq!(members(&topology), [vec![0, 2, 3, 5, 6], vec![1, 4]]);

    let subs = topology.sub_topologies();
    let names = |sub: &SubTopology| sub.stores.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    assert_eq!((names(&subs[0]), names(&subs[1])), (vec!["shared".into()], vec!["alone".into()]));
    let topics: Vec<_> = subs[0].source_topics.iter().map(|(topic, _)| topic.name()).collect();
    assert_eq!(topics, ["a", "c", "d"]);
    assert_eq!(subs[0].sink_topics, [TopicName::User("out".to_owned())]);
    // the second join is indirect: p1 meets both others through one store
    topology.connect_processor_and_state_stores("p1", &["shared"]).unwrap();
    assert_eq!(topology.sub_topologies().len(), 1);
}

#[test]
fn internal_topics_carry_the_application_id() {
    assert_eq!(TopicName::Internal("x-repartition".into()).resolve("app"), "app-x-repartition");
    assert_eq!(TopicName::User("x".into()).resolve("app"), "x");
}

#[test]
fn murmur2_gives_the_hashes_of_the_java_client() {
    for (text, hash) in [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ] {
        assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
    }
}

#[test]
fn a_key_has_the_partition_that_the_java_producer_gives_it() {
    // toPositive(murmur2) % n
    assert_eq!(partition_for_key(b"abc", 10), Partition(479_470_107 % 10));
    assert_eq!(partition_for_key(b"21", 7), Partition((-973_932_308 & 0x7fff_ffff) % 7));
}

proptest! {
    #[test]
    fn every_key_has_a_partition_below_the_count(
        key in prop::collection::vec(any::<u8>(), 0..64),
        partitions in 1..=u32::MAX,
    ) {
        let Partition(chosen) = partition_for_key(&key, partitions);
        prop_assert!(u32::try_from(chosen).is_ok_and(|chosen| chosen < partitions));
    }
}
