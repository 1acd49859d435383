//! Random histories of two tables and a stream, compared with maps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidemill_core::dsl::{Grouped, Joined, Materialized, StreamsBuilder};
use tidemill_core::serdes::{json, optional, string};
use tidemill_core::topology::Consumed;

use super::support::{Run, bare, changes, stored, table, unnamed};

/// Topic, key, value (`-` deletes).
type Step = (&'static str, String, String);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let topic = prop_oneof![Just("a"), Just("b"), Just("s")];
    let value = prop_oneof![2 => "[a-d]{1,2}", 1 => Just("-".to_owned())];
    proptest::collection::vec((topic, "[k-n]", value), 1..60)
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Inner,
    Left,
    Outer,
}

fn text(value: Option<&String>) -> String {
    value.map_or_else(|| "_".to_owned(), Clone::clone)
}

/// The join of `a`, filtered, with `b`, mapped: all that a table can be in one.
fn topology(builder: &StreamsBuilder, kind: Kind, cached: bool, kept: bool) {
    let a = if cached { table(builder, "a", true) } else { bare(builder, "a") };
    let a = a.filter(|_, v| v.len() > 1, if kept { stored("kept") } else { unnamed() });
    let b = bare(builder, "b").map_values(|v| v.to_uppercase(), unnamed());
    let into = if kept { stored("joined") } else { unnamed() };
    let joined = match kind {
        Kind::Inner => a.join(&b, |x, y| format!("{x}{y}"), into),
        Kind::Left => a.left_join(&b, |x, y| format!("{x}{}", text(y)), into),
        Kind::Outer => a.outer_join(&b, |x, y| format!("{}{}", text(x), text(y)), into),
    };
    joined.to_stream().to("out", changes());
    // what the stream finds in the join at each moment
    let stream = builder.stream("s", Consumed::with(string(), string()));
    let found = stream.left_join_table(&joined, |_, found| text(found), Joined::default());
    found.map_values(Some).to("out", changes());
}

fn model(kind: Kind, a: Option<&String>, b: Option<&String>) -> Option<String> {
    let a = a.filter(|v| v.len() > 1);
    let b = b.map(|v| v.to_uppercase());
    match kind {
        Kind::Inner => Some(format!("{}{}", a?, b?)),
        Kind::Left => Some(format!("{}{}", a?, text(b.as_ref()))),
        Kind::Outer if a.is_none() && b.is_none() => None,
        Kind::Outer => Some(text(a) + &text(b.as_ref())),
    }
}

/// Members of each group, and their values joined: what a subtraction must take back.
fn grouped(builder: &StreamsBuilder, kept: bool) {
    let rows = if kept { table(builder, "a", true) } else { bare(builder, "a") };
    // a value "xy" is a row y of group x; one of a single letter is in no group
    let grouped = Grouped::with(optional(string()), string());
    let rows = rows.group_by(
        |key, value| {
            let (group, rest) = value.split_at(1);
            let group = (!rest.is_empty()).then(|| group.to_owned());
            (group, format!("{key}{rest}"))
        },
        grouped,
    );
    let add = |_: &Option<String>, row: String, mut all: BTreeSet<String>| {
        assert!(all.insert(row), "a row is added twice");
        all
    };
    let take = |_: &Option<String>, row: String, mut all: BTreeSet<String>| {
        assert!(all.remove(&row), "a row is taken that was not added");
        all
    };
    let sets = Materialized::as_("sets").with_value_serde(json());
    let sets = rows.aggregate(BTreeSet::new, add, take, sets);
    let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(",");
    let lists = sets.to_stream().map(move |group, set| (group.unwrap_or_default(), set.map(list)));
    lists.to("out", changes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_in_a_group_is_what_the_table_says(steps in steps(), kept: bool) {
        let run = Run::new(|builder| grouped(builder, kept));
        let mut rows: BTreeMap<String, String> = BTreeMap::new();
        let mut result: BTreeMap<String, String> = BTreeMap::new();
        let steps = steps.into_iter().filter(|(topic, ..)| *topic == "a");
        for ((_, key, value), at) in steps.zip(1..) {
            run.pipe("a", &key, &value, at);
            if value == "-" { rows.remove(&key) } else { rows.insert(key, value) };
            result.extend(run.out().into_iter().map(|(group, list, _)| (group, list)));
            let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (key, value) in rows.iter().filter(|(_, value)| value.len() > 1) {
                let group = expected.entry(value[..1].to_owned()).or_default();
                group.insert(format!("{key}{}", &value[1..]));
            }
            let expected: BTreeMap<String, String> = expected
                .into_iter()
                .map(|(group, set)| (group, set.into_iter().collect::<Vec<_>>().join(",")))
                .collect();
            let mut seen = result.clone();
            seen.retain(|_, list| !list.is_empty());
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn what_came_out_of_a_join_is_the_join_of_what_is_there(
        steps in steps(),
        kind in prop_oneof![Just(Kind::Inner), Just(Kind::Left), Just(Kind::Outer)],
        cached: bool,
        kept: bool,
    ) {
        let run = Run::new(|builder| topology(builder, kind, cached, kept));
        let mut tables: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
        let mut result: BTreeMap<String, String> = BTreeMap::new();
        for ((topic, key, value), at) in steps.into_iter().zip(1..) {
            let value = if topic == "s" { "?".to_owned() } else { value };
            run.pipe(topic, &key, &value, at);
            let out = run.out();
            if topic != "s" {
                let table = tables.entry(topic).or_default();
                if value == "-" { table.remove(&key) } else { table.insert(key.clone(), value) };
            }
            let of = |topic: &str| tables.get(topic).and_then(|table| table.get(&key));
            let expected = model(kind, of("a"), of("b"));
            if topic == "s" {
                let found = expected.unwrap_or_else(|| "_".to_owned());
                prop_assert_eq!(out, vec![(key, found, at)]);
                continue;
            }
            for (of, value, _) in out {
                prop_assert_eq!(&of, &key);
                if value == "-" { result.remove(&key) } else { result.insert(of, value) };
            }
            // what was forwarded adds up to what the tables say, after each step
            prop_assert_eq!(result.get(&key), expected.as_ref());
        }
    }
}
