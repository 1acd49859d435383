//! What is refused when the topology is built, with the nodes named.

use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{Joined, Materialized, StreamsBuilder};
use tidemill_core::processor::{Processor, ProcessorContext};
use tidemill_core::record::{Record, SubTopologyId};
use tidemill_core::revision::Revisioned;
use tidemill_core::serdes::{i64, string};
use tidemill_core::topology::{AutoOffsetReset, Consumed, Topology, key_value_store};

use super::{Words, out, strings};

struct Pass;

impl Processor<String, String, String, String> for Pass {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, String>,
    ) -> Result<(), tidemill_core::BoxError> {
        context.forward(record)
    }
}

fn message<T: std::fmt::Debug>(
    result: Result<T, tidemill_core::topology::TopologyError>,
) -> String {
    result.expect_err("this is a mistake").to_string()
}

fn words() -> Topology {
    let mut topology = Topology::new();
    let store = key_value_store("words", string(), string());
    topology
        .add_source("s", strings(), &["s"])
        .and_then(|t| t.add_processor("p", || Pass, &["s"]))
        .and_then(|t| t.add_global_store(store, "texts", strings(), ("g", "fill"), Words::default))
        .expect("the topology is right");
    topology
}

#[test]
fn each_mistake_is_an_error_that_names_the_node() {
    let mut topology = words();
    let child = message(topology.add_processor("c", || Pass, &["g"]));
    assert_eq!(child, "node c names g as parent, which fills a global store and nothing else");
    assert!(message(topology.add_sink("c", "out", out(), &["fill"])).contains("parent"));
    let connect = |topology: &mut Topology, node, store| {
        message(topology.connect_processor_and_state_stores(node, &[store]))
    };
    let read = connect(&mut topology, "p", "words");
    assert!(read.starts_with("node p can't be connected to store words: "), "{read}");
    topology.add_state_store(key_value_store("own", string(), i64()), &["p"]).unwrap();
    let second = connect(&mut topology, "fill", "own");
    assert!(second.starts_with("node fill can't be connected to store own: "), "{second}");
    let topic = message(topology.add_source("again", strings(), &["texts"]));
    assert_eq!(topic, "topic texts is already read by source g");

    let mut add = |source: &str, consumed, topic: &str, processor: &str, name: &str| {
        let store = key_value_store(name, string(), string());
        message(topology.add_global_store(
            store,
            topic,
            consumed,
            (source, processor),
            Words::default,
        ))
    };
    let latest = strings().with_offset_reset_policy(AutoOffsetReset::Latest);
    let late = add("h", latest, "more", "fill2", "other");
    assert!(late.starts_with("source h fills a global store: its topic is always read"), "{late}");
    assert!(add("h", strings(), "s", "fill2", "other").contains("already read by source s"));
    for (source, processor, store) in
        [("h", "h", "other"), ("s", "fill2", "other"), ("h", "p", "other"), ("h", "fill2", "words")]
    {
        let taken = add(source, strings(), "more", processor, store);
        assert!(taken.contains("already taken"), "{taken}");
    }
    assert!(add("h", strings(), "no topic", "fill2", "other").contains("no legal name"));
    // nothing of all that is left behind
    let store = key_value_store("other", string(), string());
    let earliest = strings().with_offset_reset_policy(AutoOffsetReset::Earliest);
    topology.add_global_store(store, "more", earliest, ("h", "fill2"), Words::default).unwrap();
}

#[test]
fn a_global_store_has_a_number_but_no_tasks_and_no_changelog() {
    let mut topology = words();
    topology.add_source("z", strings(), &["z"]).unwrap();
    let subs = topology.sub_topologies();
    let ids: Vec<SubTopologyId> = subs.iter().map(|sub| sub.id).collect();
    assert_eq!(ids, [SubTopologyId(0), SubTopologyId(2)]);
    let global = topology.global_topology().unwrap();
    let topics: Vec<&str> = global.source_topics.iter().map(|(topic, _)| topic.name()).collect();
    assert_eq!(topics, ["texts"]);
    assert!(!global.stores[0].logging);
    assert_eq!(global.stores[0].changelog_topic("app"), "texts");
    assert!(Topology::new().global_topology().is_none());
}

#[test]
fn the_dsl_refuses_what_makes_no_sense() {
    #[derive(Clone)]
    struct Versioned;
    impl Revisioned for Versioned {
        fn revision(&self) -> Option<i64> {
            None
        }
    }
    #[derive(Debug, Clone, Copy)]
    struct NoSerde;
    impl tidemill_core::serdes::Serde<Versioned> for NoSerde {
        fn serialize(
            &self,
            _: &str,
            _: &Versioned,
            _: &mut Vec<u8>,
        ) -> Result<tidemill_core::serdes::Encoded, tidemill_core::serdes::SerdeError> {
            Ok(tidemill_core::serdes::Encoded::Bytes)
        }
        fn deserialize(
            &self,
            _: &str,
            _: Option<&[u8]>,
        ) -> Result<Versioned, tidemill_core::serdes::SerdeError> {
            Ok(Versioned)
        }
    }
    let builder = StreamsBuilder::new();
    let guarded = Materialized::as_("guarded").with_revision();
    builder.global_table("g", Consumed::with(string(), NoSerde), guarded);
    let foreign = StreamsBuilder::new().global_table("t", strings(), Materialized::default());
    builder
        .stream("s", strings())
        .join_global_table(&foreign, |k, _| k.clone(), |_, t| t.clone(), Joined::default())
        .to("out", out());
    builder.global_table("s", strings(), Materialized::default());
    let text = message(builder.build());
    for part in ["with_revision", "same StreamsBuilder", "topic s is already read"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_topology_of_global_tables_alone_has_nothing_to_run() {
    let builder = StreamsBuilder::new();
    builder.global_table("t", strings(), Materialized::default());
    let topology = builder.build().unwrap();
    assert!(topology.sub_topologies().is_empty());
    let error = TopologyTestDriver::new(topology, DriverConfig::default()).expect_err("no source");
    assert!(error.to_string().contains("no source"), "{error}");
}
