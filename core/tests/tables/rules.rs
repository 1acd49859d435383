//! Nulls, order and timestamps, one rule a test. The rules are those of Kafka Streams.

use tidemill_core::dsl::{Grouped, Joined, Materialized, StreamsBuilder};
use tidemill_core::revision::Revisioned;
use tidemill_core::serdes::{Encoded, Serde, SerdeError, optional, string};
use tidemill_core::topology::Consumed;

use super::support::{Run, bare, changes, stored, table, unnamed};

#[test]
fn a_null_value_deletes_and_a_null_key_is_dropped() {
    let run = Run::new(|b| table(b, "a", false).to_stream().to("out", changes()));
    run.check("a", "1", 10, &[("1", 10)]);
    run.check("a", "-", 11, &[("-", 11)]);
    // a deletion of what is not there is forwarded too
    run.check("a", "-", 12, &[("-", 12)]);
    assert_eq!(run.stored("a", "k"), None);
    run.pipe("a", "-", "lost", 13);
    assert_eq!(run.out(), []);
    assert_eq!(run.driver.counts().unwrap().1, 1);
}

#[test]
fn a_table_follows_offsets_and_not_timestamps() {
    let run = Run::new(|b| table(b, "a", false).to_stream().to("out", changes()));
    run.check("a", "new", 20, &[("new", 20)]);
    run.check("a", "old", 5, &[("old", 5)]);
    assert_eq!(run.stored("a", "k"), Some(("old".to_owned(), 5)));
}

#[test]
fn a_bare_table_forwards_without_a_store() {
    let run = Run::new(|b| bare(b, "a").to_stream().to("out", changes()));
    run.check("a", "1", 1, &[("1", 1)]);
    assert_eq!(run.driver.state_store_names().unwrap(), Vec::<String>::new());
}

#[test]
fn a_filter_turns_what_does_not_pass_into_a_deletion() {
    let long = |_: &String, v: &String| v.len() > 1;
    for kept in [false, true] {
        let run = Run::new(move |b| {
            let materialized = if kept { stored("kept") } else { unnamed() };
            bare(b, "a").filter(long, materialized).to_stream().to("out", changes());
        });
        run.check("a", "x", 1, &[("-", 1)]);
        run.check("a", "xx", 2, &[("xx", 2)]);
        run.check("a", "y", 3, &[("-", 3)]);
        run.check("a", "-", 4, &[("-", 4)]);
    }
}

#[test]
fn a_filter_keeps_back_nothing_to_nothing_where_old_values_are_known() {
    let long = |_: &String, v: &String| v.len() > 1;
    let run = Run::new(move |b| {
        // the outer join asks for old values
        let filtered = bare(b, "a").filter(long, unnamed());
        let both = |x: Option<&String>, y: Option<&String>| format!("{x:?}{y:?}");
        filtered.outer_join(&bare(b, "b"), both, unnamed()).to_stream().to("out", changes());
    });
    run.check("a", "x", 1, &[]);
    run.check("a", "xx", 2, &[("Some(\"xx\")None", 2)]);
    run.check("a", "y", 3, &[("-", 3)]);
    run.check("a", "-", 4, &[]);
}

#[test]
fn map_values_does_not_see_deletions() {
    let run = Run::new(|b| {
        let mapped = bare(b, "a").map_values(|v| format!("<{v}>"), stored("mapped"));
        mapped.to_stream().to("out", changes());
    });
    run.check("a", "1", 1, &[("<1>", 1)]);
    assert_eq!(run.stored("mapped", "k"), Some(("<1>".to_owned(), 1)));
    run.check("a", "-", 2, &[("-", 2)]);
    assert_eq!(run.stored("mapped", "k"), None);
}

#[test]
fn a_stream_becomes_a_table_with_and_without_nulls() {
    let run = Run::new(|b| {
        let stream = b.stream("a", Consumed::with(optional(string()), optional(string())));
        let materialized = Materialized::as_("latest")
            .with_key_serde(optional(string()))
            .with_value_serde(string());
        let latest = stream.to_table::<String>(materialized);
        latest.to_stream().map(|key, value| (key.unwrap_or_default(), value)).to("out", changes());
    });
    run.check("a", "1", 1, &[("1", 1)]);
    run.check("a", "-", 2, &[("-", 2)]);
    run.pipe("a", "-", "lost", 3);
    assert_eq!(run.driver.counts().unwrap().1, 1);
    let run = Run::new(|b| {
        let stream = b.stream("a", Consumed::with(string(), string()));
        let upper = stream.map_values(|v| v.to_uppercase());
        upper.to_table::<String>(stored("latest")).to_stream().to("out", changes());
    });
    run.check("a", "x", 1, &[("X", 1)]);
}

