//! Generators with clocks that misbehave and marks that are damaged.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tidemill_core::record::Timestamp;

use super::*;

/// A clock that shows what it is told.
fn clock(millis: i64) -> (Arc<AtomicI64>, impl Fn() -> Timestamp + Send + Sync + 'static) {
    let clock = Arc::new(AtomicI64::new(millis));
    let shown = Arc::clone(&clock);
    (clock, move || Timestamp(shown.load(Ordering::Relaxed)))
}

fn open(directory: &Path, millis: i64) -> Result<RevisionGenerator, RevisionGeneratorError> {
    RevisionGenerator::new().with_clock(clock(millis).1).persisted_in(directory)
}

#[test]
fn rv4_a_restart_with_the_clock_set_back_goes_on_above_what_was_given_out() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = 0;
    // each generator is dropped without a word, as by SIGKILL
    for start in [100_000, 100_001, 40_000, 10, 100_000, 500_000] {
        let (now, show) = clock(start);
        let revisions = RevisionGenerator::new().with_clock(show);
        let revisions = revisions.persisted_in(directory.path()).unwrap();
        for step in [0, 1, 9_999, 3, -20_000, 25_000] {
            now.fetch_add(step, Ordering::Relaxed);
            for _ in 0..1_000 {
                let revision = revisions.next_revision().unwrap();
                assert!(revision > last, "{revision} after {last}");
                last = revision;
            }
        }
    }
    assert_eq!(last, (500_000 + 15_003) * 1_000_000 + 999, "it caught up with the clock");
}

#[test]
fn the_mark_is_stored_before_what_it_covers_is_given_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("revisions.json");
    let (now, show) = clock(1_000);
    let revisions = RevisionGenerator::for_node(7).unwrap().with_clock(show);
    let revisions = revisions.persisted_in(directory.path()).unwrap();
    assert!(!file.exists(), "nothing was given out yet");
    let mut texts = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let revision = revisions.next_revision().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mark: i64 = value["mark"].as_str().unwrap().parse().unwrap();
        assert!(revision / 1_000 <= mark / 1_000, "{revision} is above the mark {mark}");
        texts.insert(text);
        now.fetch_add(100, Ordering::Relaxed);
    }
    assert!((4..=5).contains(&texts.len()), "40 s, and a mark every 10 s: {texts:?}");
    assert_eq!(revisions.lead(), Duration::ZERO);
}

#[test]
fn rv5_threads_share_a_generator_whose_mark_moves_under_them() {
    let directory = tempfile::tempdir().unwrap();
    let (now, show) = clock(1_000);
    let revisions = RevisionGenerator::new().with_clock(show);
    let revisions = &revisions.persisted_in(directory.path()).unwrap();
    let now = &now;
    let draw = || {
        let next = |_| {
            // half a second each: the mark moves all the time
            now.fetch_add(500, Ordering::Relaxed);
            revisions.next_revision().unwrap()
        };
        (0..200).map(next).collect::<Vec<_>>()
    };
    let drawn: Vec<Vec<i64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(draw)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(drawn.iter().all(|mine| mine.is_sorted_by(|a, b| a < b)));
    let all: std::collections::BTreeSet<i64> = drawn.concat().into_iter().collect();
    assert_eq!(all.len(), 8 * 200);
}

#[test]
fn a_directory_has_one_generator_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path(), 1).unwrap();
    let error = open(directory.path(), 1).unwrap_err();
    assert!(matches!(error, RevisionGeneratorError::InUse { .. }), "{error}");
    drop(first);
    open(directory.path(), 1).unwrap();
}

#[test]
fn a_mark_that_is_damaged_newer_or_another_nodes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path(), 1).unwrap().next_revision().unwrap();
    let node = RevisionGenerator::for_node(3).unwrap().persisted_in(directory.path());
    let text = node.unwrap_err().to_string();
    assert!(text.contains("is that of a generator without a node, not of node 3"), "{text}");
    let file = directory.path().join("revisions.json");
    for (contents, expected) in [
        ("", "can't be read: EOF"),
        (r#"{"format_version":1,"node":null,"mark":"-1"}"#, "can't be read: -1 is no mark"),
        (r#"{"format_version":1,"node":null,"mark":"x"}"#, "can't be read: invalid value"),
        (r#"{"format_version":2,"anything":0}"#, "has format 2, this release knows 1"),
        (r#"{"format_version":1,"node":4,"mark":"1"}"#, "is that of node 4"),
    ] {
        fs::write(&file, contents).unwrap();
        let text = open(directory.path(), 1).unwrap_err().to_string();
        assert!(text.contains(expected), "{contents}: {text}");
    }
}

#[test]
fn a_mark_that_cant_be_stored_gives_nothing_out_and_can_be_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (now, show) = clock(1_000);
    let revisions = RevisionGenerator::new().with_clock(show);
    let revisions = revisions.persisted_in(directory.path()).unwrap();
    let first = revisions.next_revision().unwrap();
    // where the new file is to be written there is a directory
    let obstacle = directory.path().join("revisions.json.tmp");
    fs::create_dir(&obstacle).unwrap();
    assert!(revisions.next_revision().unwrap() > first, "the old mark still holds");
    now.store(60_000, Ordering::Relaxed);
    for _ in 0..2 {
        let error = revisions.next_revision().unwrap_err();
        assert!(matches!(error, RevisionGeneratorError::Io { .. }), "{error}");
    }
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(revisions.next_revision().unwrap(), 60_000_000_000);
}
