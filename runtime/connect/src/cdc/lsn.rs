//! Places in PostgreSQL's write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place in PostgreSQL's write-ahead log, written as PostgreSQL writes it: `16/B374D848`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

/// A text that is no place in a write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no log sequence number of PostgreSQL")]
pub struct LsnError(String);

impl Lsn {
    /// Returns how many bytes of log lie between `earlier` and here, 0 if it is not earlier.
    #[must_use]
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl FromStr for Lsn {
    type Err = LsnError;

    fn from_str(text: &str) -> Result<Self, LsnError> {
        let half = |half: &str| {
            let digits = (1..=8).contains(&half.len()) && !half.starts_with('+');
            u64::from_str_radix(half, 16).ok().filter(|_| digits)
        };
        let parts = text.split_once('/').map(|(high, low)| (half(high), half(low)));
        match parts {
            Some((Some(high), Some(low))) => Ok(Self(high << 32 | low)),
            _ => Err(LsnError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Lsn {
    type Error = LsnError;

    fn try_from(text: String) -> Result<Self, LsnError> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}
