//! The same program gives the same topology as in Kafka Streams: names, numbers, sub-topologies,
//! repartition topics and the text of `describe()`, compared with what Kafka Streams itself prints.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use tidemill_core::BoxError;
use tidemill_core::dsl::{
    Branched, Grouped, KGroupedStream, KStream, Materialized, Repartitioned, StreamsBuilder,
};
use tidemill_core::processor::{
    FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord, Processor, ProcessorContext,
};
use tidemill_core::record::Record;
use tidemill_core::serdes::{i64, optional, string};
use tidemill_core::topology::{Consumed, Produced, StoreBuilder, Topology, key_value_store};

type Strings = KStream<String, String>;

/// Compares a topology's text with the golden file of that name.
fn check(name: &str, build: impl FnOnce(&StreamsBuilder)) {
    let builder = StreamsBuilder::new();
    build(&builder);
    let text = builder.build().unwrap_or_else(|e| panic!("{name}: {e}")).describe().to_string();
    let path = format!("{}/tests/golden/describe/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, golden, "{name}: ours is on the left");
}

fn consumed() -> Consumed<String, String> {
    Consumed::with(string(), string())
}

fn produced() -> Produced<String, String> {
    Produced::with(string(), string())
}

fn grouped() -> Grouped<String, String> {
    Grouped::with(string(), string())
}

fn repartitioned() -> Repartitioned<String, String> {
    Repartitioned::with(string(), string())
}

fn table_strings() -> Produced<String, Option<String>> {
    Produced::with(string(), optional(string()))
}

fn table_longs() -> Produced<String, Option<i64>> {
    Produced::with(string(), optional(i64()))
}

fn longs() -> Materialized<String, i64> {
    Materialized::with(string(), i64())
}

fn store(name: &str) -> StoreBuilder<String, String> {
    key_value_store(name, string(), string())
}

fn stream(builder: &StreamsBuilder, topic: &str) -> Strings {
    builder.stream(topic, consumed())
}

fn latest(_: String, next: String) -> String {
    next
}

fn keep(_: &String, _: String, total: i64) -> i64 {
    total
}

struct PassOn;

impl Processor<String, String, String, String> for PassOn {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        context.forward(record)
    }
}

impl FixedKeyProcessor<String, String, String> for PassOn {
    fn process(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, String, String>,
        record: FixedKeyRecord<String, String>,
    ) -> Result<(), BoxError> {
        context.forward(record)
    }
}

#[test]
fn a_stateless_operator_takes_one_number_named_or_not() {
    check("pass_through", |b| stream(b, "in").to("out", produced()));
    check("stateless_chain", |b| {
        stream(b, "in")
            .filter(|_, _| true)
            .filter_not(|_, _| false)
            .map_values(|v| v)
            .map_values_with_key(|_, v| v)
            .flat_map_values(|v| [v])
            .peek(|_, _| {})
            .map(|k, v| (k, v))
            .flat_map(|k, v| [(k, v)])
            .select_key(|k, _| k.clone())
            .for_each(|_, _| {});
    });
    check("stateless_named", |b| {
        b.stream("in", consumed().with_name("source"))
            .named("keep")
            .filter(|_, _| true)
            .named("drop")
            .filter_not(|_, _| false)
            .named("value")
            .map_values(|v| v)
            .named("values")
            .flat_map_values(|v| [v])
            .named("look")
            .peek(|_, _| {})
            .named("pair")
            .map(|k, v| (k, v))
            .named("pairs")
            .flat_map(|k, v| [(k, v)])
            .named("key")
            .select_key(|k, _| k.clone())
            .map_values(|v| v)
            .to("out", produced().with_name("sink"));
        stream(b, "other").named("each").for_each(|_, _| {});
    });
}

#[test]
fn streams_of_the_same_topics_are_one_source() {
    check("many_topics", |b| {
        let topics = ["zeta", "alpha", "mid", "topic-17", "payments"];
        b.stream_topics(&topics, consumed()).to("out", produced());
    });
    check("same_topic_twice", |b| {
        stream(b, "in").filter(|_, _| true).to("one", produced());
        stream(b, "other").to("three", produced());
        stream(b, "in").map_values(|v| v).to("two", produced());
    });
}

