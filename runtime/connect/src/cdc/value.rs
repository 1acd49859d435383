//! Values of rows: what PostgreSQL printed, read by its type.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use super::pgoutput::Datum;

/// What stands in an envelope for a value that PostgreSQL did not send, as Debezium writes it.
pub const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// What a column holds, in as far as it matters for JSON. Types that are not named here are text,
/// as PostgreSQL prints them: arrays, enums, ranges, intervals, addresses, types of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// `boolean`
    Bool,
    /// `smallint`, `integer`, `bigint`, `oid`: the number of its bits.
    Int(u8),
    /// `real`, `double precision`: the number of its bits.
    Float(u8),
    /// `numeric`
    Numeric,
    /// `uuid`
    Uuid,
    /// `date`
    Date,
    /// `time`
    Time,
    /// `timestamp`
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// `json`, `jsonb`
    Json,
    /// `bytea`
    Bytes,
    /// All others.
    Text,
}

impl ColumnType {
    /// Returns what the type with this object id is.
    #[must_use]
    pub fn of(type_oid: u32) -> Self {
        match type_oid {
            16 => Self::Bool,
            17 => Self::Bytes,
            20 => Self::Int(64),
            21 => Self::Int(16),
            23 => Self::Int(32),
            26 => Self::Int(64),
            114 | 3802 => Self::Json,
            700 => Self::Float(32),
            701 => Self::Float(64),
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::TimestampTz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            _ => Self::Text,
        }
    }
}

/// A value of a row.
///
/// In JSON numbers stay exact: `bigint` is a number of all its digits, `numeric` a string. Times
/// are ISO 8601 strings, those with a time zone in UTC. `json` is a string that holds the JSON, so
/// that nothing of it is lost or reordered; `bytea` is base64.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Null.
    Null,
    /// Stored out of line and not changed, so PostgreSQL did not send it. Never null.
    Unchanged,
    /// `boolean`
    Bool(bool),
    /// `smallint`, `integer`, `bigint`, `oid`
    Int(i64),
    /// `real`, `double precision`
    Float(f64),
    /// All others, in the form that stands in the JSON, save for `bytea`.
    Text(String),
    /// `bytea`
    Bytes(Vec<u8>),
}

/// A value is not what its type says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a value of type {of:?} {what}")]
pub struct ValueError {
    /// The type.
    pub of: ColumnType,
    /// What is wrong with it. The value itself may be nobody's business, so it is not told.
    pub what: &'static str,
}

impl Value {
    /// Reads a value as it was sent.
    ///
    /// # Errors
    /// If it is not what its type says, is no UTF-8, or in binary form, which nobody asked for.
    pub fn read(datum: &Datum, of: ColumnType) -> Result<Self, ValueError> {
        match datum {
            Datum::Null => Ok(Self::Null),
            Datum::Unchanged => Ok(Self::Unchanged),
            Datum::Binary(_) => Err(ValueError { of, what: "came in binary form" }),
            Datum::Text(bytes) => {
                let text = std::str::from_utf8(bytes);
                Self::parse(text.map_err(|_| ValueError { of, what: "is no UTF-8" })?, of)
            }
        }
    }

    /// Reads what PostgreSQL printed.
    ///
    /// # Errors
    /// If it is not what its type says.
    pub fn parse(text: &str, of: ColumnType) -> Result<Self, ValueError> {
        let error = |what| ValueError { of, what };
        Ok(match of {
            ColumnType::Bool => match text {
                "t" => Self::Bool(true),
                "f" => Self::Bool(false),
                _ => return Err(error("is neither t nor f")),
            },
            ColumnType::Int(_) => Self::Int(text.parse().map_err(|_| error("is no integer"))?),
            ColumnType::Float(_) => Self::Float(text.parse().map_err(|_| error("is no number"))?),
            ColumnType::Bytes => Self::Bytes(unhex(text).ok_or_else(|| error("is no hex"))?),
            ColumnType::Timestamp => Self::Text(iso(text)),
            ColumnType::TimestampTz => Self::Text(iso_utc(text)),
            ColumnType::Numeric
            | ColumnType::Uuid
            | ColumnType::Date
            | ColumnType::Time
            | ColumnType::Json
            | ColumnType::Text => Self::Text(text.to_owned()),
        })
    }
}

