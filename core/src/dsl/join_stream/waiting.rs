//! What waits in the store that both sides of a left or outer join share, as Kafka Streams writes
//! it.
//!
//! ```text
//!   key     timestamp 8 | side (1 left, 0 right) | key
//!   value   1 | count 4 | for each: length 4 | side | value
//! ```
//!
//! Numbers are big-endian. The store is in the order of these bytes: by time, then right before
//! left, then by key. Several values of one key and time are in one list (`ListSerializer`).

use crate::record::Timestamp;
use crate::serdes::{Encoded, Serde, SerdeError, SharedSerde};

const LEFT: u8 = 1;
const RIGHT: u8 = 0;

/// Lists whose elements differ in length.
const VARIABLE_SIZE: u8 = 1;

/// Under what a record waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WaitingKey<K> {
    pub(super) timestamp: Timestamp,
    pub(super) left: bool,
    pub(super) key: K,
}

/// A value of one of the streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LeftOrRight<V, VO> {
    Left(V),
    Right(VO),
}

pub(super) struct WaitingKeySerde<K>(pub(super) SharedSerde<K>);

impl<K: 'static> Serde<WaitingKey<K>> for WaitingKeySerde<K> {
    fn serialize(
        &self,
        topic: &str,
        value: &WaitingKey<K>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(&value.timestamp.0.to_be_bytes());
        out.push(if value.left { LEFT } else { RIGHT });
        self.0.serialize(topic, &value.key, out)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<WaitingKey<K>, SerdeError> {
        let malformed = |why: &str| SerdeError::format(format!("no key of a join: {why}"));
        let bytes = bytes.ok_or_else(|| malformed("it is null"))?;
        let cut_off = || malformed("it is cut off");
        let (timestamp, rest) = bytes.split_first_chunk().ok_or_else(cut_off)?;
        let (side, key) = rest.split_first().ok_or_else(cut_off)?;
        let left = is_left(*side).ok_or_else(|| malformed("its side is neither 0 nor 1"))?;
        let key = self.0.deserialize(topic, Some(key))?;
        Ok(WaitingKey { timestamp: Timestamp(i64::from_be_bytes(*timestamp)), left, key })
    }

    fn is_null(&self, value: &WaitingKey<K>) -> bool {
        self.0.is_null(&value.key)
    }
}

fn is_left(side: u8) -> Option<bool> {
    match side {
        LEFT => Some(true),
        RIGHT => Some(false),
        _ => None,
    }
}

/// Writes and reads the values of one key and time.
pub(super) struct WaitingValuesSerde<V, VO> {
    pub(super) left: SharedSerde<V>,
    pub(super) right: SharedSerde<VO>,
}

impl<V: 'static, VO: 'static> WaitingValuesSerde<V, VO> {
    fn write(
        &self,
        topic: &str,
        value: &LeftOrRight<V, VO>,
        out: &mut Vec<u8>,
    ) -> Result<(), SerdeError> {
        let encoded = match value {
            LeftOrRight::Left(value) => {
                out.push(LEFT);
                self.left.serialize(topic, value, out)?
            }
            LeftOrRight::Right(value) => {
                out.push(RIGHT);
                self.right.serialize(topic, value, out)?
            }
        };
        match encoded {
            Encoded::Bytes => Ok(()),
            Encoded::Null => Err(SerdeError::Null("a value that waits for a join")),
        }
    }

    fn read(&self, topic: &str, bytes: &[u8]) -> Result<LeftOrRight<V, VO>, SerdeError> {
        let (side, value) = bytes.split_first().ok_or_else(|| malformed("a value has no side"))?;
        match is_left(*side) {
            Some(true) => self.left.deserialize(topic, Some(value)).map(LeftOrRight::Left),
            Some(false) => self.right.deserialize(topic, Some(value)).map(LeftOrRight::Right),
            None => Err(malformed("a value's side is neither 0 nor 1")),
        }
    }
}

fn malformed(why: &str) -> SerdeError {
    SerdeError::format(format!("no list of values that wait for a join: {why}"))
}

fn count(length: usize) -> Result<[u8; 4], SerdeError> {
    let length = i32::try_from(length);
    length.map(i32::to_be_bytes).map_err(|_| malformed("it takes 2 GiB, or more"))
}

/// Takes a length or a count from the front.
fn read_count(bytes: &[u8]) -> Result<(usize, &[u8]), SerdeError> {
    let (count, rest) = bytes.split_first_chunk().ok_or_else(|| malformed("it is cut off"))?;
    let count = usize::try_from(i32::from_be_bytes(*count));
    Ok((count.map_err(|_| malformed("a length is below 0"))?, rest))
}

