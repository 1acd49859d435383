//! Medians, spread and the words of the summary.

use super::{Metric, Results, number};
use crate::system::System;

#[test]
fn a_median_comes_with_its_spread() {
    let mut results = Results::new();
    for (round, value) in [(1, 90.0), (2, 110.0), (3, 100.0)] {
        results.about(round, System::Plain);
        results.add(Metric::Rate, value);
    }
    results.add(Metric::Rate, f64::INFINITY);
    assert_eq!(results.median(System::Plain, Metric::Rate), Some((100.0, 10.0)));
    assert_eq!(results.median(System::Plain, Metric::Rss), None);
    assert_eq!(results.csv().lines().count(), 4);
}

#[test]
fn numbers_have_three_digits_and_groups() {
    assert_eq!(number(1_234_567.8), "1,234,568");
    assert_eq!(
        (number(123.4), number(12.34), number(1.234)),
        ("123".into(), "12.3".into(), "1.23".into())
    );
}
