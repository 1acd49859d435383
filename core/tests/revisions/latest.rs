//! `deduplicate_by_revision`: the last writer wins.

use tidemill_core::dsl::{Deduplicated, Materialized, StreamsBuilder};
use tidemill_core::revision::{LastRevision, Revisioned};
use tidemill_core::serdes::{json, optional, string};
use tidemill_core::topology::{Consumed, Produced, Topology};

use crate::common::{Run, Stream, Text, deduplicated, millis, revision, text, texts, topology};

fn latest(stream: &Stream, options: Deduplicated<Text, Text>) -> Stream {
    stream.try_deduplicate_by_revision(revision, options, Materialized::as_("last"))
}

fn plain() -> Topology {
    topology(|stream| latest(&stream, deduplicated()))
}

fn last(run: &Run, key: &str) -> Option<(i64, bool)> {
    let store = run.driver.timestamped_key_value_store::<Text, LastRevision>("last").unwrap();
    let found = store.get(&text(key)).unwrap();
    found.map(|found| (found.value.revision(), found.value.is_deleted()))
}

#[test]
fn rv1_the_same_event_twice_passes_once() {
    let run = Run::new(&plain());
    assert_eq!(run.send("tea", Some("2 cheap"), 1), ["2 cheap@1"]);
    assert_eq!(run.send("tea", Some("2 cheap"), 2), [""; 0]);
    assert_eq!(run.send("milk", Some("2 cheap"), 3), ["2 cheap@3"], "keys are apart");
    assert_eq!(run.uncounted(), (1, 0));
    assert_eq!(run.driver.changelog("last").unwrap().len(), 2, "an ignored record writes nothing");
}

#[test]
fn rv2_an_older_revision_after_a_newer_one_is_ignored() {
    let run = Run::new(&plain());
    assert_eq!(run.send("tea", Some("3 cheap"), 1), ["3 cheap@1"]);
    assert_eq!(run.send("tea", Some("2 dear"), 2), [""; 0]);
    assert_eq!(
        run.send("tea", Some("7 dear"), 0),
        ["7 dear@0"],
        "gaps and late times do not count"
    );
    assert_eq!(last(&run, "tea"), Some((7, false)));
    assert_eq!(run.uncounted(), (1, 0));
}

#[test]
fn rv8_a_deleted_key_goes_on_with_a_larger_revision_and_keeps_older_ones_out() {
    let run = Run::new(&plain());
    assert_eq!(run.send("tea", Some("5 a"), 1), ["5 a@1"]);
    assert_eq!(run.send("tea", None, 2), ["deleted@2"]);
    assert_eq!(last(&run, "tea"), Some((5, true)));
    assert_eq!(run.send("tea", None, 3), [""; 0], "it is deleted already");
    assert_eq!(run.send("tea", Some("5 a"), 4), [""; 0], "from before the deletion");
    assert_eq!(run.send("tea", Some("6 b"), 5), ["6 b@5"]);
    assert_eq!(last(&run, "tea"), Some((6, false)));
}

#[test]
fn rv8_a_tombstone_with_a_revision_is_compared_like_any_record() {
    let run = Run::new(&plain());
    assert_eq!(run.send("tea", Some("5 a"), 1), ["5 a@1"]);
    assert_eq!(run.delete("tea", 4, 2), [""; 0], "an old deletion does not delete the new");
    assert_eq!(run.delete("tea", 8, 3), ["deleted@3"]);
    assert_eq!(run.send("tea", Some("8 a"), 4), [""; 0]);
    assert_eq!(run.send("tea", Some("9 b"), 5), ["9 b@5"]);
    // of an unknown key it leaves its revision behind, too
    assert_eq!(run.delete("milk", 3, 6), ["deleted@6"]);
    assert_eq!(run.send("milk", Some("2 a"), 7), [""; 0]);
}

#[test]
fn rv8_a_counter_that_begins_anew_passes_once_the_deletion_is_forgotten() {
    let options = deduplicated().forget_deleted_after(millis(10));
    let run = Run::new(&topology(|stream| latest(&stream, options)));
    assert_eq!(run.send("tea", Some("5 a"), 0), ["5 a@0"]);
    assert_eq!(run.send("tea", None, 1), ["deleted@1"]);
    assert_eq!(run.send("tea", Some("1 b"), 11), [""; 0]);
    assert_eq!(run.send("tea", Some("1 b"), 21), [""; 0], "it was seen at 11");
    assert_eq!(run.send("milk", Some("1"), 32), ["1@32"]);
    assert_eq!(last(&run, "tea"), None);
    assert_eq!(run.send("tea", Some("1 b"), 32), ["1 b@32"]);
    // what is not deleted is kept for ever
    assert_eq!(run.send("milk", Some("1"), 10_000), [""; 0]);
}

