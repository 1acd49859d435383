//! Random histories of two tables and a stream, compared with maps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill_core::dsl::{Joined, StreamsBuilder};
use tidemill_core::serdes::string;
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

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
