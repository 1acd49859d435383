//! Random histories of two streams, compared with all pairs that are near enough in time.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidemill_core::dsl::JoinWindows;

use crate::support::{Kind, Run, within};

#[derive(Debug, Clone)]
struct Step {
    left: bool,
    key: String,
    null: bool,
    at: i64,
}

/// Records whose times go on and back, and in the end one of each stream that closes all windows.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<bool>(), "[a-c-]", 0..12_u8, 0..25_i64, -60..30_i64);
    proptest::collection::vec(step, 1..70).prop_map(|steps| {
        let mut now = 0;
        let mut all = Vec::new();
        for (left, key, null, on, jitter) in steps {
            now += on;
            all.push(Step { left, key, null: null == 0, at: (now + jitter).max(0) });
        }
        let end = |left, at| Step { left, key: format!("end{left}"), null: false, at };
        all.extend([end(true, now + 100_000), end(false, now + 200_000)]);
        all
    })
}

#[derive(Debug, Clone, Copy)]
struct Windows {
    before: i64,
    after: i64,
    grace: i64,
}

impl Windows {
    fn options(self) -> JoinWindows {
        within(0, self.grace.unsigned_abs()).before_ms(self.before).after_ms(self.after)
    }
}

fn windows() -> impl Strategy<Value = Windows> {
    (-15..40_i64, -15..40_i64, 0..50_i64)
        .prop_filter("something lies in them", |(before, after, _)| before + after >= 0)
        .prop_map(|(before, after, grace)| Windows { before, after, grace })
}

/// A record that was kept.
#[derive(Debug, Clone)]
struct Kept {
    left: bool,
    key: String,
    name: String,
    at: i64,
}

/// What the stores hold, and how far each of them has come.
#[derive(Default)]
struct Model {
    kept: Vec<Kept>,
    observed: [Option<i64>; 2],
}

impl Model {
    /// Returns the records that a new one is joined with, in the order in which they are found.
    fn matches(&self, new: &Kept, windows: Windows) -> Vec<Kept> {
        let Windows { before, after, grace } = windows;
        let (earlier, later) = if new.left { (before, after) } else { (after, before) };
        let (from, to) = ((new.at - earlier).max(0), (new.at + later).max(0));
        let observed = self.observed[usize::from(!new.left)];
        let forgotten = observed.map_or(-1, |observed| observed - (before + after + grace));
        let found = self.kept.iter().filter(|kept| {
            kept.left != new.left
                && kept.key == new.key
                && (from..=to).contains(&kept.at)
                && kept.at > forgotten
        });
        let mut found: Vec<Kept> = found.cloned().collect();
        found.sort_by_key(|kept| kept.at);
        found
    }

    fn keep(&mut self, new: Kept) {
        let observed = &mut self.observed[usize::from(new.left)];
        *observed = (*observed).max(Some(new.at));
        self.kept.push(new);
    }
}

fn pair(new: &Kept, found: &Kept) -> (String, i64) {
    let (left, right) = if new.left { (new, found) } else { (found, new) };
    (format!("{}+{}", left.name, right.name), new.at.max(found.at))
}

/// How a record without a match looks in the output.
fn alone(record: &Kept) -> String {
    if record.left { format!("{}+_", record.name) } else { format!("_+{}", record.name) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn every_pair_that_is_near_enough_is_found_once(
        steps in steps(),
        windows in windows(),
        kind in prop_oneof![Just(Kind::Inner), Just(Kind::Left), Just(Kind::Outer)],
    ) {
        let run = Run::of(kind, windows.options());
        let mut model = Model::default();
        for (step, number) in steps.into_iter().zip(0..) {
            let Step { left, key, null, at } = step;
            let side = if left { "l" } else { "o" };
            let name = format!("{side}{number}");
            run.pipe(side, &key, if null { "-" } else { &name }, at);
            let out = run.out().into_iter().filter(|(value, _)| !value.contains('_'));
            let mut expected = Vec::new();
            if !null && key != "-" {
                let new = Kept { left, key, name, at };
                let found = model.matches(&new, windows);
                expected = found.iter().map(|found| pair(&new, found)).collect();
                model.keep(new);
            }
            prop_assert_eq!(out.collect::<Vec<_>>(), expected);
        }
    }

    /// A record without a match comes out once, with its own time: not before its window and grace
    /// are over, unless it is late itself, and not if it had a match before that.
    #[test]
    fn what_has_no_match_comes_out_once_when_its_window_is_over(
        steps in steps(),
        windows in windows(),
        outer: bool,
    ) {
        let run = Run::of(if outer { Kind::Outer } else { Kind::Left }, windows.options());
        let mut model = Model::default();
        let mut stream_time = -1;
        let mut waiting: BTreeMap<String, Kept> = BTreeMap::new();
        let mut matched: BTreeSet<String> = BTreeSet::new();
        let last = steps.len() - 2;
        for (step, number) in steps.into_iter().zip(0..) {
            let Step { left, key, null, at } = step;
            let side = if left { "l" } else { "o" };
            let new = Kept { left, key, name: format!("{side}{number}"), at };
            run.pipe(side, &new.key, if null { "-" } else { &new.name }, at);
            stream_time = stream_time.max(at);
            let length = |left| if left { windows.after } else { windows.before };
            let counts = !null && (new.left || outer);
            if counts {
                waiting.insert(alone(&new), new.clone());
            }
            for (value, time) in run.out() {
                if !value.contains('_') {
                    continue;
                }
                let Some(found) = waiting.remove(&value) else {
                    return Err(TestCaseError::fail(format!("{value} came out, again or wrongly")));
                };
                prop_assert_eq!(found.at, time, "{}", value);
                prop_assert!(!matched.contains(&found.name), "{} had a match", value);
                let late = found.name == new.name
                    && (new.key == "-" || (at + length(left)).max(0) < stream_time);
                let over = found.at + length(found.left) + windows.grace < stream_time;
                prop_assert!(late || over, "{} came out at {}", value, stream_time);
            }
            if !null && new.key != "-" {
                let found = model.matches(&new, windows);
                if !found.is_empty() {
                    matched.insert(new.name.clone());
                    waiting.remove(&alone(&new));
                }
                for one in found {
                    waiting.remove(&alone(&one));
                    matched.insert(one.name);
                }
                model.keep(new);
            }
        }
        // the last record closes the windows of all but itself
        waiting.retain(|_, record| !record.name.ends_with(&(last + 1).to_string()));
        prop_assert!(waiting.is_empty(), "{waiting:?} never came out");
    }
}
