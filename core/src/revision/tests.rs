//! Rules, bytes and generators by themselves.

use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::record::Timestamp;
use crate::serdes::Serde;

fn round_trip<T: PartialEq + std::fmt::Debug>(serde: &impl Serde<T>, value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    serde.serialize("t", value, &mut bytes).unwrap();
    assert_eq!(serde.deserialize("t", Some(&bytes)).unwrap(), *value);
    let longer = [&bytes[..], &[0; 20]].concat();
    assert!(serde.deserialize("t", Some(&longer)).is_err(), "bytes too many");
    bytes
}

#[test]
fn a_last_revision_is_a_long_and_more_only_where_there_is_more() {
    for (deleted, armed, length) in [(false, None, 8), (true, None, 9), (false, Some(-5), 17)] {
        let value = LastRevision::new(-3, deleted).armed_at(armed.map(Timestamp));
        let bytes = round_trip(&LastRevisionSerde, &value);
        assert_eq!((&bytes[..8], bytes.len()), (&(-3_i64).to_be_bytes()[..], length));
        for end in (0..length).filter(|end| *end != 8) {
            assert!(LastRevisionSerde.deserialize("t", Some(&bytes[..end])).is_err(), "{end}");
        }
    }
    let unknown = [&[0; 8][..], &[4]].concat();
    assert!(LastRevisionSerde.deserialize("t", Some(&unknown)).is_err());
    assert!(LastRevisionSerde.deserialize("t", None).is_err());
}

#[test]
fn progress_comes_back_in_all_its_forms() {
    for (last, parked, length) in
        [(None, 0, 0), (None, 3, 4), (Some(7), 0, 8), (Some(i64::MIN), u32::MAX, 12)]
    {
        let bytes = round_trip(&RevisionProgressSerde, &RevisionProgress::new(last, parked));
        assert_eq!(bytes.len(), length);
    }
    for wrong in [1, 3, 5, 7, 9, 11, 13] {
        assert!(RevisionProgressSerde.deserialize("t", Some(&vec![0; wrong])).is_err(), "{wrong}");
    }
}

#[test]
fn rv4_a_clock_that_goes_back_or_stands_still_does_not_stop_the_revisions() {
    let revisions = HybridRevisions::new();
    let clock = [5_000, 5_000, 4_999, 1, -7, i64::MIN / 2_000_000, 5_000, 5_001, 5_000];
    let seen: Vec<_> = clock.iter().map(|now| revisions.next(Timestamp(*now)).unwrap()).collect();
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert_eq!(seen[0], 5_000_000_000);
    assert_eq!(seen[7], 5_001_000_000, "it follows the clock again");
}

#[test]
fn rv4_a_burst_borrows_from_the_next_milliseconds_and_gives_nothing_out_twice() {
    let revisions = HybridRevisions::new();
    let mut last = revisions.next(Timestamp(1)).unwrap();
    for _ in 0..2_500_000 {
        let next = revisions.next(Timestamp(1)).unwrap();
        assert_eq!(next, last + 1);
        last = next;
    }
    assert_eq!(revisions.lead(Timestamp(1)), Duration::from_millis(2));
    assert_eq!(revisions.next(Timestamp(3)).unwrap(), last + 1, "3 ms is used up to its middle");
    assert_eq!(revisions.next(Timestamp(4)).unwrap(), 4_000_000);
    assert_eq!(revisions.lead(Timestamp(9)), Duration::ZERO);
}

#[test]
fn rv4_nodes_never_make_the_same_revision_and_each_of_them_increases() {
    let one = HybridRevisions::for_node(1).unwrap();
    let two = HybridRevisions::for_node(999).unwrap();
    let mut all = std::collections::BTreeSet::new();
    for node in [&one, &two] {
        let mut last = i64::MIN;
        for step in 0..5_000 {
            let revision = node.next(Timestamp(1_000 + step / 2_000 - step % 3)).unwrap();
            assert!(revision > last && all.insert(revision), "{revision}");
            last = revision;
        }
    }
    assert_eq!(one.next(Timestamp(2_000)).unwrap(), 2_000_000_001);
    assert_eq!(two.next(Timestamp(2_000)).unwrap(), 2_000_000_999);
    assert_eq!(HybridRevisions::for_node(1_000).unwrap_err(), NextRevisionError::Node(1_000));
}

#[test]
fn a_clock_from_the_far_future_is_refused_without_an_effect() {
    let node = HybridRevisions::for_node(7).unwrap();
    for revisions in [HybridRevisions::new(), node] {
        let before = revisions.next(Timestamp(1_000)).unwrap();
        for now in [9_223_372_036_855, i64::MAX] {
            let refused = revisions.next(Timestamp(now)).unwrap_err();
            assert_eq!(refused, NextRevisionError::Exhausted);
        }
        assert!(revisions.next(Timestamp(9_223_372_036_854 - 1)).unwrap() > before);
    }
}

