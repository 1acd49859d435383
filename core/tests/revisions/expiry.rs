//! Forgetting: what is known at which time, and that nothing is left behind.

use tidemill_core::dsl::{Deduplicated, DeduplicationWindow, Materialized};
use tidemill_core::errors::Handlers;
use tidemill_core::store::{StoreIndex, TaskStorage};
use tidemill_core::task::TaskIdle;

use crate::common::{Run, Text, deduplicated, millis, revision, texts, topology};
use crate::fixture::{Fixture, record};

fn run(options: Deduplicated<Text, Text>) -> Run {
    Run::new(&topology(|stream| {
        stream.try_deduplicate_by_revision(revision, options, Materialized::as_("last"))
    }))
}

#[test]
fn a_key_is_forgotten_when_it_was_not_seen_for_longer_than_the_time() {
    let run = run(deduplicated().forget_after(millis(10)));
    assert_eq!(run.send("a", Some("5"), 100), ["5@100"]);
    assert_eq!(run.send("a", Some("4"), 110), [""; 0], "known until 110, and seen");
    assert_eq!(run.send("b", Some("1"), 120), ["1@120"]);
    assert_eq!(run.send("a", Some("4"), 90), [""; 0], "late, but stream time is 120");
    assert_eq!(run.send("b", Some("2"), 130), ["2@130"]);
    assert_eq!((run.entries("last"), run.entries("last-expiry")), (2, 2));
    assert_eq!(run.send("b", Some("3"), 131), ["3@131"]);
    assert_eq!((run.entries("last"), run.entries("last-expiry")), (1, 1), "a was seen at 120");
    assert_eq!(run.send("a", Some("4"), 131), ["4@131"]);
}

#[test]
fn a_key_in_use_writes_the_index_once_per_time_and_not_per_record() {
    let run = run(deduplicated().forget_after(millis(1_000)));
    for number in 0..500 {
        assert_eq!(run.send("a", Some(&number.to_string()), number * 10).len(), 1);
    }
    // 5 s: put, and taken out and put back at most once a second
    let writes = run.driver.changelog("last-expiry").unwrap().len();
    assert!((2..=11).contains(&writes), "{writes} writes");
    assert_eq!((run.entries("last"), run.entries("last-expiry")), (1, 1));
}

#[test]
fn a_deletion_with_a_shorter_time_is_looked_at_in_time() {
    let options = deduplicated().forget_after(millis(1_000)).forget_deleted_after(millis(10));
    let run = run(options);
    run.send("a", Some("1"), 0);
    run.send("a", None, 1);
    assert_eq!((run.entries("last"), run.entries("last-expiry")), (1, 1));
    run.send("b", Some("1"), 12);
    assert_eq!((run.entries("last"), run.entries("last-expiry")), (1, 1), "only b is left");
    run.send("b", None, 13);
    assert_eq!(run.send("b", Some("2"), 14), ["2@14"]);
    run.send("c", Some("1"), 500);
    assert_eq!(run.send("b", Some("2"), 501), [""; 0], "alive again, it has the longer time");
    assert_eq!((run.entries("last"), run.entries("last-expiry")), (2, 2));
}

#[test]
fn a_jump_of_stream_time_forgets_in_batches_but_nobody_notices() {
    let run = run(deduplicated().forget_after(millis(10)));
    for number in 0..5_000 {
        run.send(&format!("k{number}"), Some("7"), 0);
    }
    run.send("late", Some("1"), 100);
    let left = run.entries("last");
    assert!((2..1_000).contains(&left), "{left}: the first batch is gone, the rest is not");
    let store_has = |run: &Run| run.entries("last") - 1;
    assert_eq!(run.send("k4999", Some("1"), 100), ["1@100"], "it counts as forgotten all the same");
    assert_eq!(store_has(&run), 1, "the rest went with the next commit");
    assert_eq!(run.entries("last-expiry"), 2);
    assert_eq!(run.send("k4999", Some("1"), 110), [""; 0]);
}

#[test]
fn forgetting_keeps_up_with_any_number_of_records_a_commit() {
    const RECORDS: i64 = 10_000;
    let topology = topology(|stream| {
        let ids = Materialized::as_("ids").with_key_serde(texts());
        stream.deduplicate_by_id(|v| v.clone(), DeduplicationWindow::of(millis(10)), ids)
    });
    let mut fixture = Fixture::with(&topology, TaskIdle::Never, Handlers::default());
    for commit in 0..8 {
        for number in commit * RECORDS..(commit + 1) * RECORDS {
            fixture.task.enqueue(0, record(number, commit * 20, "k", &number.to_string()));
        }
        assert_eq!(fixture.process_all(), 10_000);
        fixture.commit();
        let left = |store| fixture.storage.borrow().approximate_len(StoreIndex(store));
        assert_eq!(
            (left(0), left(1)),
            (10_000, 10_000),
            "commit {commit}: only the last are known"
        );
    }
}
