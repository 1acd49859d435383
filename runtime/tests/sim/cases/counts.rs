//! Counts of the DSL: a cached aggregation behind a repartition topic, one output a key and commit.

use std::collections::BTreeMap;

use tidemill::dsl::{Grouped, Materialized, StreamsBuilder};
use tidemill::serdes;
use tidemill::simulation::{Inputs, View};
use tidemill::topology::{Consumed, Produced, Topology, TopologyError};

use super::{below, fail_unless_equal, i64_of, text, text_of};

const INPUT: &str = "words";
const OUTPUT: &str = "counts";
const STORE: &str = "counted";

pub(crate) fn topology() -> Result<Topology, TopologyError> {
    let builder = StreamsBuilder::new();
    let counted = Materialized::as_(STORE).with_key_serde(serdes::string());
    builder
        .stream(INPUT, Consumed::with(serdes::string(), serdes::string()))
        .group_by(
            |_, word: &String| word.clone(),
            Grouped::with(serdes::string(), serdes::string()).with_name("by-word"),
        )
        .count(counted)
        .to_stream()
        .to(OUTPUT, Produced::with(serdes::string(), serdes::optional(serdes::i64())));
    builder.build()
}

pub(crate) fn inputs(records: i64) -> Inputs {
    let words = (0..records).map(|n| (format!("line-{}", n % 17), format!("word-{}", n * n % 19)));
    Inputs::new().topic(INPUT, &serdes::string(), &serdes::string(), words)
}

/// The last output of each word is its count, and so is what the store has; counts only grow.
pub(crate) fn holds(view: &View<'_>) -> Result<(), String> {
    let between = view.internal_topic("by-word-repartition");
    for partition in view.partitions(&between) {
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        for record in below(view, &between, partition) {
            *expected.entry(text_of(&record.value)).or_default() += 1;
        }
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        for record in view.records(OUTPUT, partition) {
            let (word, count) = (text_of(&record.key), i64_of(&record.value));
            let before = last.insert(word.clone(), count).unwrap_or(0);
            if count <= before {
                return Err(format!("the count of {word} went from {before} to {count}"));
            }
        }
        let expected: Vec<_> = expected.into_iter().collect();
        let last: Vec<_> = last.into_iter().collect();
        fail_unless_equal(&format!("outputs of partition {partition}"), &last, &expected)?;
        let stored = view.store(STORE, partition).into_iter();
        let stored: Vec<_> = stored.map(|(key, value)| (text(key), i64_of(&Some(value)))).collect();
        fail_unless_equal(&format!("store of partition {partition}"), &stored, &expected)?;
    }
    if view.is_final() {
        let sent: usize = view.partitions(INPUT).map(|one| view.records(INPUT, one).count()).sum();
        let between = view.partitions(&between).map(|one| view.records(&between, one).count());
        fail_unless_equal("records of the repartition topic", &[between.sum()], &[sent])?;
    }
    Ok(())
}