#[test]
fn rv4_a_restart_begins_above_the_stored_mark() {
    let ahead = Duration::from_millis(10);
    let first = HybridRevisions::new().starting_above(None);
    assert_eq!(first.next(Timestamp(50)), Err(NextRevisionError::MarkReached));
    let mark = first.next_mark(Timestamp(50), ahead).unwrap();
    first.allow_up_to(mark);
    let mut last = first.next(Timestamp(50)).unwrap();
    assert_eq!(last, 50_000_000, "the mark does not move the revisions");
    while let Ok(next) = first.next(Timestamp(60)) {
        assert!(next <= mark, "{next} is above the mark {mark}");
        last = next;
        if next == 60_000_000 {
            assert_eq!(first.next(Timestamp(61)), Err(NextRevisionError::MarkReached));
            break;
        }
    }
    // the clock was set back while the process was down
    let second = HybridRevisions::new().starting_above(Some(mark));
    second.allow_up_to(second.next_mark(Timestamp(20), ahead).unwrap());
    assert!(second.next(Timestamp(20)).unwrap() > last);
}

#[test]
fn many_restarts_in_a_row_do_not_run_away_from_the_clock() {
    let mut mark = None;
    let mut last = 0;
    for _ in 0..1_000 {
        let revisions = HybridRevisions::new().starting_above(mark);
        let next = revisions.next_mark(Timestamp(50), Duration::from_millis(10)).unwrap();
        assert!(mark.is_none_or(|mark| next > mark));
        mark = Some(next);
        revisions.allow_up_to(next);
        let revision = revisions.next(Timestamp(50)).unwrap();
        assert!(revision > last);
        last = revision;
        let lead = revisions.lead(Timestamp(50));
        assert!(lead <= Duration::from_millis(10 + 100), "{lead:?}");
    }
}

#[test]
fn rv5_sixteen_threads_draw_a_million_each_all_distinct_and_increasing_per_thread() {
    const THREADS: usize = 16;
    const DRAWS: usize = 1_000_000;
    let revisions = HybridRevisions::new();
    let (clock, together) = (AtomicI64::new(1_000), Barrier::new(THREADS));
    let mut drawn: Vec<Vec<i64>> = Vec::new();
    std::thread::scope(|scope| {
        let draw = || {
            together.wait();
            let mut mine = Vec::with_capacity(DRAWS);
            for number in 0..DRAWS {
                if number % 65_536 == 0 {
                    clock.fetch_add(1, Ordering::Relaxed);
                }
                mine.push(revisions.next(Timestamp(clock.load(Ordering::Relaxed))).unwrap());
            }
            mine
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(draw)).collect();
        drawn.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    });
    assert!(drawn.iter().all(|mine| mine.is_sorted_by(|a, b| a < b)), "a thread went back");
    let mut all: Vec<i64> = drawn.concat();
    all.sort_unstable();
    assert!(all.is_sorted_by(|a, b| a < b), "a revision was given out twice");
    assert_eq!(all.len(), THREADS * DRAWS);
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Event {
    #[serde(with = "text")]
    revision: i64,
}

proptest! {
    #[test]
    fn rv7_any_revision_goes_through_json_exactly(revision in any::<i64>()) {
        let json = serde_json::to_string(&Event { revision }).unwrap();
        prop_assert_eq!(&json, &format!(r#"{{"revision":"{revision}"}}"#));
        // a reader without types sees text, which it can't round
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert!(value["revision"].is_string());
        prop_assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), Event { revision });
        prop_assert_eq!(serde_json::from_value::<Event>(value).unwrap(), Event { revision });
        let number = format!(r#"{{"revision":{revision}}}"#);
        prop_assert_eq!(serde_json::from_str::<Event>(&number).unwrap(), Event { revision });
    }

    #[test]
    fn rv4_whatever_the_clock_does_revisions_increase(
        clock in prop::collection::vec(-10_000..10_000_i64, 1..200),
        node in prop::option::of(0..1_000_u16),
    ) {
        let revisions = node.map_or(Ok(HybridRevisions::new()), HybridRevisions::for_node).unwrap();
        let mut last = 0;
        for now in clock {
            let revision = revisions.next(Timestamp(now)).unwrap();
            prop_assert!(revision > last && revision >= now * 1_000_000);
            prop_assert!(node.is_none_or(|node| revision % 1_000 == i64::from(node)));
            last = revision;
        }
    }
}

#[test]
fn rv7_what_may_have_lost_digits_is_refused() {
    for wrong in [
        "1.0",
        "1e3",
        "\"1.0\"",
        "\"\"",
        "\" 1\"",
        "9223372036854775808",
        "null",
        "true",
        "\"9223372036854775808\"",
    ] {
        let json = format!(r#"{{"revision":{wrong}}}"#);
        let error = serde_json::from_str::<Event>(&json).unwrap_err().to_string();
        assert!(error.contains("a revision: an integer of 64 bits"), "{wrong}: {error}");
    }
    let zeros = serde_json::from_str::<Event>(r#"{"revision":"0003"}"#).unwrap();
    assert_eq!(zeros, Event { revision: 3 });
}

proptest! {
    #[test]
    fn damaged_revisions_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        use crate::serdes::Serde;

        let mut out = Vec::new();
        if let Ok(last) = LastRevisionSerde.deserialize("t", Some(&bytes)) {
            LastRevisionSerde.serialize("t", &last, &mut out).unwrap();
            // flags that say nothing may be left out
            prop_assert!(out.len() <= bytes.len());
        }
        out.clear();
        if let Ok(progress) = RevisionProgressSerde.deserialize("t", Some(&bytes)) {
            RevisionProgressSerde.serialize("t", &progress, &mut out).unwrap();
            prop_assert!(out.len() <= bytes.len());
        }
        let _ = serde_json::from_slice::<Event>(&bytes);
    }
}
