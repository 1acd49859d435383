//! The bytes of records that wait for the ones before them.

use crate::record::{Header, Headers, Offset, OwnedRecord, Partition, Timestamp};
use crate::serdes::{Encoded, Serde, SerdeError};

const WHAT: &str = "a parked record";

/// Which record waits: its key's bytes and its revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParkedKey {
    pub(super) key: Vec<u8>,
    pub(super) revision: i64,
}

/// Length (4 bytes) and bytes of the key, then the revision (8 bytes, sign flipped), big-endian:
/// the records of a key lie together in the order of their revisions.
#[derive(Debug, Clone, Copy)]
pub(super) struct ParkedKeySerde;

impl Serde<ParkedKey> for ParkedKeySerde {
    fn serialize(
        &self,
        _: &str,
        parked: &ParkedKey,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        write_bytes(&parked.key, out)?;
        out.extend_from_slice(&(parked.revision ^ i64::MIN).to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<ParkedKey, SerdeError> {
        let mut reader = Reader(bytes.ok_or(SerdeError::Null(WHAT))?);
        let key = reader.bytes()?.to_vec();
        let revision = reader.number()? ^ i64::MIN;
        reader.end()?;
        Ok(ParkedKey { key, revision })
    }
}

/// A record that waits, and where it came from: what an error of its later processing is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parked {
    pub(super) topic: String,
    pub(super) partition: Partition,
    /// Key and value as this operator's serdes write them.
    pub(super) record: OwnedRecord,
}

/// Topic, partition, offset, timestamp, key, value, headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct ParkedSerde;

impl Serde<Parked> for ParkedSerde {
    fn serialize(
        &self,
        _: &str,
        parked: &Parked,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        let Parked { topic, partition, record } = parked;
        write_bytes(topic.as_bytes(), out)?;
        out.extend_from_slice(&partition.0.to_be_bytes());
        out.extend_from_slice(&record.offset.0.to_be_bytes());
        out.extend_from_slice(&record.timestamp.0.to_be_bytes());
        write_nullable(record.key.as_deref(), out)?;
        write_nullable(record.value.as_deref(), out)?;
        out.extend_from_slice(&length(record.headers.len())?.to_be_bytes());
        for header in record.headers.iter() {
            write_bytes(header.key.as_bytes(), out)?;
            write_nullable(header.value.as_deref(), out)?;
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<Parked, SerdeError> {
        let mut reader = Reader(bytes.ok_or(SerdeError::Null(WHAT))?);
        let topic = reader.text()?;
        let partition = Partition(i32::from_be_bytes(reader.take()?));
        let offset = Offset(reader.number()?);
        let timestamp = Timestamp(reader.number()?);
        let key = reader.nullable()?.map(<[u8]>::to_vec);
        let value = reader.nullable()?.map(<[u8]>::to_vec);
        let mut headers = Headers::new();
        for _ in 0..u32::from_be_bytes(reader.take()?) {
            let Header { key, value } =
                Header { key: reader.text()?, value: reader.nullable()?.map(<[u8]>::to_vec) };
            headers.add(key, value);
        }
        reader.end()?;
        Ok(Parked {
            topic,
            partition,
            record: OwnedRecord { offset, timestamp, key, value, headers },
        })
    }
}

fn length(of: usize) -> Result<u32, SerdeError> {
    u32::try_from(of).map_err(SerdeError::format)
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SerdeError> {
    out.extend_from_slice(&length(bytes.len())?.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn write_nullable(bytes: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), SerdeError> {
    out.push(u8::from(bytes.is_some()));
    bytes.map_or(Ok(()), |bytes| write_bytes(bytes, out))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SerdeError> {
        let found = self.0.len();
        let (taken, rest) = self.0.split_first_chunk().ok_or(SerdeError::Length {
            what: WHAT,
            expected: N,
            found,
        })?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<i64, SerdeError> {
        self.take().map(i64::from_be_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], SerdeError> {
        let expected = u32::from_be_bytes(self.take()?) as usize;
        let found = self.0.len();
        let split = self.0.split_at_checked(expected);
        let (taken, rest) = split.ok_or(SerdeError::Length { what: WHAT, expected, found })?;
        self.0 = rest;
        Ok(taken)
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, SerdeError> {
        match self.take()? {
            [0] => Ok(None),
            [1] => self.bytes().map(Some),
            [other] => Err(SerdeError::format(format!("{other} is neither null nor bytes"))),
        }
    }

    fn text(&mut self) -> Result<String, SerdeError> {
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(SerdeError::format)
    }

    fn end(&self) -> Result<(), SerdeError> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(SerdeError::format(format!("{more} bytes too many for {WHAT}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes<T>(serde: &impl Serde<T>, value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        serde.serialize("t", value, &mut out).unwrap();
        out
    }

    #[test]
    fn a_parked_record_comes_back_with_nulls_and_headers() {
        let mut headers = Headers::new();
        headers.add("a", None);
        headers.add("a", Some(Vec::new()));
        headers.add("b", Some(vec![7; 300]));
        for (key, value) in [(None, Some(Vec::new())), (Some(vec![1, 2]), None)] {
            let record = OwnedRecord {
                offset: Offset(9),
                timestamp: Timestamp(-1),
                key,
                value,
                headers: headers.clone(),
            };
            let parked = Parked { topic: "in".to_owned(), partition: Partition(3), record };
            let written = bytes(&ParkedSerde, &parked);
            assert_eq!(ParkedSerde.deserialize("t", Some(&written)).unwrap(), parked);
            for end in 0..written.len() {
                assert!(ParkedSerde.deserialize("t", Some(&written[..end])).is_err(), "{end}");
            }
            let longer = [&written[..], &[0]].concat();
            assert!(ParkedSerde.deserialize("t", Some(&longer)).is_err());
        }
    }

    #[test]
    fn the_records_of_a_key_lie_together_in_the_order_of_their_revisions() {
        let mut keys = Vec::new();
        for key in [vec![], vec![1], vec![1, 0], vec![2]] {
            for revision in [i64::MIN, -1, 0, 1, 300, i64::MAX] {
                let parked = ParkedKey { key: key.clone(), revision };
                let written = bytes(&ParkedKeySerde, &parked);
                assert_eq!(ParkedKeySerde.deserialize("t", Some(&written)).unwrap(), parked);
                keys.push((written, key.clone(), revision));
            }
        }
        keys.sort();
        for (index, (_, key, _)) in keys.iter().enumerate() {
            assert_eq!(*key, keys[index - index % 6].1, "the keys are mixed");
        }
        assert!(keys.chunks(6).all(|of_key| of_key.is_sorted_by_key(|(.., revision)| *revision)));
    }

    proptest! {
        /// Neither a panic nor more headers than the bytes could hold.
        #[test]
        fn damaged_records_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            at in any::<prop::sample::Index>(),
            with in any::<u8>(),
        ) {
            let _ = ParkedKeySerde.deserialize("t", Some(&bytes));
            let _ = ParkedSerde.deserialize("t", Some(&bytes));
            let mut headers = Headers::new();
            headers.add("a", Some(vec![1, 2]));
            let (offset, timestamp) = (Offset(9), Timestamp(-1));
            let (key, value) = (None, Some(bytes));
            let record = OwnedRecord { offset, timestamp, key, value, headers };
            let parked = Parked { topic: "in".to_owned(), partition: Partition(3), record };
            let mut written = self::bytes(&ParkedSerde, &parked);
            let at = at.index(written.len());
            written[at] = with;
            if let Ok(read) = ParkedSerde.deserialize("t", Some(&written)) {
                prop_assert!(read.record.headers.len() <= written.len());
                prop_assert_eq!(self::bytes(&ParkedSerde, &read), written);
            }
        }
    }
}
