//! How transactions are read.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use tidemill::serdes::{Encoded, Serde, SerdeError, json};

use super::{Kind, Transaction};

/// The serde of [`Transaction`]: a JSON object, nothing else that serde would take for a struct.
#[derive(Debug, Clone, Copy, Default)]
pub struct TransactionJson;

impl Serde<Transaction> for TransactionJson {
    fn serialize(
        &self,
        topic: &str,
        value: &Transaction,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        json().serialize(topic, value, out)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Transaction, SerdeError> {
        let first = bytes.and_then(|bytes| bytes.iter().find(|byte| !byte.is_ascii_whitespace()));
        if first.is_some_and(|first| *first != b'{') {
            return Err(SerdeError::format("a transaction is a JSON object"));
        }
        json().deserialize(topic, bytes)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "\"deposit\" or \"withdrawal\"", |text| match text {
            "deposit" => Ok(Self::Deposit),
            "withdrawal" => Ok(Self::Withdrawal),
            _ => Err("neither \"deposit\" nor \"withdrawal\""),
        })
    }
}

/// Reads a JSON string through `parse`, without a copy.
pub(super) fn from_text<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    expected: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    struct Text<F>(&'static str, F);

    impl<T, E: fmt::Display, F: Fn(&str) -> Result<T, E>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<X: Error>(self, text: &str) -> Result<T, X> {
            (self.1)(text).map_err(X::custom)
        }
    }

    deserializer.deserialize_str(Text(expected, parse))
}