/// Orders, which may have null keys and values, with a table of names.
fn join_stream(b: &StreamsBuilder, left: bool) {
    let nulls = || Consumed::with(optional(string()), optional(string()));
    let consumed = Consumed::with(optional(string()), string());
    let names = b.table("names", consumed, Materialized::default());
    let orders = b.stream("orders", nulls());
    let joined = Joined::with(optional(string()), optional(string()));
    let text = |order: Option<String>| order.unwrap_or_default();
    let out = if left {
        orders.left_join_table(&names, move |o, n| format!("{}/{n:?}", text(o)), joined)
    } else {
        orders.join_table(&names, move |o, n| format!("{}/{n}", text(o)), joined)
    };
    out.map(|key, value| (key.unwrap_or_default(), Some(value))).to("out", changes());
}

#[test]
fn a_stream_joined_with_a_table_sees_what_is_there_at_that_moment() {
    let run = Run::new(|b| join_stream(b, false));
    run.check("orders", "1", 1, &[]);
    run.check("names", "ann", 50, &[]);
    // the stream's own timestamp
    run.check("orders", "2", 7, &[("2/ann", 7)]);
    run.check("orders", "-", 8, &[]);
    run.check("names", "-", 60, &[]);
    run.check("orders", "3", 9, &[]);
    run.pipe("orders", "-", "4", 10);
    assert_eq!(run.out(), []);
    assert_eq!(run.driver.counts().unwrap().1, 2);
}

#[test]
fn a_left_join_with_a_table_takes_what_finds_nothing_and_null_keys() {
    let run = Run::new(|b| join_stream(b, true));
    run.check("orders", "1", 1, &[("1/None", 1)]);
    run.check("names", "ann", 50, &[]);
    run.check("orders", "2", 7, &[("2/Some(\"ann\")", 7)]);
    run.check("orders", "-", 8, &[]);
    run.pipe("orders", "-", "4", 10);
    assert_eq!(run.out(), [(String::new(), "4/None".to_owned(), 10)]);
    assert_eq!(run.driver.counts().unwrap().1, 1);
}

#[test]
fn an_inner_join_of_tables_needs_both_and_takes_the_larger_timestamp() {
    let run = Run::new(|b| {
        let both = bare(b, "a").join(&bare(b, "b"), |x, y| format!("{x}{y}"), unnamed());
        both.to_stream().to("out", changes());
    });
    run.check("a", "1", 10, &[]);
    run.check("b", "x", 5, &[("1x", 10)]);
    run.check("a", "2", 3, &[("2x", 5)]);
    run.check("b", "-", 6, &[("-", 6)]);
    // the other side has nothing: not even the deletion is told
    run.check("a", "-", 7, &[]);
    run.check("b", "y", 8, &[]);
    // a store that caches does not tell that nothing became nothing, as in Kafka Streams
    run.check("a", "-", 9, &[]);
    let run = Run::new(|b| {
        let (x, y) = (table(b, "a", false), table(b, "b", false));
        x.join(&y, |x, y| format!("{x}{y}"), unnamed()).to_stream().to("out", changes());
    });
    run.check("b", "y", 8, &[]);
    // without caching it is a deletion all the same
    run.check("a", "-", 9, &[("-", 9)]);
}

#[test]
fn a_left_join_of_tables_follows_the_left_one() {
    let run = Run::new(|b| {
        let joined = bare(b, "a").left_join(&bare(b, "b"), |x, y| format!("{x}{y:?}"), unnamed());
        joined.to_stream().to("out", changes());
    });
    run.check("b", "x", 1, &[]);
    run.check("a", "1", 2, &[("1Some(\"x\")", 2)]);
    run.check("b", "-", 3, &[("1None", 3)]);
    run.check("a", "-", 4, &[("-", 4)]);
    run.check("a", "-", 5, &[]);
}

#[test]
fn an_outer_join_of_tables_needs_one() {
    let run = Run::new(|b| {
        let text = |v: Option<&String>| v.cloned().unwrap_or_else(|| "_".to_owned());
        let both = move |x: Option<&String>, y: Option<&String>| text(x) + &text(y);
        bare(b, "a").outer_join(&bare(b, "b"), both, unnamed()).to_stream().to("out", changes());
    });
    run.check("b", "x", 1, &[("_x", 1)]);
    run.check("a", "1", 2, &[("1x", 2)]);
    run.check("b", "-", 3, &[("1_", 3)]);
    run.check("a", "-", 4, &[("-", 4)]);
    run.check("b", "-", 5, &[]);
}

