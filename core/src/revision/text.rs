//! A revision in JSON: a string, because many readers of JSON keep numbers as doubles, which are
//! exact up to 2^53 only. Revisions made of timestamps are larger.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct PriceUpdated {
//!     cents: i64,
//!     #[serde(with = "tidemill_core::revision::text")]
//!     revision: i64,
//! }
//!
//! let update = PriceUpdated { cents: 199, revision: 1_795_339_200_000_000_007 };
//! let json = serde_json::to_string(&update)?;
//! assert_eq!(json, r#"{"cents":199,"revision":"1795339200000000007"}"#);
//! assert_eq!(serde_json::from_str::<PriceUpdated>(&json)?.revision, update.revision);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::fmt;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::ser::Serializer;

/// Writes the revision as a string of decimal digits.
///
/// # Errors
/// What the serializer says.
pub fn serialize<S: Serializer>(revision: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(revision)
}

/// Reads a string of decimal digits or an integer. A number with a fraction or an exponent is
/// refused: it may have lost digits on its way.
///
/// # Errors
/// If it is neither, or does not fit into 64 bits.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    deserializer.deserialize_any(Revision)
}

struct Revision;

impl Visitor<'_> for Revision {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a revision: an integer of 64 bits, or its decimal digits as a string")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}
