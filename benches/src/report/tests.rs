//! The table and the aims, from numbers that are known.

use crate::system::{Job, System};

use super::{Conditions, Metric, Results, summary};

fn results() -> Results {
    let mut results = Results::new();
    for (round, rate) in [(1, 900_000.0), (2, 700_000.0), (3, 800_000.0)] {
        results.about(round, Job::Keyed, System::Tidemill);
        results.add(Metric::Rate, rate);
    }
    results.about(1, Job::Keyed, System::Raw);
    results.add(Metric::Rate, 1_000_000.0);
    results
}

#[test]
fn the_summary_shows_medians_and_ratios() {
    let conditions = Conditions { date: "2026-01-01".to_owned(), lines: Vec::new(), smoke: false };
    let text = summary(&results(), &conditions);
    let row = "| records/s, first to last commit | 1,000,000 | 800,000 | 0.80 | - |";
    assert!(text.contains(row), "{text}");
    assert!(text.contains("(aim: at least 0.70): 0.80, met."), "{text}");
    assert!(!text.contains("repartition"), "{text}");
}

#[test]
fn raw_numbers_keep_every_round() {
    let csv = results().csv();
    assert!(csv.contains("\n2,keyed,tidemill,records_per_s,700000.000\n"), "{csv}");
}
