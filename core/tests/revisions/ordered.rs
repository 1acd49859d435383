//! `in_revision_order`: each revision passes after the one before it.

use tidemill_core::dsl::{Materialized, ParkingFull, RevisionOrder};
use tidemill_core::record::{Headers, Record, Timestamp};
use tidemill_core::revision::RevisionProgress;
use tidemill_core::topology::Topology;

use crate::common::{Run, Text, from_one, revision, text, texts, topology};

fn ordered(order: RevisionOrder<Text, Text>) -> Topology {
    topology(|stream| stream.try_in_revision_order(revision, order, Materialized::as_("progress")))
}

fn progress(run: &Run, key: &str) -> Option<(Option<i64>, u32)> {
    let store = run.driver.timestamped_key_value_store::<Text, RevisionProgress>("progress");
    let found = store.unwrap().get(&text(key)).unwrap();
    found.map(|found| (found.value.last(), found.value.parked()))
}

#[test]
fn rv1_the_same_event_twice_passes_once_also_while_it_waits() {
    let run = Run::new(&ordered(from_one()));
    assert_eq!(run.send("a", Some("1"), 1), ["1@1"]);
    assert_eq!(run.send("a", Some("1"), 2), [""; 0]);
    assert_eq!(run.send("a", Some("3"), 3), [""; 0]);
    assert_eq!(run.send("a", Some("3"), 4), [""; 0]);
    assert_eq!(run.uncounted(), (2, 0));
    assert_eq!(progress(&run, "a"), Some((Some(1), 1)));
    assert_eq!(run.send("a", Some("2"), 5), ["2@5", "3@3"]);
    assert_eq!(run.send("a", Some("3"), 6), [""; 0]);
    assert_eq!(progress(&run, "a"), Some((Some(3), 0)));
    assert_eq!(run.entries("progress-parked"), 0);
}

#[test]
fn rv2_what_comes_early_waits_per_key_until_the_gap_is_filled() {
    let run = Run::new(&ordered(from_one()));
    assert_eq!(run.send("a", Some("3 c"), 1), [""; 0]);
    assert_eq!(run.send("a", Some("2 b"), 2), [""; 0]);
    assert_eq!(run.send("a", Some("5 e"), 3), [""; 0]);
    assert_eq!(run.send("b", Some("1"), 4), ["1@4"], "another key does not wait");
    assert_eq!(progress(&run, "a"), Some((None, 3)));
    assert_eq!(run.send("a", Some("1 a"), 5), ["1 a@5", "2 b@2", "3 c@1"]);
    assert_eq!(run.send("a", Some("4 d"), 6), ["4 d@6", "5 e@3"]);
    assert_eq!(run.uncounted(), (0, 0));
}

#[test]
fn rv2_a_gap_can_be_refused_then_the_key_waits_for_the_missing_revision() {
    let run = Run::dead_lettering(&ordered(from_one().reject_gaps()));
    assert_eq!(run.send("a", Some("1"), 1), ["1@1"]);
    assert_eq!(run.send("a", Some("3"), 2), [""; 0]);
    let dead = run.read("dead");
    let why = dead[0].headers.last("__streams.errors.message").unwrap().value.clone();
    assert_eq!(
        String::from_utf8(why.unwrap()).unwrap(),
        "revision 3 came where 2 was expected: what lies between was lost or is late (park records \
         to wait for it)",
    );
    assert_eq!(run.send("a", Some("2"), 3), ["2@3"]);
    assert_eq!(run.send("a", Some("3"), 4), ["3@4"]);
    assert_eq!(run.driver.state_store_names().unwrap(), ["progress"]);
}

#[test]
fn a_full_parking_rejects_the_record_and_keeps_the_others() {
    let run = Run::dead_lettering(&ordered(from_one().park_up_to(2, ParkingFull::Reject)));
    for early in ["3", "4", "5", "3"] {
        assert_eq!(run.send("a", Some(early), 1), [""; 0]);
    }
    let dead = run.read("dead");
    assert_eq!(dead.iter().map(|letter| &letter.value).collect::<Vec<_>>(), [&text("5")]);
    let why = dead[0].headers.last("__streams.errors.message").unwrap().value.clone();
    assert_eq!(
        String::from_utf8(why.unwrap()).unwrap(),
        "revision 5 came where 1 was expected, and 2 records of its key already wait (raise the \
         limit of park_up_to, or let it skip the gap)",
    );
    assert_eq!(run.send("a", Some("1"), 2), ["1@2"]);
    assert_eq!(run.send("a", Some("2"), 3), ["2@3", "3@1", "4@1"]);
    assert_eq!(run.send("a", Some("5"), 4), ["5@4"]);
}

