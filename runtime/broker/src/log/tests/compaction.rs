//! Facts about compaction.

use super::support::{Lab, NOBODY, NOW, batch_of, idempotent, split, transactional, values};
use crate::log::Marker;

/// Each batch has a segment of its own.
const COMPACT: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("internal.segment.bytes", "79"),
    ("min.cleanable.dirty.ratio", "0"),
    ("delete.retention.ms", "1000"),
];

fn compacting(more: &[(&str, &str)]) -> Lab {
    Lab::new(&[COMPACT, more].concat())
}

/// Sends a record that is never compacted, because it is in the active segment.
fn roll(lab: &mut Lab) {
    lab.send(NOBODY, &[(Some("roll"), Some("roll"))]).unwrap();
}

#[test]
fn of_each_key_the_last_record_stays_with_its_offset() {
    let mut lab = compacting(&[]);
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        lab.send(NOBODY, &[(Some(key), Some(value))]).unwrap();
    }
    roll(&mut lab);
    lab.clean();
    let found = lab.consumed(false, 1);
    assert_eq!(values(&found), ["2", "3", "roll"]);
    assert_eq!(found.iter().map(|record| record.offset).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((lab.replayed(), lab.rewritten()), (lab.topics.clone(), lab.topics.clone()));
}

#[test]
fn the_active_segment_is_left_alone() {
    let mut lab = compacting(&[]);
    lab.send(NOBODY, &[(Some("a"), Some("1"))]).unwrap();
    lab.clean();
    assert_eq!(lab.log().batches().count(), 1);
    lab.send(NOBODY, &[(Some("a"), Some("2"))]).unwrap();
    lab.clean();
    assert_eq!(values(&lab.consumed(false, 1)), ["1", "2"], "2 is not known to the cleaner yet");
}

#[test]
fn a_tombstone_stays_for_delete_retention_after_it_was_seen() {
    let mut lab = compacting(&[]);
    lab.send(NOBODY, &[(Some("a"), Some("1"))]).unwrap();
    lab.send(NOBODY, &[(Some("a"), None)]).unwrap();
    roll(&mut lab);
    lab.clean();
    assert_eq!(values(&lab.consumed(false, 1)), ["null", "roll"]);
    assert_eq!(lab.consumed(false, 1)[0].timestamp, NOW, "its timestamp is what it was");
    lab.now += 999;
    roll(&mut lab);
    lab.clean();
    assert_eq!(values(&lab.consumed(false, 1)), ["null", "roll", "roll"]);
    lab.now += 1;
    roll(&mut lab);
    lab.clean();
    assert_eq!(values(&lab.consumed(false, 1)), ["roll", "roll"]);
}

#[test]
fn an_open_transaction_keeps_compaction_away_from_all_behind_it() {
    let mut lab = compacting(&[]);
    lab.send(NOBODY, &[(Some("a"), Some("1"))]).unwrap();
    lab.send(transactional(7, 0, 0), &[(Some("a"), Some("2"))]).unwrap();
    lab.send(NOBODY, &[(Some("a"), Some("3"))]).unwrap();
    roll(&mut lab);
    lab.clean();
    assert_eq!(values(&lab.consumed(false, 1)), ["1", "2", "3", "roll"]);
    lab.end(7, 0, Marker::Abort);
    roll(&mut lab);
    lab.clean();
    assert_eq!(values(&lab.consumed(false, 1)), ["3", "roll", "roll"]);
}

#[test]
fn an_aborted_record_hides_no_committed_one() {
    let mut lab = compacting(&[]);
    lab.send(NOBODY, &[(Some("a"), Some("1"))]).unwrap();
    lab.send(transactional(7, 0, 0), &[(Some("a"), Some("2"))]).unwrap();
    lab.end(7, 0, Marker::Abort);
    roll(&mut lab);
    lab.clean();
    assert_eq!(values(&lab.consumed(true, 1)), ["1", "roll"]);
    assert_eq!(values(&lab.consumed(false, 1)), ["1", "roll"]);
}

#[test]
fn a_marker_goes_when_its_transaction_has_no_record_and_its_time_is_over() {
    let mut lab = compacting(&[]);
    lab.send(transactional(7, 0, 0), &[(Some("a"), Some("1"))]).unwrap();
    lab.end(7, 0, Marker::Commit);
    lab.send(transactional(7, 0, 1), &[(Some("a"), Some("2"))]).unwrap();
    lab.end(7, 0, Marker::Commit);
    let markers = |lab: &Lab| {
        let read = lab.log().read(0, false, 1 << 20, true).unwrap();
        split(&read.records).iter().filter(|batch| batch.is_control()).count()
    };
    for (step, left) in [(0, 2), (0, 2), (1000, 1)] {
        lab.now += step;
        roll(&mut lab);
        lab.clean();
        assert_eq!(markers(&lab), left);
    }
    assert_eq!(values(&lab.consumed(true, 1))[0], "2");
}

#[test]
fn a_producer_s_last_batch_stays_without_records_and_its_sequence_with_it() {
    let mut lab = compacting(&[]);
    lab.send(idempotent(7, 0, 0), &[(Some("a"), Some("1"))]).unwrap();
    lab.send(NOBODY, &[(Some("a"), Some("2"))]).unwrap();
    roll(&mut lab);
    lab.clean();
    let first = lab.log().batches().next().unwrap().clone();
    assert_eq!((first.producer_id(), first.count(), first.last_offset()), (7, 0, 0));
    assert_eq!(values(&lab.consumed(false, 1)), ["2", "roll"]);
    assert_eq!(lab.send(idempotent(7, 0, 0), &[(Some("a"), Some("1"))]), Ok(0), "a repetition");
}

#[test]
fn compaction_keeps_compression_and_waits_for_its_ratio() {
    let mut lab = Lab::new(&[
        ("cleanup.policy", "compact"),
        ("internal.segment.bytes", "200"),
        ("min.cleanable.dirty.ratio", "0.5"),
        ("compression.type", "zstd"),
    ]);
    let pairs = [(Some("a"), Some("1")), (Some("b"), Some("2")), (Some("a"), Some("3"))];
    lab.append(batch_of(NOBODY, NOW, &pairs)).unwrap();
    for _ in 0..3 {
        roll(&mut lab);
    }
    lab.clean();
    assert_eq!(values(&lab.consumed(false, 1))[..2], ["2", "3"]);
    assert_eq!(lab.log().batches().next().unwrap().compression(), 4);
    let cleaned = lab.journal.len();
    lab.clean();
    assert_eq!(lab.journal.len(), cleaned, "nothing is new");
}
