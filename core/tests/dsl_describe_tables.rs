//! Topologies with tables have the names, numbers, stores and sub-topologies that Kafka Streams
//! gives them: compared with what Kafka Streams itself prints.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use tidemill_core::dsl::{Grouped, Joined, KTable, Materialized, StreamsBuilder};
use tidemill_core::serdes::{i64, optional, string};
use tidemill_core::topology::{Consumed, Produced};

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

fn changes() -> Produced<String, Option<String>> {
    Produced::with(string(), optional(string()))
}

fn unnamed() -> Materialized<String, String> {
    Materialized::default()
}

fn strings() -> Materialized<String, String> {
    Materialized::with(string(), string())
}

fn stored(name: &str) -> Materialized<String, String> {
    Materialized::as_(name).with_key_serde(string()).with_value_serde(string())
}

fn table(builder: &StreamsBuilder, topic: &str) -> KTable<String, String> {
    builder.table(topic, consumed(), unnamed())
}

#[test]
fn a_table_of_a_topic_has_a_store_only_where_it_is_needed() {
    check("table", |b| table(b, "in").to_stream().to("out", changes()));
    check("table_named", |b| {
        b.table("in", consumed().with_name("names"), Materialized::as_("store"))
            .named("changes")
            .to_stream()
            .to("out", changes());
    });
}

#[test]
fn operators_of_a_table_have_a_store_only_if_it_is_named() {
    check("table_operators", |b| {
        table(b, "in")
            .filter(|_, _| true, unnamed())
            .filter_not(|_, _| false, unnamed())
            .map_values(|v| v, unnamed())
            .to_stream_with_key(|_, v| v.clone().unwrap_or_default())
            .to("out", changes());
    });
    check("table_operators_stored", |b| {
        table(b, "in")
            .named("keep")
            .filter(|_, _| true, Materialized::as_("kept"))
            .filter_not(|_, _| false, strings())
            .named("value")
            .map_values(|v| v, stored("values"))
            .map_values(|v| v, strings())
            .to_stream()
            .to("out", changes());
    });
}

#[test]
fn a_table_of_a_stream_goes_through_a_topic_if_the_key_changed() {
    check("to_table", |b| {
        let stream = b.stream("in", consumed());
        stream.to_table::<String>(strings()).to_stream().to("out", changes());
    });
    check("to_table_stored", |b| {
        let stream = b.stream("in", consumed()).named("latest");
        stream.to_table::<String>(stored("store")).to_stream().to("out", changes());
    });
    check("to_table_after_key_change", |b| {
        let keyed = |topic| b.stream(topic, consumed()).select_key(|_, v: &String| v.clone());
        keyed("in").to_table::<String>(strings()).to_stream().to("out", changes());
        keyed("other").named("latest").to_table::<String>(strings());
    });
}

#[test]
fn a_stream_is_joined_beside_the_store_of_the_table() {
    check("join_stream_table", |b| {
        let names = table(b, "names");
        let input = || b.stream("in", consumed());
        input().join_table(&names, |x, _| x, Joined::default()).to("out", produced());
        let stream = input();
        let some = names.filter(|_, _| true, unnamed());
        stream
            .left_join_table(&some, |x, _| x, Joined::default().with_name("labels"))
            .to("out", produced());
    });
    check("join_stream_table_after_key_change", |b| {
        let names = b.table("names", consumed(), Materialized::as_("store"));
        let keyed = |topic| b.stream(topic, consumed()).select_key(|_, v: &String| v.clone());
        let joined = || Joined::with(string(), string());
        keyed("in").join_table(&names, |x, _| x, joined()).to("out", produced());
        keyed("other")
            .left_join_table(&names, |x, _| x, joined().with_name("labels"))
            .to("out", produced());
    });
}

#[test]
fn tables_are_joined_side_by_side_and_merged() {
    check("join_tables", |b| {
        let joined = table(b, "a").join(&table(b, "b"), |x, _| x.clone(), unnamed());
        joined.to_stream().to("out", changes());
    });
    check("join_tables_stored", |b| {
        let left = table(b, "a").left_join(&table(b, "b"), |x, _| x.clone(), stored("joined"));
        let first = |x: Option<&String>, _: Option<&String>| x.cloned().unwrap_or_default();
        left.outer_join(&table(b, "c"), first, strings()).to_stream().to("out", changes());
    });
    check("join_tables_named", |b| {
        let (a, other) = (table(b, "a"), table(b, "b").map_values(|v| v, unnamed()));
        let first = |x: Option<&String>, _: Option<&String>| x.cloned().unwrap_or_default();
        a.named("both")
            .outer_join(&other, first, unnamed())
            .named("all")
            .join(&table(b, "c"), |x, _| x.clone(), stored("joined"))
            .to_stream()
            .to("out", changes());
    });
    check("join_counts", |b| {
        let grouped = Grouped::with(string(), string());
        let counts =
            b.stream("in", consumed()).group_by_key(grouped).count(Materialized::default());
        counts.join(&table(b, "b"), |_, y| y.clone(), unnamed()).to_stream().to("out", changes());
    });
}

#[test]
fn a_grouped_table_goes_through_a_topic() {
    let grouped = || Grouped::with(string(), string());
    let swap = |k: &String, v: String| (v, k.clone());
    let longs = || Materialized::<String, i64>::with(string(), i64());
    let to_longs = || Produced::with(string(), optional(i64()));
    check("group_table", |b| {
        let counts = table(b, "in").group_by(swap, grouped()).count(Materialized::default());
        counts.to_stream().to("out", to_longs());
    });
    check("group_table_kinds", |b| {
        let rows = b.table("in", consumed(), Materialized::as_("store"));
        let rows = rows.filter(|_, _| true, unnamed()).group_by(swap, grouped());
        rows.count(longs()).to_stream().to("out", to_longs());
        let first = |x: String, _: String| x;
        rows.reduce(first, first, Materialized::as_("reduced")).to_stream().to("out", changes());
        rows.reduce(first, first, unnamed());
        rows.aggregate(|| 0, |_, _, t| t, |_, _, t| t, longs());
    });
    check("group_table_named", |b| {
        let rows = table(b, "in").group_by(swap, grouped().with_name("cities"));
        rows.named("counted").count(Materialized::as_("counts"));
        let first = |x: String, _: String| x;
        rows.reduce(first, first, unnamed());
    });
}