#[test]
fn merging_joins_sub_topologies_and_passes_on_that_keys_changed() {
    check("merge", |b| {
        let (x, y) = (stream(b, "a"), stream(b, "b").map_values(|v| v));
        x.merge(&y).named("all").merge(&stream(b, "c")).to("out", produced());
    });
    check("merge_with_itself", |b| {
        let x = stream(b, "a");
        x.merge(&x).to("out", produced());
    });
    check("merge_after_key_change", |b| {
        let keyed = |b| stream(b, "b").select_key(|_, v| v.clone());
        stream(b, "a").merge(&keyed(b)).group_by_key(grouped()).count(Materialized::default());
    });
    check("diamonds", |b| {
        let mut x = stream(b, "in");
        for _ in 0..4 {
            let (yes, no) = (x.filter(|_, _| true), x.filter_not(|_, _| true));
            x = yes.merge(&no.map_values(|v| v));
        }
        x.to("out", produced());
    });
}

#[test]
fn each_branch_takes_a_number_that_is_not_seen() {
    check("split_numbered", |b| {
        let branches = stream(b, "in")
            .split()
            .branch(|_, _| true, Branched::numbered())
            .branch(|_, _| false, Branched::numbered())
            .default_branch(Branched::numbered());
        branches["KSTREAM-BRANCH-00000000011"].to("one", produced());
        branches["KSTREAM-BRANCH-00000000012"].map_values(|v| v).to("two", produced());
        branches["KSTREAM-BRANCH-00000000010"].to("rest", produced());
    });
    check("split_named", |b| {
        let branches = stream(b, "in")
            .named("size-")
            .split()
            .branch(|_, _| true, Branched::as_("small"))
            .branch(|_, _| false, Branched::as_("large"))
            .branch(|_, _| false, Branched::numbered())
            .no_default_branch();
        branches["size-small"].to("small", produced());
        branches["size-large"].filter(|_, _| true).map_values(|v| v).to("large", produced());
        branches["size-3"].to("third", produced());
    });
    check("split_then_count", |b| {
        let branches = stream(b, "in")
            .select_key(|_, v| v.clone())
            .split()
            .branch(|_, _| true, Branched::as_("-x"))
            .default_branch(Branched::as_("-y"));
        let x = &branches["KSTREAM-BRANCH-0000000002-x"];
        x.group_by_key(grouped()).count(Materialized::default());
        branches["KSTREAM-BRANCH-0000000002-y"].to("out", produced());
    });
}

#[test]
fn aggregations_number_their_store_first() {
    let count = |name: &str, materialized: Materialized<String, i64>| {
        check(name, |b| {
            let counts = stream(b, "in").group_by_key(grouped()).count(materialized);
            counts.to_stream().to("out", table_longs());
        });
    };
    count("count", Materialized::default());
    count("count_with_materialized", longs());
    count("count_named_store", Materialized::as_("counts"));
    check("count_all_named", |b| {
        let counts = stream(b, "in").group_by_key(grouped().with_name("grouped"));
        let counts = counts.named("count").count(Materialized::as_("counts"));
        counts.named("changes").to_stream().to("out", table_longs());
    });
    check("reduce", |b| {
        let groups = stream(b, "in").group_by_key(grouped());
        groups.reduce(latest, Materialized::default()).to_stream().to("out", table_strings());
    });
    check("aggregate", |b| {
        let groups = stream(b, "in").group_by_key(grouped());
        groups.aggregate(|| 0, keep, longs()).to_stream().to("out", table_longs());
    });
    check("two_aggregations_no_key_change", |b| {
        let groups = stream(b, "in").group_by_key(grouped());
        groups.count(Materialized::default());
        let table = groups.reduce(latest, Materialized::as_("latest"));
        table.to_stream().to("latest-out", table_strings());
        groups.aggregate(|| 0, keep, longs());
    });
}