impl<V: 'static, VO: 'static> Serde<Vec<LeftOrRight<V, VO>>> for WaitingValuesSerde<V, VO> {
    fn serialize(
        &self,
        topic: &str,
        values: &Vec<LeftOrRight<V, VO>>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        out.push(VARIABLE_SIZE);
        out.extend_from_slice(&count(values.len())?);
        for value in values {
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            self.write(topic, value, out)?;
            let length = count(out.len() - at - 4)?;
            out[at..at + 4].copy_from_slice(&length);
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(
        &self,
        topic: &str,
        bytes: Option<&[u8]>,
    ) -> Result<Vec<LeftOrRight<V, VO>>, SerdeError> {
        let bytes = bytes.ok_or_else(|| malformed("it is null"))?;
        let (strategy, rest) = bytes.split_first().ok_or_else(|| malformed("it has no bytes"))?;
        if *strategy != VARIABLE_SIZE {
            return Err(malformed("its first byte is not 1"));
        }
        let (count, mut rest) = read_count(rest)?;
        // not more than there can be, whatever the count says
        let mut values = Vec::with_capacity(count.min(rest.len() / 5));
        for _ in 0..count {
            let (length, after) = read_count(rest)?;
            let value = after.split_at_checked(length);
            let (value, after) = value.ok_or_else(|| malformed("it is shorter than it says"))?;
            values.push(self.read(topic, value)?);
            rest = after;
        }
        if rest.is_empty() { Ok(values) } else { Err(malformed("it is longer than it says")) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::serdes::{i64, string};

    type Value = LeftOrRight<String, i64>;

    fn keys() -> WaitingKeySerde<String> {
        WaitingKeySerde(Arc::new(string()))
    }

    fn values() -> WaitingValuesSerde<String, i64> {
        WaitingValuesSerde { left: Arc::new(string()), right: Arc::new(i64()) }
    }

    fn bytes<T>(serde: &impl Serde<T>, value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        assert_eq!(serde.serialize("t", value, &mut out).unwrap(), Encoded::Bytes);
        out
    }

    /// The expected bytes are those of vectors of Kafka Streams 4.3.1.
    #[test]
    fn the_bytes_are_those_of_kafka_streams() {
        let key = WaitingKey { timestamp: Timestamp(8), left: false, key: "c".to_owned() };
        assert_eq!(bytes(&keys(), &key), b"\0\0\0\0\0\0\0\x08\0c");
        let both = vec![Value::Left("l6".to_owned()), Value::Left("l7".to_owned())];
        let expected = b"\x01\0\0\0\x02\0\0\0\x03\x01l6\0\0\0\x03\x01l7";
        assert_eq!(bytes(&values(), &both), expected);
        let right = bytes(&values(), &vec![Value::Right(1)]);
        assert_eq!(right, b"\x01\0\0\0\x01\0\0\0\x09\0\0\0\0\0\0\0\0\x01");
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let damaged: [&[u8]; 8] = [
            &[],
            &[0, 0, 0, 0, 0],
            &[1, 0, 0],
            &[1, 0xff, 0xff, 0xff, 0xff],
            &[1, 0x7f, 0xff, 0xff, 0xff],
            &[1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
            &[1, 0, 0, 0, 1, 0, 0, 0, 2, 2, b'x'],
            &[1, 0, 0, 0, 0, 0],
        ];
        for bytes in damaged {
            assert!(values().deserialize("t", Some(bytes)).is_err(), "{bytes:?}");
        }
        assert!(values().deserialize("t", None).is_err());
        for bytes in [&[][..], &[0; 8], &[0, 0, 0, 0, 0, 0, 0, 0, 2]] {
            assert!(keys().deserialize("t", Some(bytes)).is_err(), "{bytes:?}");
        }
        assert!(keys().deserialize("t", None).is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![any::<String>().prop_map(Value::Left), any::<i64>().prop_map(Value::Right)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            list in proptest::collection::vec(value(), 0..5),
            (timestamp, left, key) in any::<(i64, bool, String)>(),
        ) {
            let written = bytes(&values(), &list);
            prop_assert_eq!(values().deserialize("t", Some(&written)).unwrap(), list);
            let key = WaitingKey { timestamp: Timestamp(timestamp), left, key };
            let written = bytes(&keys(), &key);
            prop_assert_eq!(keys().deserialize("t", Some(&written)).unwrap(), key);
        }

        #[test]
        fn any_bytes_are_read_back_as_they_are_or_refused(
            mut noise in proptest::collection::vec(any::<u8>(), 0..40),
            list: bool,
        ) {
            if list && !noise.is_empty() {
                noise[0] = VARIABLE_SIZE;
            }
            if let Ok(read) = values().deserialize("t", Some(&noise)) {
                prop_assert_eq!(&bytes(&values(), &read), &noise);
            }
            if let Ok(read) = keys().deserialize("t", Some(&noise)) {
                prop_assert_eq!(&bytes(&keys(), &read), &noise);
            }
        }

        /// Time comes first, then the side, in the order of the bytes.
        #[test]
        fn the_store_is_in_the_order_of_time(
            (one, other) in (0..i64::MAX, 0..i64::MAX),
            (left, right) in any::<(bool, bool)>(),
        ) {
            let key = |timestamp, left| {
                let key = WaitingKey { timestamp: Timestamp(timestamp), left, key: String::new() };
                bytes(&keys(), &key)
            };
            let order = key(one, left).cmp(&key(other, right));
            prop_assert_eq!(order, (one, left).cmp(&(other, right)));
        }
    }
}
