//! Random histories of two tables, compared with the join of two maps.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill_core::dsl::{StreamsBuilder, TableJoined};
use tidemill_core::serdes::string;

use crate::support::{Run, Table, bare, changes, stored, table, unnamed};

/// Topic, key, value (`-` deletes).
type Step = (&'static str, String, String);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = |topic| if topic == "l" { "[k-n]" } else { "[a-d]" };
    let value = prop_oneof![3 => "[a-d_][x-z]{1,2}", 1 => Just("-".to_owned())];
    let step = prop_oneof![Just("l"), Just("o")]
        .prop_flat_map(move |topic| (Just(topic), key(topic), value.clone()));
    proptest::collection::vec(step, 1..60)
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    left: bool,
    cached: bool,
    kept: bool,
    /// Whether both tables are computed from the ones of the topics.
    derived: bool,
}

fn shape() -> impl Strategy<Value = Shape> {
    any::<(bool, bool, bool, bool)>().prop_map(|(left, cached, kept, derived)| Shape {
        left,
        cached,
        kept,
        derived,
    })
}

/// A row refers to what its first letter says; `_` is nothing.
fn foreign(value: &str) -> Option<String> {
    Some(value[..1].to_owned()).filter(|key| key != "_")
}

fn topology(builder: &StreamsBuilder, shape: Shape) -> Table {
    let source = |topic| {
        if shape.cached { table(builder, topic, true) } else { bare(builder, topic) }
    };
    let (mut l, mut o) = (source("l"), source("o"));
    if shape.derived {
        l = l.filter(|_, value| !value.ends_with('z'), stored("filtered"));
        o = o.filter(|_, value| !value.ends_with('z'), stored("others"));
    }
    let unstored = unnamed().with_key_serde(string()).with_value_serde(string());
    let into = if shape.kept { stored("joined") } else { unstored };
    let by = |_: &String, value: &String| foreign(value);
    if shape.left {
        let joiner = |l: &String, o: Option<&String>| format!("{l}+{}", o.map_or("", |o| &**o));
        l.left_join_on_foreign_key(&o, by, joiner, TableJoined::default(), into)
    } else {
        let joiner = |l: &String, o: &String| format!("{l}+{o}");
        l.join_on_foreign_key(&o, by, joiner, TableJoined::default(), into)
    }
}

type Rows = BTreeMap<String, String>;

fn model(shape: Shape, l: &Rows, o: &Rows) -> Rows {
    let there = |value: &&String| !shape.derived || !value.ends_with('z');
    let join = |value: &String| {
        let found = foreign(value).and_then(|key| o.get(&key)).filter(there);
        let found =
            if shape.left { Some(found.map_or("", |found| found)) } else { found.map(|f| &**f) };
        found.map(|found| format!("{value}+{found}"))
    };
    let rows = l.iter().filter(|(_, value)| there(value));
    rows.filter_map(|(key, value)| Some((key.clone(), join(value)?))).collect()
}

fn write(rows: &mut Rows, key: String, value: String) {
    if value == "-" {
        rows.remove(&key);
    } else {
        rows.insert(key, value);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_came_out_is_the_join_of_what_is_there(steps in steps(), shape in shape()) {
        let run = Run::new(|builder| topology(builder, shape).to_stream().to("out", changes()));
        let (mut l, mut o, mut result) = (Rows::new(), Rows::new(), Rows::new());
        for ((topic, key, value), at) in steps.into_iter().zip(1..) {
            run.pipe(topic, &key, &value, at);
            write(if topic == "l" { &mut l } else { &mut o }, key, value);
            for (key, value, _) in run.out() {
                write(&mut result, key, value);
            }
            // what was forwarded adds up to what the tables say, after each step
            prop_assert_eq!(&result, &model(shape, &l, &o));
            if shape.kept {
                for key in ["k", "l", "m", "n"] {
                    let kept = run.stored("joined", key).map(|(value, _)| value);
                    prop_assert_eq!(kept.as_ref(), result.get(key));
                }
            }
        }
    }

    /// A join of the join by another foreign key: what is unnamed is kept if somebody reads it.
    #[test]
    fn a_join_of_a_join_is_right(steps in steps(), shape in shape()) {
        let run = Run::new(|builder| {
            let joined = topology(builder, shape);
            let o = bare(builder, "second");
            joined
                .join_on_foreign_key(
                    &o,
                    |key, value| Some(format!("{key}{}", &value[..1])),
                    |value, other| format!("{value}/{other}"),
                    TableJoined::as_("again"),
                    unnamed(),
                )
                .to_stream()
                .to("out", changes());
        });
        let second: Rows = ["ka", "lb", "mc", "n_"]
            .into_iter()
            .map(|key| (key.to_owned(), format!("of {key}")))
            .collect();
        for (key, value) in &second {
            run.pipe("second", key, value, 0);
        }
        let (mut l, mut o, mut result) = (Rows::new(), Rows::new(), Rows::new());
        for ((topic, key, value), at) in steps.into_iter().zip(1..) {
            run.pipe(topic, &key, &value, at);
            write(if topic == "l" { &mut l } else { &mut o }, key, value);
            for (key, value, _) in run.out() {
                write(&mut result, key, value);
            }
            let both = model(shape, &l, &o).into_iter().filter_map(|(key, value)| {
                let other = second.get(&format!("{key}{}", &value[..1]))?;
                Some((key, format!("{value}/{other}")))
            });
            prop_assert_eq!(&result, &both.collect::<Rows>());
        }
    }
}
