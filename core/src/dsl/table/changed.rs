//! The bytes of a change in the repartition topic of a grouped table, as Kafka Streams writes them.
//!
//! The last byte says what there is: `old 00`, `new 01`, or `length of new, new, old 02`, where the
//! length is a zig-zag variable-length integer (KIP-904). 3, 4 and 5, which 3.5 wrote for a while
//! before its release, are not read.

use std::sync::Arc;

use super::Change;
use crate::serdes::{Encoded, Serde, SerdeError, SharedSerde};

const OLD: u8 = 0;
const NEW: u8 = 1;
const BOTH: u8 = 2;

/// Writes and reads changes of values of `V`.
pub(super) struct ChangedSerde<V>(SharedSerde<V>);

impl<V> ChangedSerde<V> {
    pub(super) fn new(values: &SharedSerde<V>) -> Self {
        Self(Arc::clone(values))
    }

    /// Writes one of the values; null is not a value here.
    fn write(&self, topic: &str, value: &V, out: &mut Vec<u8>) -> Result<(), SerdeError>
    where
        V: 'static,
    {
        match self.0.serialize(topic, value, out)? {
            Encoded::Bytes => Ok(()),
            Encoded::Null => Err(SerdeError::Null("a value of a change")),
        }
    }
}

impl<V: 'static> Serde<Change<V>> for ChangedSerde<V> {
    fn serialize(
        &self,
        topic: &str,
        change: &Change<V>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        match (&change.new, &change.old) {
            (Some(new), None) => {
                self.write(topic, new, out)?;
                out.push(NEW);
            }
            (None, Some(old)) => {
                self.write(topic, old, out)?;
                out.push(OLD);
            }
            (Some(new), Some(old)) => {
                let mut bytes = Vec::new();
                self.write(topic, new, &mut bytes)?;
                write_varint(bytes.len(), out);
                out.extend_from_slice(&bytes);
                self.write(topic, old, out)?;
                out.push(BOTH);
            }
            (None, None) => return Ok(Encoded::Null),
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Change<V>, SerdeError> {
        let malformed = |why: &str| SerdeError::format(format!("no change of a table: {why}"));
        let (flag, rest) =
            bytes.and_then(<[u8]>::split_last).ok_or_else(|| malformed("it has no bytes"))?;
        let read = |bytes: &[u8]| self.0.deserialize(topic, Some(bytes)).map(Some);
        match *flag {
            OLD => Ok(Change { new: None, old: read(rest)? }),
            NEW => Ok(Change { new: read(rest)?, old: None }),
            BOTH => {
                let (length, rest) =
                    read_varint(rest).ok_or_else(|| malformed("its length is cut off"))?;
                let (new, old) = rest
                    .split_at_checked(length)
                    .ok_or_else(|| malformed("it is shorter than it says"))?;
                Ok(Change { new: read(new)?, old: read(old)? })
            }
            _ => Err(malformed("its last byte is not 0, 1 or 2")),
        }
    }

    fn is_null(&self, change: &Change<V>) -> bool {
        change.new.is_none() && change.old.is_none()
    }
}

/// Writes a length as Kafka's zig-zag variable-length integer.
fn write_varint(length: usize, out: &mut Vec<u8>) {
    let mut rest = length << 1;
    while rest >= 0x80 {
        // the low seven bits, with the mark that more follow
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

/// Reads one from the front; `None` if there is none, or it is negative or beyond 32 bits.
fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut value, mut rest) = (0_u64, bytes);
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        rest = after;
        if byte & 0x80 == 0 {
            let length = u32::try_from(value).ok().filter(|value| value & 1 == 0)? >> 1;
            return Some((usize::try_from(length).ok()?, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::serdes::string;

    fn bytes(new: Option<&str>, old: Option<&str>) -> Option<Vec<u8>> {
        let change = Change { new: new.map(str::to_owned), old: old.map(str::to_owned) };
        let serde = ChangedSerde::new(&(Arc::new(string()) as SharedSerde<String>));
        let mut out = Vec::new();
        match serde.serialize("t", &change, &mut out).unwrap() {
            Encoded::Null => None,
            Encoded::Bytes => {
                assert_eq!(serde.deserialize("t", Some(&out)).unwrap(), change);
                Some(out)
            }
        }
    }

    /// The expected bytes are what ChangedSerializer of Kafka Streams 4.3.1 writes.
    #[test]
    fn the_bytes_are_those_of_kafka_streams() {
        assert_eq!(bytes(Some("n"), Some("o")).unwrap(), [0x02, b'n', b'o', 2]);
        assert_eq!(bytes(None, Some("o")).unwrap(), [b'o', 0]);
        assert_eq!(bytes(Some("n"), None).unwrap(), [b'n', 1]);
        assert_eq!(bytes(Some(""), Some("")).unwrap(), [0, 2]);
        let long = bytes(Some(&"x".repeat(100)), Some("old")).unwrap();
        assert_eq!(&long[..3], [0xc8, 0x01, b'x']);
        assert_eq!(&long[102..], [b'o', b'l', b'd', 2]);
        assert_eq!(bytes(None, None), None);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let serde = ChangedSerde::new(&(Arc::new(string()) as SharedSerde<String>));
        let damaged: [&[u8]; 6] =
            [&[], &[9], &[2], &[0x80, 2], &[0x05, b'a', 2], &[0xff, 0xff, 0xff, 0xff, 0xff, 2]];
        for bytes in damaged {
            assert!(serde.deserialize("t", Some(bytes)).is_err(), "{bytes:?}");
        }
        assert!(serde.deserialize("t", None).is_err());
    }

    proptest! {
        #[test]
        fn any_change_is_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..20),
            flag in 0..4_u8,
        ) {
            let values = Arc::new(crate::serdes::bytes()) as SharedSerde<Vec<u8>>;
            let serde = ChangedSerde::new(&values);
            let _ = serde.deserialize("t", Some(&bytes));
            let flagged = [&bytes[..], &[flag]].concat();
            if let Ok(Change { new, old }) = serde.deserialize("t", Some(&flagged)) {
                let length = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
                prop_assert!(length(&new) + length(&old) <= bytes.len());
            }
        }
    }
}
