//! Dates are those of the calendar.

use super::civil;

#[test]
fn days_become_dates_of_the_calendar() {
    assert_eq!(civil(0), (1970, 1, 1));
    assert_eq!(civil(19_782), (2024, 2, 29));
    assert_eq!(civil(20_513), (2026, 3, 1));
}
