//! Amounts: decimal text and the integer minor units it stands for.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json::from_text;

/// An amount of money that is not negative, in minor units (cents). As text an unsigned decimal
/// with at most two fraction digits: `12`, `12.3`, `12.34`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

/// A text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmountError {
    /// It has another form.
    Form,
    /// It does not fit in 64 bits.
    TooLarge,
}

impl fmt::Display for AmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "not a decimal without a sign, with at most two fraction digits",
            Self::TooLarge => "an amount that does not fit in 64 bits",
        })
    }
}

impl std::error::Error for AmountError {}

impl Amount {
    /// Returns the amount in minor units, at least 0.
    #[must_use]
    pub fn minor_units(self) -> i64 {
        self.0
    }

    /// Reads a decimal text.
    ///
    /// # Errors
    /// If the text has another form or the amount does not fit in 64 bits.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let (units, cents) = match text.split_once('.') {
            None => (text, ""),
            Some((_, "")) => return Err(AmountError::Form),
            Some(parts) => parts,
        };
        if units.is_empty() || cents.len() > 2 {
            return Err(AmountError::Form);
        }
        let padding = "00".get(cents.len()..).unwrap_or_default();
        let mut minor: i64 = 0;
        for digit in units.bytes().chain(cents.bytes()).chain(padding.bytes()) {
            if !digit.is_ascii_digit() {
                return Err(AmountError::Form);
            }
            let more = minor.checked_mul(10).and_then(|m| m.checked_add(i64::from(digit - b'0')));
            minor = more.ok_or(AmountError::TooLarge)?;
        }
        Ok(Self(minor))
    }
}

/// Returns the text of minor units: always two fraction digits, `-` if negative.
pub(super) fn format(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let absolute = minor.unsigned_abs();
    std::format!("{sign}{}.{:02}", absolute / 100, absolute % 100)
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(self.0))
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "an amount as decimal text", Self::parse)
    }
}
