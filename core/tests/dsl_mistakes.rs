//! Mistakes made while building: all of them are reported by `build`, none interrupts the chain.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use std::time::Duration;

use tidemill_core::dsl::{
    BufferConfig, Grouped, KStream, Materialized, Repartitioned, StreamsBuilder, Suppressed,
};
use tidemill_core::serdes::{i64, string};
use tidemill_core::topology::{AutoOffsetReset, Consumed, Produced, TopologyError};

fn consumed() -> Consumed<String, String> {
    Consumed::with(string(), string())
}

fn produced() -> Produced<String, String> {
    Produced::with(string(), string())
}

fn grouped() -> Grouped<String, String> {
    Grouped::with(string(), string())
}

fn stream(builder: &StreamsBuilder, topic: &str) -> KStream<String, String> {
    builder.stream(topic, consumed())
}

/// Builds and compares the error's text.
fn check(build: impl FnOnce(&StreamsBuilder), expected: &str) {
    let builder = StreamsBuilder::new();
    build(&builder);
    assert_eq!(builder.build().unwrap_err().to_string(), expected);
}

#[test]
fn sources_that_disagree_are_refused() {
    check(
        |b| {
            stream(b, "in");
            b.stream("in", Consumed::with(string(), i64()));
        },
        "sources KSTREAM-SOURCE-0000000000 and KSTREAM-SOURCE-0000000001 read topic in with \
         different types",
    );
    check(
        |b| {
            stream(b, "in");
            b.stream("in", consumed().with_offset_reset_policy(AutoOffsetReset::Latest));
        },
        "sources KSTREAM-SOURCE-0000000000 and KSTREAM-SOURCE-0000000001 read topic in with \
         different offset reset policies",
    );
    check(
        |b| {
            b.stream_topics(&["a", "b"], consumed().with_name("both"));
            b.stream_topics(&["b", "c"], consumed().with_name("other"));
        },
        "sources both and other both read topic b, but not the same set of topics: read them in \
         one stream, or each topic in one of its own",
    );
    check(
        |b| {
            b.stream_topics(&["a", "a"], consumed().with_name("twice"));
        },
        "topic a is already read by source twice",
    );
    check(
        |b| {
            b.stream_topics(&[], consumed().with_name("none"));
        },
        "node none has nothing to read from",
    );
}

#[test]
fn names_taken_twice_and_illegal_names_are_refused() {
    check(
        |b| {
            let x = stream(b, "in");
            x.named("same").filter(|_, _| true);
            x.named("same").filter(|_, _| true);
        },
        "the name same is already taken by another node or store",
    );
    check(
        |b| {
            let groups = stream(b, "in").group_by_key(grouped());
            groups.count(Materialized::as_("counts"));
            groups.count(Materialized::as_("counts"));
        },
        "the name counts is already taken by another node or store",
    );
    check(
        |b| {
            let x = stream(b, "in").select_key(|_, v| v.clone());
            for _ in 0..2 {
                x.repartition(Repartitioned::with(string(), string()).with_name("mid"));
            }
        },
        "the name mid-repartition-filter is already taken by another node or store",
    );
    check(
        |b| {
            let x = stream(b, "in");
            let merged = x.peek(|_, _| {}).named("a b").merge(&x.filter(|_, _| true));
            // what is below a mistake is no mistake of its own
            merged.map_values(|_| 1).to("out", Produced::with(string(), i64()));
        },
        "'a b' is no legal name: use 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-', \
         but not '.' or '..'",
    );
}

#[test]
fn an_aggregate_without_a_value_serde_is_refused() {
    check(
        |b| {
            let groups = stream(b, "in").group_by_key(grouped());
            groups.aggregate(|| 0_i64, |_, _, n| n + 1, Materialized::as_("n")).to_stream();
        },
        "KSTREAM-AGGREGATE-0000000001: no value serde is given (Materialized::with or \
         with_value_serde)",
    );
}

#[test]
fn an_unknown_store_is_named() {
    struct Nothing;
    impl tidemill_core::processor::Processor<String, String, String, String> for Nothing {
        fn process(
            &mut self,
            _: &mut tidemill_core::processor::ProcessorContext<'_, '_, String, String>,
            _: tidemill_core::record::Record<String, String>,
        ) -> Result<(), tidemill_core::BoxError> {
            Ok(())
        }
    }
    check(
        |b| {
            stream(b, "in").named("reader").process(|| Nothing, &["missing"]);
        },
        "node reader names a store missing that was not added",
    );
}

#[test]
fn streams_of_two_builders_do_not_merge() {
    let other = StreamsBuilder::new();
    let foreign = stream(&other, "there");
    check(
        |b| {
            stream(b, "here").named("both").merge(&foreign);
        },
        "both: both streams must come from the same StreamsBuilder",
    );
}

#[test]
fn every_mistake_is_reported() {
    let builder = StreamsBuilder::new();
    let groups = stream(&builder, "in").group_by_key(grouped());
    groups.aggregate(|| 0_i64, |_, _, n| n, Materialized::as_("one"));
    groups.aggregate(|| 0_i64, |_, _, n| n, Materialized::as_("two"));
    stream(&builder, "in").named("a b").filter(|_, _| true);
    let error = builder.build().unwrap_err();
    let TopologyError::Several(mistakes) = &error else { panic!("{error}") };
    assert_eq!(mistakes.len(), 3);
    let text = error.to_string();
    assert!(text.contains("0000000001") && text.contains("0000000002") && text.contains("'a b'"));
}

#[test]
fn a_stream_used_after_build_changes_nothing_and_harms_nobody() {
    let builder = StreamsBuilder::new();
    let kept = stream(&builder, "in");
    kept.to("out", produced());
    let topology = builder.build().unwrap();
    let before = topology.describe();
    let more = kept.map(|k, v| (v, k)).merge(&kept);
    more.repartition(Repartitioned::with(string(), string())).to("late", produced());
    more.group_by_key(grouped()).count(Materialized::default()).to_stream();
    assert_eq!(topology.describe(), before);
}

#[test]
fn versions_are_refused_where_there_are_none() {
    let versions = || Materialized::as_versioned("versions", Duration::from_secs(1));
    check(
        |b| {
            stream(b, "in").group_by_key(grouped()).reduce(|a, b| a + &b, versions());
        },
        "KSTREAM-REDUCE-0000000001: Materialized::as_versioned is for tables of a topic or a \
         stream: here it would have no effect",
    );
    check(
        |b| {
            let table = b.table("in", consumed(), versions());
            table.filter(|_, _| true, Materialized::default()).suppress(
                Suppressed::until_time_limit(Duration::from_secs(1), BufferConfig::unbounded()),
            );
        },
        "KTABLE-SUPPRESS-0000000003: a versioned table can't be suppressed, give it a store \
         without versions",
    );
}
