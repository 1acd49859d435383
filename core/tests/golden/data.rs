//! Keys and values of the scenarios: one type for all of them, as `Object` is on the other side.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;
use tidemill_core::BoxError;
use tidemill_core::serdes::{self, Encoded, Serde, SerdeError};

/// A key or a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Datum {
    Null,
    Text(String),
    Long(i64),
}

impl Datum {
    pub(crate) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Text(text) => text.into(),
            Self::Long(number) => number.to_string().into(),
        }
    }

    /// Returns a number for any value: a number itself, the bytes of a text, 0 for null.
    pub(crate) fn measure(&self) -> i64 {
        match self {
            Self::Null => 0,
            Self::Text(text) => text.len() as i64,
            Self::Long(number) => *number,
        }
    }

    pub(crate) fn is_even(&self) -> bool {
        *self != Self::Null && self.measure() % 2 == 0
    }

    /// Returns `None` for null, as reducers and aggregators do.
    pub(crate) fn non_null(self) -> Option<Self> {
        (self != Self::Null).then_some(self)
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text.clone().into_bytes()),
            Self::Long(number) => Some(number.to_be_bytes().into()),
        }
    }

    /// Returns the bytes as a vector has them.
    pub(crate) fn escaped(&self) -> Value {
        escaped(self.bytes().as_deref())
    }
}

/// The value type of a stream: plain, or with the `None` that a table's changes have.
pub(crate) trait Nullable: Clone + 'static {
    fn datum(&self) -> Datum;
    fn of(datum: Datum) -> Self;
}

impl Nullable for Datum {
    fn datum(&self) -> Datum {
        self.clone()
    }

    fn of(datum: Datum) -> Self {
        datum
    }
}

impl Nullable for Option<Datum> {
    fn datum(&self) -> Datum {
        self.clone().unwrap_or(Datum::Null)
    }

    fn of(datum: Datum) -> Self {
        datum.non_null()
    }
}

/// Counts are numbers by type.
impl Nullable for i64 {
    fn datum(&self) -> Datum {
        Datum::Long(*self)
    }

    fn of(datum: Datum) -> Self {
        match datum {
            Datum::Long(number) => number,
            other => panic!("{other:?} is no count"),
        }
    }
}

impl Nullable for Option<i64> {
    fn datum(&self) -> Datum {
        self.map_or(Datum::Null, Datum::Long)
    }

    fn of(datum: Datum) -> Self {
        datum.non_null().map(i64::of)
    }
}

/// How a scenario's type is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatumSerde {
    Text,
    Long,
}

impl DatumSerde {
    pub(crate) fn named(name: &str) -> Result<Self, BoxError> {
        match name {
            "string" => Ok(Self::Text),
            "long" => Ok(Self::Long),
            _ => Err(format!("no type is called {name}").into()),
        }
    }

    /// Returns the bytes of a key or value of an input record.
    pub(crate) fn input(self, json: &Value) -> Result<Option<Vec<u8>>, BoxError> {
        let datum = match (self, json) {
            (_, Value::Null) => Datum::Null,
            (_, Value::Object(raw)) => {
                let text =
                    raw.get("bytes").and_then(Value::as_str).ok_or("raw bytes are a text")?;
                return Ok(Some(unescaped(text)?));
            }
            (Self::Text, Value::String(text)) => Datum::Text(text.clone()),
            (Self::Long, Value::Number(number)) if number.is_i64() => {
                Datum::Long(number.as_i64().unwrap_or_default())
            }
            _ => return Err(format!("{json} is no {self:?}").into()),
        };
        Ok(datum.bytes())
    }
}

impl<T: Nullable> Serde<T> for DatumSerde {
    fn serialize(&self, topic: &str, value: &T, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        match (self, value.datum()) {
            (_, Datum::Null) => Ok(Encoded::Null),
            (Self::Text, Datum::Text(text)) => serdes::string().serialize(topic, &text, out),
            (Self::Long, Datum::Long(number)) => serdes::i64().serialize(topic, &number, out),
            (_, other) => Err(SerdeError::format(format!("{other:?} is no {self:?}"))),
        }
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        let datum = match (self, bytes) {
            (_, None) => Datum::Null,
            (Self::Text, _) => Datum::Text(serdes::string().deserialize(topic, bytes)?),
            (Self::Long, _) => Datum::Long(serdes::i64().deserialize(topic, bytes)?),
        };
        Ok(T::of(datum))
    }

    fn is_null(&self, value: &T) -> bool {
        value.datum() == Datum::Null
    }
}

/// Bytes as text: printable ASCII as it is, everything else and `%` as `%` and two digits.
pub(crate) fn escaped(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'%' => text.push_str("%25"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => write!(text, "%{byte:02x}").expect("a String takes everything"),
        }
    }
    text.into()
}

pub(crate) fn unescaped(text: &str) -> Result<Vec<u8>, BoxError> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '%' {
            bytes.push(u8::from_str_radix(rest.get(1..3).ok_or("% needs two digits")?, 16)?);
            rest = &rest[3..];
        } else {
            bytes.push(u8::try_from(first)?);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(bytes)
}