#[test]
fn a_tombstone_of_a_key_never_seen_passes_and_leaves_nothing() {
    let run = Run::new(&plain());
    assert_eq!(run.send("tea", None, 1), ["deleted@1"]);
    assert_eq!(last(&run, "tea"), None);
    assert_eq!(run.entries("last"), 0);
}

#[test]
fn null_keys_are_dropped_and_values_without_revision_go_to_the_handler() {
    let run = Run::new(&plain());
    assert_eq!(run.send("", Some("1 a"), 1), [""; 0]);
    assert_eq!(run.uncounted(), (0, 1));
    let run = Run::dead_lettering(&plain());
    assert_eq!(run.send("tea", Some("? a"), 2), [""; 0]);
    assert_eq!(run.send("tea", Some("x a"), 2), [""; 0], "the closure fails");
    let dead = run.read("dead");
    let why = |name: &str| {
        let all = dead.iter().map(|letter| letter.headers.last(name).unwrap().value.clone());
        all.map(|value| String::from_utf8(value.unwrap()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        why("__streams.errors.message")[0],
        "the record has no revision (give its value one, or take it from a header)"
    );
    assert_eq!(
        dead.iter().map(|letter| &letter.value).collect::<Vec<_>>(),
        [&text("? a"), &text("x a")]
    );
    assert_eq!(run.send("tea", Some("1 a"), 3), ["1 a@3"]);
}

#[test]
fn revisions_may_be_negative_and_as_large_as_64_bits_allow() {
    let run = Run::new(&plain());
    for number in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(run.send("tea", Some(&number.to_string()), 1), [format!("{number}@1")]);
    }
    assert_eq!(run.send("tea", Some("0"), 1), [""; 0]);
}

#[test]
fn the_store_holds_the_revision_as_kafkas_long_in_its_changelog() {
    let run = Run::new(&plain());
    run.send("tea", Some("3"), 5);
    let changelog = run.driver.changelog("last").unwrap();
    assert_eq!(changelog[0].value.as_deref(), Some(&3_i64.to_be_bytes()[..]));
    assert_eq!(changelog[0].timestamp.0, 5);
}

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Price {
    #[serde(with = "tidemill_core::revision::text")]
    revision: i64,
}

impl Revisioned for Price {
    fn revision(&self) -> Option<i64> {
        Some(self.revision)
    }
}

#[test]
fn rv7_revisions_beyond_2_to_the_53_go_through_json_exactly() {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, Option<Price>>("in", Consumed::with(string(), optional(json())))
        .deduplicate_by_revision(
            Deduplicated::with(string(), optional(json())),
            Materialized::as_("last"),
        )
        .to("out", Produced::with(string(), optional(json())));
    let run = Run::new(&builder.build().unwrap());
    // equal as doubles
    let (older, newer) = ((1_i64 << 53) + 2_000, (1_i64 << 53) + 2_001);
    let json = |revision: i64| format!(r#"{{"revision":"{revision}"}}"#);
    assert_eq!(run.send("a", Some(&json(older)), 1), [json(older) + "@1"]);
    assert_eq!(run.send("a", Some(&json(newer)), 1), [json(newer) + "@1"]);
    assert_eq!(run.send("a", Some(&json(older)), 1), [""; 0]);
    // a reader that writes numbers is understood as long as they are exact
    let number = format!(r#"{{"revision":{}}}"#, i64::MAX);
    assert_eq!(run.send("a", Some(&number), 1), [json(i64::MAX) + "@1"]);
    assert_eq!(run.send("a", None, 1), ["deleted@1"]);
    assert_eq!(texts_of(&run), 1);
}

/// How many keys the store has.
fn texts_of(run: &Run) -> usize {
    let store = run.driver.timestamped_key_value_store::<String, LastRevision>("last").unwrap();
    store.range(..).unwrap().count()
}

#[test]
fn records_of_a_key_that_may_have_changed_meet_in_a_repartition_topic() {
    let topology = topology(|stream| {
        let keyed = stream.select_key(|_, value| value.as_ref().map(|v| v[2..].to_owned()));
        latest(&keyed, deduplicated())
    });
    let text = topology.describe().to_string();
    assert!(text.contains("Sink: last-repartition-sink (topic: last-repartition)"), "{text}");
    let run = Run::new(&topology);
    let mut input = run.driver.create_input_topic("in", texts(), texts()).unwrap();
    for value in ["2 tea", "1 tea", "1 milk"] {
        input.pipe_input(text_of("k"), text_of(value)).unwrap();
    }
    let seen: Vec<_> = run.read("out").into_iter().map(|r| (r.key, r.value)).collect();
    assert_eq!(seen, [(text_of("tea"), text_of("2 tea")), (text_of("milk"), text_of("1 milk"))]);
}

fn text_of(value: &str) -> Text {
    text(value)
}