/// `2026-11-22 10:00:00.5` is `2026-11-22T10:00:00.5`; `infinity` and years B.C. stay.
fn iso(text: &str) -> String {
    text.replacen(' ', "T", usize::from(!text.ends_with("BC")))
}

/// As [`iso`], with the session's time zone, which is UTC, written as `Z`.
fn iso_utc(text: &str) -> String {
    text.strip_suffix("+00").map_or_else(|| text.to_owned(), |text| iso(text) + "Z")
}

/// `\x0aff`
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(pairs.len());
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(bytes)
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Unchanged => serializer.serialize_str(UNAVAILABLE),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            // JSON has no number for these
            Self::Float(value) if value.is_nan() => serializer.serialize_str("NaN"),
            Self::Float(value) if *value > 0.0 => serializer.serialize_str("Infinity"),
            Self::Float(_) => serializer.serialize_str("-Infinity"),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{ColumnType, Datum, Value, ValueError};

    fn json(text: &str, of: ColumnType) -> String {
        serde_json::to_string(&Value::parse(text, of).unwrap()).unwrap()
    }

    #[test]
    fn values_become_json_by_their_type() {
        assert_eq!(json("t", ColumnType::Bool), "true");
        assert_eq!(json("-9223372036854775808", ColumnType::Int(64)), "-9223372036854775808");
        assert_eq!(json("0.1", ColumnType::Float(32)), "0.1");
        assert_eq!(json("NaN", ColumnType::Float(64)), "\"NaN\"");
        assert_eq!(json("-Infinity", ColumnType::Float(64)), "\"-Infinity\"");
        assert_eq!(
            json("12345678901234567890.10", ColumnType::Numeric),
            "\"12345678901234567890.10\""
        );
        assert_eq!(json("\\x00ff", ColumnType::Bytes), "\"AP8=\"");
        assert_eq!(
            json("{\"b\": 1, \"a\": 1e400}", ColumnType::Json),
            r#""{\"b\": 1, \"a\": 1e400}""#
        );
        assert_eq!(json("{1,NULL}", ColumnType::Text), "\"{1,NULL}\"");
    }

    #[test]
    fn times_become_iso_8601() {
        let timestamp = |text| json(text, ColumnType::Timestamp);
        assert_eq!(timestamp("2026-11-22 10:00:00.5"), "\"2026-11-22T10:00:00.5\"");
        assert_eq!(timestamp("infinity"), "\"infinity\"");
        assert_eq!(timestamp("0044-03-15 12:00:00 BC"), "\"0044-03-15 12:00:00 BC\"");
        let timestamp = |text| json(text, ColumnType::TimestampTz);
        assert_eq!(timestamp("2026-11-22 10:00:00.5+00"), "\"2026-11-22T10:00:00.5Z\"");
        assert_eq!(timestamp("-infinity"), "\"-infinity\"");
    }

    #[test]
    fn what_is_not_of_its_type_is_an_error_that_does_not_tell_the_value() {
        let error = Value::parse("secret", ColumnType::Int(32)).unwrap_err();
        assert_eq!(error.to_string(), "a value of type Int(32) is no integer");
        assert!(Value::parse("true", ColumnType::Bool).is_err());
        assert!(Value::parse("\\x0", ColumnType::Bytes).is_err());
        assert!(Value::parse("\\x0g", ColumnType::Bytes).is_err());
        let latin = Datum::Text(Bytes::from_static(b"\xe4"));
        let error = ValueError { of: ColumnType::Text, what: "is no UTF-8" };
        assert_eq!(Value::read(&latin, ColumnType::Text), Err(error));
        assert!(Value::read(&Datum::Binary(Bytes::new()), ColumnType::Text).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,20}", oid in prop_oneof![0u32..4000, Just(1184u32)]) {
            let _ = Value::parse(&text, ColumnType::of(oid));
        }

        #[test]
        fn integers_and_floats_come_through_exactly(int: i64, float: f64) {
            prop_assert_eq!(json(&int.to_string(), ColumnType::Int(64)), int.to_string());
            let through: f64 = json(&format!("{float:e}"), ColumnType::Float(64)).parse().unwrap();
            prop_assert_eq!(through.to_bits(), float.to_bits());
        }
    }
}
