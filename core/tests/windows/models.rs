//! Random histories: what was forwarded adds up to what a naive model says.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidemill_core::dsl::EmitStrategy;

use super::bench::{Bench, Kind, Options, Step, Windows};

/// More than any history lasts: nothing is late.
const EVER: u64 = 1 << 40;

/// Steps whose records are up to `back` earlier than the one before.
fn steps(back: i64) -> impl Strategy<Value = Vec<Step>> {
    let later = prop_oneof![
        30 => -back..30_i64,
        3 => Just(0_i64),
        2 => 30..200_i64,
        // beyond the next segments of a store
        1 => 50_000..300_000_i64,
    ];
    let record = ("[a-c]", later, prop_oneof![4 => Just(1_i64), 1 => 0..2_000_i64]);
    let step = prop_oneof![
        12 => record.prop_map(|(key, later, waited)| Step::Record(key, later, waited)),
        3 => Just(Step::Commit),
        1 => Just(Step::Restart),
        1 => Just(Step::Abort),
    ];
    proptest::collection::vec(step, 1..60)
}

fn run(options: Options, steps: &[Step]) -> Bench {
    let mut bench = Bench::new(options);
    steps.iter().for_each(|step| bench.take(step));
    bench.commit();
    bench
}

/// As `run`, with a last record after which all others' windows have closed.
fn run_to_the_end(options: Options, steps: &[Step]) -> Bench {
    let mut bench = Bench::new(options);
    steps.iter().for_each(|step| bench.take(step));
    bench.take(&Step::Record("z".to_owned(), 2 * EVER as i64, 10_000));
    bench.commit();
    bench
}

fn updating(kind: Kind, caching: bool) -> Options {
    Options { kind, caching, emit: EmitStrategy::OnWindowUpdate, interval: 0 }
}

/// Each record with the stream time at which it was taken.
fn observed(records: &[(String, i64)]) -> impl Iterator<Item = (usize, &str, i64, i64)> {
    records.iter().enumerate().scan(-1, |observed: &mut i64, (number, (key, at))| {
        *observed = (*observed).max(*at);
        Some((number, &**key, *at, *observed))
    })
}

fn time_model(records: &[(String, i64)], size: i64, advance: i64, grace: i64) -> Windows {
    let mut windows = Windows::new();
    for (number, key, at, observed) in observed(records) {
        // every start that there can be, one by one
        for start in (0..=at / advance).rev().map(|n| n * advance).take_while(|s| s + size > at) {
            if start + size > observed - grace {
                windows.entry((key.to_owned(), start, start + size)).or_default().insert(number);
            }
        }
    }
    windows
}

/// The windows of records none of which is late.
fn sliding_model(records: &[(String, i64)], difference: i64) -> Windows {
    let mut by_key: BTreeMap<&str, Vec<(usize, i64)>> = BTreeMap::new();
    for (number, (key, at)) in records.iter().enumerate() {
        by_key.entry(key).or_default().push((number, *at));
    }
    let mut windows = Windows::new();
    for (key, records) in by_key {
        let starts = records.iter().flat_map(|(_, at)| [(at - difference).max(0), at + 1]);
        for start in starts.collect::<BTreeSet<_>>() {
            let inside = |at: i64| (start..=start + difference).contains(&at);
            let within: BTreeSet<usize> =
                records.iter().filter(|(_, at)| inside(*at)).map(|(number, _)| *number).collect();
            if !within.is_empty() {
                windows.insert((key.to_owned(), start, start + difference), within);
            }
        }
    }
    windows
}

/// Sessions as a list: a record joins those of its key that are near and not closed.
fn session_model(records: &[(String, i64)], gap: i64, grace: i64) -> Windows {
    let mut sessions = Windows::new();
    let mut newest = -1;
    for (number, key, at, observed) in observed(records) {
        let near: Vec<_> = sessions
            .keys()
            .filter(|(of, start, end)| *of == key && *end >= at - gap && *start <= at + gap)
            .filter(|(.., end)| *end > newest - gap - grace)
            .cloned()
            .collect();
        let start = near.iter().map(|(_, start, _)| *start).fold(at, i64::min);
        let end = near.iter().map(|(.., end)| *end).fold(at, i64::max);
        if end < observed - gap - grace {
            continue;
        }
        let mut all = BTreeSet::from([number]);
        for session in near {
            all.extend(sessions.remove(&session).into_iter().flatten());
        }
        sessions.insert((key.to_owned(), start, end), all);
        newest = newest.max(end);
    }
    sessions
}

