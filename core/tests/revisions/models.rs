//! The operators against models that remember everything and look at all of it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidemill_core::dsl::{DeduplicationWindow, LateRecords, Materialized, ParkingFull};

use crate::common::{Run, deduplicated, from_one, millis, revision, text, texts, topology};

/// A record: key, revision (`None` for a tombstone without one), tombstone, step of time.
#[derive(Debug, Clone, Copy)]
struct Step {
    key: u8,
    revision: Option<i64>,
    deletes: bool,
    advance: i64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..4_u8, 0..8_i64, 0..8_u8, -12..14_i64);
    let step = step.prop_map(|(key, number, kind, advance)| {
        let (revision, deletes) = match kind {
            0 => (None, true),
            1 => (Some(number), true),
            _ => (Some(number), false),
        };
        Step { key, revision, deletes, advance }
    });
    prop::collection::vec(step, 1..80)
}

/// What a model knows of a key.
#[derive(Debug, Clone, Copy)]
struct Known {
    revision: i64,
    deleted: bool,
    seen: i64,
}

fn send(run: &Run, step: &Step, at: i64) -> bool {
    let key = format!("k{}", step.key);
    let out = match (step.deletes, step.revision) {
        (true, Some(revision)) => run.delete(&key, revision, at),
        (true, None) => run.send(&key, None, at),
        (false, revision) => run.send(&key, Some(&format!("{}", revision.unwrap())), at),
    };
    assert!(out.len() <= 1);
    !out.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn deduplicate_by_revision_is_a_map_of_last_revisions(
        steps in steps(),
        live in prop::option::of(5..40_i64),
        deleted in prop::option::of(5..40_i64),
    ) {
        let mut options = deduplicated();
        if let Some(time) = live {
            options = options.forget_after(millis(time as u64));
        }
        if let Some(time) = deleted {
            options = options.forget_deleted_after(millis(time as u64));
        }
        let run = Run::new(&topology(|stream| {
            stream.try_deduplicate_by_revision(revision, options, Materialized::as_("last"))
        }));
        let time_of = |known: &Known| if known.deleted { deleted.or(live) } else { live };
        let mut known: BTreeMap<u8, Known> = BTreeMap::new();
        let (mut at, mut now) = (2_000, i64::MIN);
        for step in &steps {
            at += step.advance;
            now = at.max(now);
            known.retain(|_, known| time_of(known).is_none_or(|time| now - known.seen <= time));
            let before = known.get(&step.key).copied();
            let passes = match (before, step.revision) {
                (Some(before), Some(revision)) => revision > before.revision,
                (Some(before), None) => !before.deleted,
                (None, _) => true,
            };
            let revision = step.revision.or(before.map(|before| before.revision));
            if let (true, Some(revision)) = (passes, revision) {
                known.insert(step.key, Known { revision, deleted: step.deletes, seen: now });
            } else if let Some(known) = known.get_mut(&step.key) {
                known.seen = now;
            }
            prop_assert_eq!(send(&run, step, at), passes, "{:?} at {}", step, at);
            prop_assert_eq!(run.entries("last"), known.len());
            if live.is_some() || deleted.is_some() {
                let looked_at = known.values().filter(|known| time_of(known).is_some()).count();
                let index = run.entries("last-expiry");
                prop_assert!((looked_at..=known.len()).contains(&index), "{} entries", index);
            }
        }
    }

    #[test]
    fn deduplicate_by_id_is_a_map_of_first_sightings(
        steps in steps(),
        time in 0..40_i64,
        pass in any::<bool>(),
    ) {
        let late = if pass { LateRecords::Pass } else { LateRecords::Drop };
        let window = DeduplicationWindow::of(millis(time as u64)).with_late_records(late);
        let run = Run::new(&topology(|stream| {
            let ids = Materialized::as_("ids").with_key_serde(texts());
            stream.deduplicate_by_id(|value| value.clone(), window, ids)
        }));
        let mut seen: BTreeMap<u8, i64> = BTreeMap::new();
        let mut passed = BTreeSet::new();
        let (mut at, mut now) = (2_000, i64::MIN);
        for step in &steps {
            at += step.advance;
            now = at.max(now);
            seen.retain(|_, first| now - *first <= time);
            let late = now - at > time;
            let passes = !seen.contains_key(&step.key) && (pass || !late);
            if passes {
                seen.insert(step.key, now);
                let first_time = passed.insert((step.key, at));
                prop_assert!(pass || first_time, "the same record passed twice");
            }
            let value = format!("id{}", step.key);
            prop_assert_eq!(!run.send("k", Some(&value), at).is_empty(), passes);
            prop_assert_eq!(run.entries("ids"), seen.len());
            prop_assert_eq!(run.entries("ids-expiry"), seen.len());
        }
    }

    #[test]
    fn in_revision_order_is_a_queue_per_key_sorted_by_revision(
        steps in steps(),
        limit in 0..4_u32,
        skip in any::<bool>(),
    ) {
        let full = if skip { ParkingFull::SkipGap } else { ParkingFull::Reject };
        let order = from_one().park_up_to(limit, full);
        let run = Run::new(&topology(|stream| {
            stream.try_in_revision_order(revision, order, Materialized::as_("progress"))
        }));
        // for each key the revision that is due, and those that wait
        let mut keys: BTreeMap<u8, (i64, BTreeSet<i64>)> = BTreeMap::new();
        let (mut ignored, mut dropped) = (0, 0);
        for (at, step) in (0..).zip(&steps) {
            let number = step.revision.unwrap_or(step.advance);
            let (next, waiting) = keys.entry(step.key).or_insert((1, BTreeSet::new()));
            if number < *next || waiting.contains(&number) {
                ignored += 1;
            } else if number > *next && waiting.len() as u32 >= limit && !skip {
                dropped += 1;
            } else {
                waiting.insert(number);
                if waiting.len() as u32 > limit && !waiting.contains(next) {
                    *next = *waiting.first().unwrap();
                }
            }
            let mut expected = Vec::new();
            while waiting.remove(next) {
                expected.push(text(&next.to_string()));
                *next += 1;
            }
            let sent = run.send(&format!("k{}", step.key), Some(&number.to_string()), at);
            let sent: Vec<_> =
                sent.iter().map(|out| text(out.split('@').next().unwrap())).collect();
            prop_assert_eq!(sent, expected);
            let waiting = keys.values().map(|(_, waiting)| waiting.len()).sum::<usize>();
            prop_assert_eq!(run.entries("progress-parked"), waiting);
            prop_assert_eq!(run.uncounted(), (ignored, dropped));
        }
    }
}