#[test]
fn a_table_joined_with_itself_reads_one_store() {
    let run = Run::new(|b| {
        let a = bare(b, "a");
        a.join(&a, |x, y| format!("{x}{y}"), unnamed()).to_stream().to("out", changes());
    });
    // both sides see the change: two updates with the same value
    run.check("a", "1", 1, &[("11", 1), ("11", 1)]);
}

#[test]
fn a_group_subtracts_the_old_row_before_it_adds_the_new_one() {
    let run = Run::new(|b| {
        let rows = table(b, "a", false).group_by(
            |_, value| (value[..1].to_owned(), value[1..].to_owned()),
            Grouped::with(string(), string()),
        );
        let reduced = rows.reduce(
            |so_far, new| format!("{so_far}+{new}"),
            |so_far, old| format!("{so_far}-{old}"),
            stored("reduced"),
        );
        reduced.to_stream().to("out", changes());
    });
    let pipe = |key: &str, value: &str, at: i64| {
        run.pipe("a", key, value, at);
        run.out()
    };
    let line = |key: &str, value: &str, at: i64| (key.to_owned(), value.to_owned(), at);
    assert_eq!(pipe("k", "x1", 10), [line("x", "1", 10)]);
    // within the group in one step, with the larger timestamp
    assert_eq!(pipe("k", "x2", 5), [line("x", "1-1+2", 10)]);
    // from one group to another in two
    assert_eq!(pipe("k", "y3", 7), [line("x", "1-1+2-2", 10), line("y", "3", 7)]);
    assert_eq!(pipe("k", "-", 8), [line("y", "3-3", 8)]);
}

/// A price: cents and revision, written `cents@revision`.
#[derive(Clone)]
struct Price(String);

impl Revisioned for Price {
    fn revision(&self) -> Option<i64> {
        self.0.split_once('@')?.1.parse().ok()
    }
}

struct PriceSerde;

impl Serde<Price> for PriceSerde {
    fn serialize(
        &self,
        topic: &str,
        value: &Price,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        string().serialize(topic, &value.0, out)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Price, SerdeError> {
        string().deserialize(topic, bytes).map(Price)
    }
}

/// A guarded table of a topic, or of a stream whose key changed.
fn guarded(b: &StreamsBuilder, of_stream: bool) {
    let kept = Materialized::as_("prices").with_value_serde(PriceSerde).with_caching_disabled();
    let kept = kept.with_revision();
    let prices = if of_stream {
        let stream = b.stream("a", Consumed::with(string(), optional(PriceSerde)));
        stream.select_key(|key, _| key.clone()).to_table(kept.with_key_serde(string()))
    } else {
        b.table("a", Consumed::with(string(), PriceSerde), kept)
    };
    prices.to_stream().map_values(|price| price.map(|price| price.0)).to("out", changes());
}

#[test]
fn rv2_a_guarded_table_keeps_its_newest_revision() {
    for of_stream in [false, true] {
        let run = Run::new(|b| guarded(b, of_stream));
        run.check("a", "2@2", 1, &[("2@2", 1)]);
        run.check("a", "1@3", 2, &[("1@3", 2)]);
        run.check("a", "1@3", 3, &[]);
        run.check("a", "2@2", 4, &[]);
        assert_eq!(run.driver.ignored().unwrap(), 2);
        run.check("a", "-", 5, &[("-", 5)]);
        // what is older than the deletion stays out
        run.check("a", "2@2", 6, &[]);
        run.check("a", "5@4", 7, &[("5@4", 7)]);
        assert_eq!(run.driver.ignored().unwrap(), 3);
        let names = run.driver.state_store_names().unwrap();
        assert_eq!(names, ["prices-revisions", "prices"]);
    }
}

#[test]
fn a_guard_where_there_is_none_is_refused() {
    let builder = StreamsBuilder::new();
    let consumed = || Consumed::with(string(), PriceSerde);
    let prices = builder.table("a", consumed(), Materialized::default());
    prices.filter(|_, _| true, Materialized::as_("some").with_revision());
    let refused = builder.build().unwrap_err().to_string();
    assert!(refused.contains("KTABLE-FILTER-0000000003: Materialized::with_revision"), "{refused}");
}
