//! The overlay by itself: look-up, order, eviction, bytes.

use std::ops::Bound;

use proptest::prelude::*;

use super::super::KeyRange;
use super::super::overlay::Overlay;
use crate::record::Timestamp;

const ALL: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);
const NO_TIME: Timestamp = Timestamp(-1);

#[test]
fn a_key_is_found_by_its_bytes_and_only_by_them() {
    let mut overlay = Overlay::new();
    let a = overlay.insert_clean(b"a", Some(1), NO_TIME, 1);
    let empty = overlay.insert_clean(b"", Some(2), NO_TIME, 1);
    assert_eq!(overlay.find(b"a"), Some(a));
    assert_eq!(overlay.find(b""), Some(empty));
    assert_eq!(overlay.find(b"aa"), None);
    assert_eq!(overlay.entry(a).value, Some(1));
}

#[test]
fn the_dirty_order_is_the_order_of_the_last_write() {
    let mut overlay = Overlay::new();
    let [a, b, c] = [b"a", b"b", b"c"].map(|k| overlay.insert_clean(k, Some(0), NO_TIME, 1));
    for slot in [a, b, c, a, b] {
        overlay.mark_dirty(slot);
    }
    assert_eq!(overlay.dirty_in_order(), [c, a, b]);
    overlay.mark_flushed();
    assert!(overlay.dirty_in_order().is_empty());
    overlay.mark_dirty(c);
    assert_eq!(overlay.dirty_in_order(), [c]);
}

#[test]
fn inv_11_eviction_obeys_the_byte_bound_and_keeps_dirty_entries() {
    let mut overlay = Overlay::new();
    for number in 0..100_u32 {
        let slot = overlay.insert_clean(&number.to_be_bytes(), Some(number), NO_TIME, 100);
        if number % 10 == 0 {
            overlay.mark_dirty(slot);
        }
    }
    let (bytes, dirty) = (overlay.bytes(), overlay.dirty_bytes());
    assert_eq!(dirty * 10, bytes);
    let bound = bytes / 2;
    overlay.end_interval(bound);
    assert!(overlay.bytes() <= bound, "{} above {bound}", overlay.bytes());
    for number in (0..100_u32).step_by(10) {
        assert!(overlay.find(&number.to_be_bytes()).is_some(), "dirty {number} was evicted");
    }
    overlay.end_interval(0);
    assert_eq!(overlay.bytes(), dirty, "what is dirty stays, whatever the bound");
    overlay.mark_flushed();
    overlay.end_interval(0);
    assert_eq!((overlay.bytes(), overlay.dirty_bytes()), (0, 0));
}

#[test]
fn entries_that_the_last_interval_did_not_use_go_first() {
    let mut overlay = Overlay::new();
    for number in 0..100_u32 {
        overlay.insert_clean(&number.to_be_bytes(), Some(number), NO_TIME, 100);
    }
    let bytes = overlay.bytes();
    overlay.end_interval(bytes);
    for number in 0..30_u32 {
        overlay.find(&number.to_be_bytes());
    }
    overlay.end_interval(bytes - 1);
    let kept = (0..30_u32).filter(|n| overlay.find(&n.to_be_bytes()).is_some()).count();
    assert_eq!(kept, 30, "used entries went although unused ones sufficed");
    assert!(overlay.bytes() <= bytes / 2);
}

#[test]
fn an_evicted_slot_is_used_again() {
    let mut overlay = Overlay::new();
    let first = overlay.insert_clean(b"a", Some(1), NO_TIME, 1);
    overlay.end_interval(0);
    assert_eq!(overlay.find(b"a"), None);
    assert_eq!(overlay.insert_clean(b"b", Some(2), NO_TIME, 1), first);
    assert_eq!(overlay.find(b"b"), Some(first));
}

#[test]
fn inv_11_the_bytes_follow_the_length_of_the_values() {
    let mut overlay = Overlay::new();
    let slot = overlay.insert_clean(b"a", Some(1), NO_TIME, 10);
    let before = overlay.bytes();
    overlay.note_value_bytes(slot, 1_000);
    assert_eq!(overlay.bytes(), before + 990);
    overlay.note_value_bytes(slot, 0);
    assert_eq!(overlay.bytes(), before - 10);
}

proptest! {
    #[test]
    fn inv_11_the_bytes_of_nothing_are_zero_after_any_history(
        steps in prop::collection::vec((0..5_u8, 0..20_u8, 0..2_000_usize), 0..200)
    ) {
        let mut overlay = Overlay::new();
        for (step, key, length) in steps {
            let slot = match overlay.find(&[key]) {
                Some(slot) => slot,
                None => overlay.insert_clean(&[key], Some(()), NO_TIME, length),
            };
            match step {
                0 | 1 => overlay.mark_dirty(slot),
                2 => overlay.note_value_bytes(slot, length),
                3 => overlay.mark_flushed(),
                _ => overlay.end_interval(length * 4),
            }
            prop_assert!(overlay.dirty_in(ALL).len() <= 20);
        }
        overlay.mark_flushed();
        overlay.end_interval(0);
        overlay.end_interval(0);
        prop_assert_eq!((overlay.bytes(), overlay.dirty_bytes()), (0, 0));
    }
}
