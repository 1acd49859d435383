//! `deduplicate_by_id`: an id passes once in a window of stream time.

use tidemill_core::dsl::{DeduplicationWindow, LateRecords, Materialized, StreamsBuilder};
use tidemill_core::topology::{Consumed, Topology};

use crate::common::{Run, Text, millis, text, texts, topology};

fn window(millis_: u64, late: LateRecords) -> Topology {
    let window = DeduplicationWindow::of(millis(millis_)).with_late_records(late);
    topology(|stream| {
        let ids = Materialized::as_("ids").with_key_serde(texts());
        stream.deduplicate_by_id(|value| value.clone(), window, ids)
    })
}

#[test]
fn rv1_an_id_passes_once_within_the_window_whatever_the_key() {
    let run = Run::new(&window(10, LateRecords::Drop));
    assert_eq!(run.send("k", Some("a"), 100), ["a@100"]);
    assert_eq!(run.send("k", Some("a"), 110), [""; 0]);
    assert_eq!(run.send("other", Some("a"), 110), [""; 0]);
    assert_eq!(run.send("k", Some("b"), 110), ["b@110"]);
    assert_eq!(run.uncounted(), (2, 0));
    // repetitions do not prolong the window
    assert_eq!(run.send("k", Some("a"), 111), ["a@111"]);
    assert_eq!((run.entries("ids"), run.entries("ids-expiry")), (2, 2));
}

#[test]
fn a_record_older_than_the_window_is_dropped_so_nothing_passes_twice() {
    let run = Run::new(&window(10, LateRecords::Drop));
    assert_eq!(run.send("k", Some("a"), 100), ["a@100"]);
    assert_eq!(run.send("k", Some("b"), 111), ["b@111"], "a is forgotten now");
    assert_eq!(run.send("k", Some("a"), 100), [""; 0]);
    assert_eq!(run.uncounted(), (0, 1));
    assert_eq!(run.send("k", Some("c"), 101), ["c@101"], "late, but within the window");
    assert_eq!(run.send("k", Some("c"), 101), [""; 0]);
}

#[test]
fn a_record_older_than_the_window_can_pass_but_only_if_its_id_is_not_known() {
    let run = Run::new(&window(10, LateRecords::Pass));
    assert_eq!(run.send("k", Some("a"), 100), ["a@100"]);
    assert_eq!(run.send("k", Some("b"), 111), ["b@111"]);
    assert_eq!(run.send("k", Some("a"), 100), ["a@100"], "it passes twice");
    assert_eq!(run.send("k", Some("a"), 100), [""; 0], "but is known again");
    assert_eq!(run.uncounted(), (1, 0));
}

#[test]
fn null_ids_are_dropped_and_null_keys_are_not_looked_at() {
    let run = Run::new(&window(10, LateRecords::Drop));
    assert_eq!(run.send("k", None, 1), [""; 0]);
    assert_eq!(run.uncounted(), (0, 1));
    assert_eq!(run.send("", Some("a"), 1), ["a@1"]);
    assert_eq!(run.send("", Some("a"), 1), [""; 0]);
}

#[test]
fn a_closure_that_fails_goes_to_the_handler() {
    let window = DeduplicationWindow::of(millis(10));
    let topology = topology(|stream| {
        let ids = Materialized::as_("ids").with_key_serde(texts());
        let id = |value: &Text| value.clone().filter(|v| v != "bad").ok_or("no id".into());
        stream.try_deduplicate_by_id(move |value| id(value).map(Some), window, ids)
    });
    let run = Run::dead_lettering(&topology);
    assert_eq!(run.send("k", Some("bad"), 1), [""; 0]);
    assert_eq!(run.read("dead")[0].value, text("bad"));
    assert_eq!(run.send("k", Some("good"), 1), ["good@1"]);
}

#[test]
fn a_window_of_ids_needs_a_serde_of_the_id() {
    let builder = StreamsBuilder::new();
    let stream = builder.stream::<Text, Text>("in", Consumed::with(texts(), texts()));
    let window = DeduplicationWindow::of(millis(10));
    stream.deduplicate_by_id(|value| value.clone(), window, Materialized::as_("ids"));
    assert_eq!(
        builder.build().unwrap_err().to_string(),
        "KSTREAM-DEDUPLICATE-0000000001: no key serde is given (Materialized::with or \
         with_key_serde)",
    );
}