/// Checks that every window but those of the last record was forwarded, once.
fn check_finals(bench: &Bench, model: Windows) -> Result<(), TestCaseError> {
    let mut finals = Windows::new();
    for (key, records) in &bench.committed {
        let records = records.clone().expect("a final result is no tombstone");
        prop_assert!(finals.insert(key.clone(), records).is_none(), "{key:?} was forwarded twice");
    }
    let expected: Windows = model.into_iter().filter(|((key, ..), _)| key != "z").collect();
    prop_assert_eq!(finals, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn time_windows_hold_what_was_not_late(
        steps in steps(60),
        size in 1..40_u64,
        advance in 1..40_u64,
        grace in prop_oneof![Just(0), 1..60_u64],
        caching: bool,
    ) {
        let advance = advance.min(size);
        let bench = run(updating(Kind::Time(size, advance, grace), caching), &steps);
        let (size, advance, grace) = (size as i64, advance as i64, grace as i64);
        prop_assert_eq!(bench.last(), time_model(&bench.records(), size, advance, grace));
    }

    #[test]
    fn time_windows_have_one_final_result(
        steps in steps(60),
        size in 1..40_u64,
        advance in 1..40_u64,
        grace in prop_oneof![Just(0), 1..60_u64],
        interval in prop_oneof![Just(0), Just(1_000_u64)],
    ) {
        let advance = advance.min(size);
        let emit = EmitStrategy::OnWindowClose;
        let options =
            Options { kind: Kind::Time(size, advance, grace), caching: true, emit, interval };
        let bench = run_to_the_end(options, &steps);
        let (size, advance, grace) = (size as i64, advance as i64, grace as i64);
        check_finals(&bench, time_model(&bench.records(), size, advance, grace))?;
    }

    #[test]
    fn sliding_windows_hold_each_set_of_records_that_are_near(
        steps in steps(60),
        difference in 0..40_u64,
        caching: bool,
    ) {
        let bench = run(updating(Kind::Sliding(difference, EVER), caching), &steps);
        prop_assert_eq!(bench.last(), sliding_model(&bench.records(), difference as i64));
    }

    #[test]
    fn sliding_windows_in_order_need_no_grace_and_have_one_final_result(
        steps in steps(0),
        difference in 0..40_u64,
        grace in prop_oneof![Just(0), 1..60_u64],
        interval in prop_oneof![Just(0), Just(1_000_u64)],
        caching: bool,
    ) {
        let kind = Kind::Sliding(difference, grace);
        let bench = run(updating(kind, caching), &steps);
        prop_assert_eq!(bench.last(), sliding_model(&bench.records(), difference as i64));
        let closing = Options { kind, caching, emit: EmitStrategy::OnWindowClose, interval };
        let bench = run_to_the_end(closing, &steps);
        check_finals(&bench, sliding_model(&bench.records(), difference as i64))?;
    }

    #[test]
    fn sessions_hold_what_was_not_late(
        steps in steps(60),
        gap in 1..30_u64,
        grace in prop_oneof![Just(0), 1..60_u64, Just(EVER)],
        caching: bool,
    ) {
        let bench = run(updating(Kind::Session(gap, grace), caching), &steps);
        prop_assert_eq!(bench.last(), session_model(&bench.records(), gap as i64, grace as i64));
    }

    #[test]
    fn sessions_have_one_final_result(
        steps in steps(60),
        gap in 1..30_u64,
        grace in prop_oneof![Just(0), 1..60_u64],
        interval in prop_oneof![Just(0), Just(1_000_u64)],
    ) {
        let emit = EmitStrategy::OnWindowClose;
        let options =
            Options { kind: Kind::Session(gap, grace), caching: true, emit, interval };
        let bench = run_to_the_end(options, &steps);
        check_finals(&bench, session_model(&bench.records(), gap as i64, grace as i64))?;
    }
}