#[test]
fn a_changed_key_puts_a_repartition_topic_before_an_aggregation() {
    let word_count = |name: &str, materialized: Materialized<String, i64>| {
        check(name, |b| {
            stream(b, "in")
                .flat_map_values(|v| v.split(' ').map(str::to_owned).collect::<Vec<_>>())
                .group_by(|_, v| v.clone(), grouped())
                .count(materialized)
                .to_stream()
                .to("out", table_longs());
        });
    };
    word_count("word_count", Materialized::as_("counts"));
    word_count("word_count_unnamed", Materialized::default());
    check("group_by_named", |b| {
        stream(b, "in")
            .group_by(|_, v| v.clone(), grouped().with_name("by-word"))
            .reduce(latest, Materialized::as_("latest"))
            .to_stream()
            .to("out", table_strings());
    });
    check("balances", |b| {
        stream(b, "transactions")
            .map_values(|v| v)
            .select_key(|_, v| v.clone())
            .group_by_key(grouped())
            .aggregate(|| 0, keep, Materialized::as_("balances-store").with_value_serde(i64()))
            .to_stream()
            .map_values(|v| v)
            .to("balances", table_longs());
    });
}

fn count_and_reduce(groups: &KGroupedStream<String, String>, between: impl FnOnce()) {
    let counts = groups.count(Materialized::as_("counts"));
    counts.to_stream().to("counts-out", table_longs());
    between();
    let table = groups.reduce(latest, Materialized::as_("latest"));
    table.to_stream().to("latest-out", table_strings());
}

#[test]
fn a_named_repartition_topic_is_shared_and_an_unnamed_one_is_not() {
    let by_word =
        |b: &StreamsBuilder, grouped| stream(b, "in").group_by(|_, v: &String| v.clone(), grouped);
    check("two_aggregations_unnamed", |b| count_and_reduce(&by_word(b, grouped()), || {}));
    check("two_aggregations_named", |b| {
        count_and_reduce(&by_word(b, grouped().with_name("by-word")), || {});
    });
    check("reused_topic_moves_later_nodes", |b| {
        count_and_reduce(&by_word(b, grouped().with_name("by-word")), || {
            stream(b, "unrelated").to("unrelated-out", produced());
        });
    });
}

#[test]
fn repartition_is_numbered_only_without_a_name() {
    check("repartition", |b| {
        stream(b, "in").repartition(repartitioned()).map_values(|v| v).to("out", produced());
    });
    check("repartition_named", |b| {
        let by_user = repartitioned().with_name("by-user").with_number_of_partitions(5);
        stream(b, "in").repartition(by_user).filter(|_, _| true).to("out", produced());
    });
    check("repartition_then_group", |b| {
        let keyed = stream(b, "in").select_key(|_, v| v.clone()).repartition(repartitioned());
        let counts = keyed.group_by_key(grouped()).count(Materialized::default());
        counts.to_stream().to("out", table_longs());
    });
}

#[test]
fn processors_are_connected_to_their_stores() {
    check("process", |b| {
        b.add_state_store(store("seen"));
        let processed = stream(b, "in").process(|| PassOn, &["seen"]);
        let counts = processed.group_by_key(grouped()).count(Materialized::default());
        counts.to_stream().to("out", table_longs());
    });
    check("process_named", |b| {
        b.add_state_store(store("seen"));
        let processed = stream(b, "in").named("dedup").process(|| PassOn, &["seen"]);
        processed.map_values(|v| v).to("out", produced());
    });
    check("process_values", |b| {
        b.add_state_store(store("seen"));
        let processed = stream(b, "in").process_values(|| PassOn, &["seen"]);
        let counts = processed.group_by_key(grouped()).count(Materialized::default());
        counts.to_stream().to("out", table_longs());
    });
    check("process_many_stores", |b| {
        let stores = ["zulu", "alpha", "store-1", "store-2", "balances-store", "x"];
        for name in stores {
            b.add_state_store(store(name));
        }
        stream(b, "in").process(|| PassOn, &stores).to("out", produced());
    });
    check("stores_join_sub_topologies", |b| {
        b.add_state_store(store("shared"));
        let written = stream(b, "a").named("write").process_values(|| PassOn, &["shared"]);
        written.to("a-out", produced());
        stream(b, "b").to("b-out", produced());
        let read = stream(b, "c").named("read").process(|| PassOn, &["shared"]);
        read.to("c-out", produced());
    });
}

