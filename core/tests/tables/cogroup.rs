//! Streams that are aggregated together, against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill_core::dsl::{Grouped, StreamsBuilder};
use tidemill_core::serdes::string;
use tidemill_core::topology::Consumed;

use super::support::{Run, changes, stored};

/// Topic, key, value, timestamp.
type Step = (&'static str, String, String, i64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let topic = prop_oneof![Just("a"), Just("b"), Just("c")];
    prop::collection::vec((topic, "[k-n]", "[x-z]{0,2}", 0..40_i64), 1..60)
}

/// `a` appends, `b` puts before and fails on "x", `c` deletes where the value is shorter than 2.
fn topology(builder: &StreamsBuilder) {
    let grouped = |topic| {
        let stream = builder.stream(topic, Consumed::with(string(), string()));
        stream.group_by_key(Grouped::with(string(), string()))
    };
    grouped("a")
        .cogroup(|_, value: String, so_far: String| so_far + &value)
        .try_cogroup(&grouped("b"), |_, value: String, so_far| match &*value {
            "x" => Err("x is refused".into()),
            _ => Ok(value + &so_far),
        })
        .cogroup(&grouped("c"), |_, value, so_far| (value.len() == 2).then_some(so_far))
        .aggregate(|| "-".to_owned(), stored("all"))
        .to_stream()
        .to("out", changes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn streams_of_a_cogroup_share_one_value(steps in steps()) {
        let run = Run::new(topology);
        let mut values = BTreeMap::<String, (String, i64)>::new();
        for (topic, key, value, at) in &steps {
            run.pipe(topic, key, value, *at);
            let found = values.get(key).cloned();
            let (before, latest) = found.unwrap_or_else(|| ("-".to_owned(), *at));
            let at = latest.max(*at);
            let after = match *topic {
                "a" => Some(before + value),
                "b" if value == "x" => {
                    prop_assert_eq!(run.out(), []);
                    continue;
                }
                "b" => Some(value.clone() + &before),
                _ => (value.len() == 2).then_some(before),
            };
            let text = after.clone().unwrap_or_else(|| "-".to_owned());
            prop_assert_eq!(run.out(), [(key.clone(), text, at)]);
            match after {
                Some(after) => values.insert(key.clone(), (after, at)),
                None => values.remove(key),
            };
        }
        for key in ["k", "l", "m", "n"] {
            prop_assert_eq!(run.stored("all", key), values.get(key).cloned());
        }
    }
}

#[test]
fn streams_of_two_builders_are_refused() {
    let (one, other) = (StreamsBuilder::new(), StreamsBuilder::new());
    let grouped = |builder: &StreamsBuilder| {
        let stream = builder.stream("t", Consumed::with(string(), string()));
        stream.group_by_key(Grouped::with(string(), string()))
    };
    let add = |_: &String, value: String, so_far: String| so_far + &value;
    let both = grouped(&one).cogroup(add).cogroup(&grouped(&other), add);
    both.named("both").aggregate(String::new, stored("store"));
    let error = one.build().unwrap_err().to_string();
    assert!(error.contains("must come from the same StreamsBuilder"), "{error}");
}
