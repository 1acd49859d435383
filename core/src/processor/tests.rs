//! When punctuations fire (KIP-138).

use std::time::Duration;

use super::PunctuationType::{StreamTime, WallClockTime};
use super::*;
use crate::record::Timestamp;

const TEN: Duration = Duration::from_millis(10);

/// The times at which node 0 fires while the clock shows these instants.
fn fired(queue: &mut PunctuationQueue, kind: PunctuationType, at: &[i64]) -> Vec<i64> {
    let mut fired = Vec::new();
    for now in at {
        while let Some((0, due)) = queue.take_due(kind, Timestamp(*now)) {
            fired.push(due.timestamp.0);
        }
    }
    fired
}

#[test]
fn a_stream_time_punctuation_fires_at_once_and_then_at_multiples_of_the_interval() {
    let mut queue = PunctuationQueue::default();
    queue.schedule(0, TEN, StreamTime, Timestamp(1_000));
    assert_eq!(fired(&mut queue, StreamTime, &[3, 9, 10, 19, 20, 21]), [3, 10, 20]);
}

#[test]
fn a_wall_clock_punctuation_fires_an_interval_after_it_was_scheduled() {
    let mut queue = PunctuationQueue::default();
    queue.schedule(0, TEN, WallClockTime, Timestamp(1_003));
    assert_eq!(queue.next_wall_clock(), Some(Timestamp(1_013)));
    assert_eq!(fired(&mut queue, WallClockTime, &[1_003, 1_012, 1_013, 1_022]), [1_013]);
    assert_eq!(queue.next_wall_clock(), Some(Timestamp(1_023)));
}

#[test]
fn missed_instants_become_one_call_and_the_grid_stays() {
    let mut queue = PunctuationQueue::default();
    queue.schedule(0, TEN, WallClockTime, Timestamp(0));
    assert_eq!(fired(&mut queue, WallClockTime, &[35, 39, 40, 50]), [35, 40, 50]);
    let mut queue = PunctuationQueue::default();
    queue.schedule(0, TEN, StreamTime, Timestamp(0));
    assert_eq!(fired(&mut queue, StreamTime, &[1_234, 1_239, 1_240]), [1_234, 1_240]);
}

#[test]
fn a_cancelled_punctuation_does_not_fire_again_even_if_cancelled_in_its_own_call() {
    let mut queue = PunctuationQueue::default();
    let handle = queue.schedule(0, TEN, StreamTime, Timestamp(0));
    let (_, due) = queue.take_due(StreamTime, Timestamp(5)).expect("it is due");
    assert_eq!(due.handle, handle);
    // as if in the call: it was scheduled anew before (KAFKA-6748)
    queue.cancel(handle);
    assert_eq!(fired(&mut queue, StreamTime, &[10, 1_000]), [0_i64; 0]);
}

#[test]
fn the_two_clocks_do_not_drive_each_other() {
    let mut queue = PunctuationQueue::default();
    queue.schedule(0, TEN, StreamTime, Timestamp(0));
    assert_eq!(queue.next_wall_clock(), None);
    assert!(queue.take_due(WallClockTime, Timestamp(i64::MAX)).is_none());
}

#[test]
fn the_earliest_punctuation_fires_first() {
    let mut queue = PunctuationQueue::default();
    queue.schedule(7, Duration::from_millis(30), WallClockTime, Timestamp(0));
    queue.schedule(8, Duration::from_millis(20), WallClockTime, Timestamp(0));
    let order: Vec<_> = std::iter::from_fn(|| queue.take_due(WallClockTime, Timestamp(30)))
        .map(|(node, _)| node)
        .collect();
    assert_eq!(order, [8, 7]);
}

#[test]
fn absurd_intervals_and_times_neither_panic_nor_loop() {
    let mut queue = PunctuationQueue::default();
    queue.schedule(0, Duration::ZERO, StreamTime, Timestamp(0));
    assert_eq!(fired(&mut queue, StreamTime, &[1, 1, 2]), [1, 2], "at least a millisecond apart");
    queue.schedule(0, Duration::MAX, WallClockTime, Timestamp(i64::MAX - 1));
    assert_eq!(fired(&mut queue, WallClockTime, &[i64::MAX - 1]), [0_i64; 0]);
}