#[test]
fn neighbours_come_in_the_order_in_which_java_collects_them() {
    check("fan_out", |b| {
        let x = stream(b, "in");
        x.to("o1", produced());
        x.map_values(|v| v).filter(|_, _| true).to("o2", produced());
        x.filter(|_, _| true).to("o3", produced());
        x.peek(|_, _| {}).map_values(|v| v).peek(|_, _| {}).to("o4", produced());
        x.flat_map_values(|v| [v]).to("o5", produced());
        x.map_values(|v| v).to("o6", produced());
        x.filter_not(|_, _| true).filter(|_, _| true).peek(|_, _| {}).to("o7", produced());
        let y = x.map_values(|v| v);
        for i in 0..5 {
            y.filter(|_, _| true).to(&format!("y{i}"), produced());
        }
    });
    check("wide", |b| {
        let mut merged = stream(b, "t0");
        for i in 1..12 {
            let mut next = stream(b, &format!("t{i}"));
            for _ in 0..i % 4 {
                next = next.peek(|_, _| {});
            }
            merged = merged.merge(&next);
        }
        let mut split = merged.named("b").split();
        for _ in 0..9 {
            split = split.branch(|_, _| true, Branched::numbered());
        }
        for (i, mut next) in split.no_default_branch().into_values().enumerate() {
            for _ in 0..i % 5 {
                next = next.map_values(|v| v);
            }
            next.to(&format!("o{i}"), produced());
        }
    });
}

#[test]
fn a_large_random_topology_is_that_of_kafka_streams() {
    check("random", |b| {
        let mut streams: Vec<Strings> = ["a", "b", "c", "d"].map(|t| stream(b, t)).into();
        let mut seed: u64 = 7;
        let mut next = |bound: usize| {
            seed = (seed * 1_103_515_245 + 12_345) % (1 << 31);
            (seed >> 16) as usize % bound
        };
        for i in 0..300 {
            let x = streams[next(streams.len())].clone();
            match next(6) {
                0 => streams.push(x.map_values(|v| v)),
                1 => streams.push(x.filter(|_, _| true)),
                2 => streams.push(x.peek(|_, _| {})),
                3 => streams.push(x.flat_map_values(|v| [v])),
                4 if next(3) == 0 => streams.push(x.merge(&streams[next(streams.len())])),
                4 => {}
                _ => x.to(&format!("out-{i}"), produced()),
            }
        }
    });
}

#[test]
fn a_topology_of_everything_is_that_of_kafka_streams() {
    check("everything", |b| {
        let orders = stream(b, "orders").filter(|_, _| true);
        let per_key = orders.group_by_key(grouped()).count(Materialized::as_("per-key"));
        per_key.to_stream().to("per-key-out", table_longs());
        let branches = orders
            .named("o-")
            .split()
            .branch(|_, _| true, Branched::as_("eu"))
            .default_branch(Branched::as_("rest"));
        let eu = branches["o-eu"].map(|k, v| (v, k));
        eu.group_by_key(grouped().with_name("eu-by-item"))
            .aggregate(|| 0, keep, longs())
            .to_stream()
            .to("eu-out", table_longs());
        branches["o-rest"]
            .merge(&eu)
            .repartition(repartitioned().with_name("rest"))
            .peek(|_, _| {})
            .to("rest-out", produced());
        stream(b, "orders")
            .flat_map(|k, v| [(k, v)])
            .group_by_key(grouped())
            .reduce(latest, Materialized::default())
            .to_stream()
            .filter(|_, _| true)
            .to("reduced", table_strings());
    });
}

#[test]
fn an_empty_topology_has_a_text_too() {
    assert_eq!(Topology::new().describe().to_string(), "Topologies:\n ");
}