#[test]
fn a_full_parking_can_give_up_what_is_missing() {
    let run = Run::new(&ordered(from_one().park_up_to(2, ParkingFull::SkipGap)));
    assert_eq!(run.send("a", Some("8"), 1), [""; 0]);
    assert_eq!(run.send("a", Some("4"), 2), [""; 0]);
    assert_eq!(run.send("a", Some("3"), 3), ["3@3", "4@2"], "1 and 2 are given up, 5 is not");
    assert_eq!(progress(&run, "a"), Some((Some(4), 1)));
    assert_eq!(run.send("a", Some("2"), 4), [""; 0], "too late");
    assert_eq!(run.send("a", Some("9"), 5), [""; 0]);
    assert_eq!(run.send("a", Some("11"), 6), ["8@1", "9@5"]);
    let run = Run::new(&ordered(from_one().park_up_to(0, ParkingFull::SkipGap)));
    assert_eq!(run.send("a", Some("8"), 1), ["8@1"], "none may wait");
}

#[test]
fn a_key_can_begin_with_what_is_seen_first() {
    let run = Run::new(&ordered(RevisionOrder::starting_anywhere(texts(), texts())));
    assert_eq!(run.send("a", Some("7"), 1), ["7@1"]);
    assert_eq!(run.send("a", Some("6"), 2), [""; 0]);
    assert_eq!(run.send("a", Some("9"), 3), [""; 0]);
    assert_eq!(run.send("a", Some("8"), 4), ["8@4", "9@3"]);
    assert_eq!(run.uncounted(), (1, 0));
}

#[test]
fn rv8_a_tombstone_takes_part_in_the_order_and_the_key_goes_on_counting() {
    let run = Run::new(&ordered(from_one()));
    assert_eq!(run.send("a", Some("1"), 1), ["1@1"]);
    assert_eq!(run.delete("a", 3, 2), [""; 0], "it waits like any record");
    assert_eq!(run.send("a", Some("4 anew"), 3), [""; 0]);
    assert_eq!(run.send("a", Some("2"), 4), ["2@4", "deleted@2", "4 anew@3"]);
    assert_eq!(run.send("a", None, 5), [""; 0], "without a revision it has no place");
    assert_eq!(run.send("", Some("1"), 6), [""; 0], "a null key neither");
    assert_eq!(run.uncounted(), (0, 2));
}

#[test]
fn the_ends_of_the_numbers_are_numbers_too() {
    let (min, max) = (i64::MIN.to_string(), i64::MAX.to_string());
    let order = RevisionOrder::starting_at(i64::MIN, texts(), texts());
    let run = Run::new(&ordered(order));
    assert_eq!(run.send("a", Some(&max), 1), [""; 0]);
    assert_eq!(run.send("a", Some(&min), 2), [format!("{min}@2")]);
    assert_eq!(run.send("a", Some(&max), 3), [""; 0], "it waits");
    let run = Run::new(&ordered(RevisionOrder::starting_anywhere(texts(), texts())));
    assert_eq!(run.send("a", Some(&max), 1), [format!("{max}@1")]);
    assert_eq!(run.send("a", Some(&max), 1), [""; 0]);
    assert_eq!(run.uncounted(), (1, 0));
}

#[test]
fn a_record_that_waited_keeps_its_headers_and_fails_under_its_own_name() {
    let topology = topology(|stream| {
        stream
            .try_in_revision_order(revision, from_one(), Materialized::as_("progress"))
            .try_map_values(|value| match value.as_deref() {
                Some("2 bad") => Err("bad value".into()),
                _ => Ok(value),
            })
    });
    let run = Run::dead_lettering(&topology);
    let mut input = run.driver.create_input_topic("in", texts(), texts()).unwrap();
    let mut headers = Headers::new();
    headers.add("trace", Some(b"x".to_vec()));
    for value in ["3 good", "2 bad"] {
        let record = Record::new(text("a"), text(value), Timestamp(7));
        input.pipe_record(record.with_headers(headers.clone())).unwrap();
    }
    input.pipe_input_at(text("a"), text("1"), Timestamp(9)).unwrap();
    let out: Vec<_> = run.read("out").into_iter().map(|r| (r.value, r.headers.len())).collect();
    assert_eq!(out, [(text("1"), 0), (text("3 good"), 1)]);
    let dead = run.read("dead");
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].key, &dead[0].value), (&text("a"), &text("2 bad")));
    assert_eq!(dead[0].timestamp, Timestamp(7));
    let header = |name: &str| dead[0].headers.last(name).and_then(|h| h.value.clone()).unwrap();
    assert_eq!(header("__streams.errors.offset"), b"1", "its own offset, not that of the filler");
    assert_eq!(header("trace"), b"x");
}
