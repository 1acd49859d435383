//! Where sources start that have no committed offset (`auto.offset.reset`).

use std::fmt;
use std::time::Duration;

use super::value::{OptionValue, Rejected};

/// Where a source without a committed offset starts (`auto.offset.reset`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AutoOffsetReset {
    /// At the oldest record.
    Earliest,
    /// At the records written from now on.
    Latest,
    /// Nowhere: stop with an error.
    None,
    /// At the first record that is not older than this, by its timestamp and the clock of the
    /// moment when the partition is first read; at the end if there is none (KIP-1106).
    ByDuration(Duration),
}

const BY_DURATION: &str = "by_duration:";

impl OptionValue for AutoOffsetReset {
    const KIND: &'static str = "earliest, latest, none, by_duration:<ISO 8601 duration>";

    fn parse(text: &str) -> Result<Self, Rejected> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            "none" => Ok(Self::None),
            _ => {
                text.strip_prefix(BY_DURATION).and_then(parse_duration).map(Self::ByDuration).ok_or(
                    "it must be one of earliest, latest, none, or by_duration: and an ISO 8601 \
                     duration of days, hours, minutes and seconds, e.g. by_duration:P1DT12H",
                )
            }
        }
    }

    fn print(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl fmt::Display for AutoOffsetReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::None => f.write_str("none"),
            Self::ByDuration(duration) => {
                let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
                write!(f, "{BY_DURATION}PT{seconds}")?;
                if nanos > 0 {
                    write!(f, ".{nanos:09}")?;
                }
                f.write_str("S")
            }
        }
    }
}

/// Reads what Java's `Duration.parse` does, but for signs: `PnDTnHnMn.nS`, each part at most once.
fn parse_duration(text: &str) -> Option<Duration> {
    let (days, time) = match text.strip_prefix('P')?.split_once('T') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (text.strip_prefix('P')?, ""),
    };
    let (mut rest, mut total, mut parts) = (days, Duration::ZERO, 0);
    let mut take = |rest: &mut &str, unit: char, seconds: u64| {
        let Some((number, after)) = rest.split_once(unit) else { return Some(()) };
        *rest = after;
        parts += 1;
        total = total.checked_add(scaled(number, seconds, unit == 'S')?)?;
        Some(())
    };
    take(&mut rest, 'D', 86_400)?;
    if !rest.is_empty() {
        return None;
    }
    rest = time;
    take(&mut rest, 'H', 3_600)?;
    take(&mut rest, 'M', 60)?;
    take(&mut rest, 'S', 1)?;
    (rest.is_empty() && parts > 0).then_some(total)
}

/// Reads a number of a unit; only seconds have a fraction, of up to nine digits.
fn scaled(number: &str, seconds: u64, fraction: bool) -> Option<Duration> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, nanos) = match number.split_once('.') {
        Some((whole, part)) if fraction && digits(part) && part.len() <= 9 => {
            (whole, format!("{part:0<9}").parse().ok()?)
        }
        Some(_) => return None,
        None => (number, 0),
    };
    let whole = whole.parse::<u64>().ok().filter(|_| digits(whole))?;
    Some(Duration::new(whole.checked_mul(seconds)?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Option<Duration> {
        match AutoOffsetReset::parse(&format!("by_duration:{text}")) {
            Ok(AutoOffsetReset::ByDuration(duration)) => Some(duration),
            Ok(other) => panic!("{text} became {other}"),
            Err(_) => None,
        }
    }

    #[test]
    fn durations_are_read_as_java_reads_them() {
        for (text, millis) in [
            ("PT0S", 0),
            ("PT1H", 3_600_000),
            ("P1D", 86_400_000),
            ("P2DT3H4M5.006S", 2 * 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5_006),
            ("PT90M", 5_400_000),
            ("PT0.5S", 500),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for wrong in [
            "",
            "P",
            "PT",
            "1H",
            "P1H",
            "PT1",
            "PT1S1M",
            "PT1M1M",
            "P1W",
            "PT1.5H",
            "PT-1S",
            "PT.S",
            "PT1.S",
            "P1DT",
            "PT1.0000000001S",
            "PT99999999999999999999S",
            "P999999999999999D",
            "PT1H ",
            "pt1h",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for nanos in [0, 1, 1_500_000_000, 86_400_000_000_000] {
            let reset = AutoOffsetReset::ByDuration(Duration::from_nanos(nanos));
            assert_eq!(AutoOffsetReset::parse(&reset.to_string()), Ok(reset));
        }
    }
}
