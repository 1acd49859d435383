//! Record batches of Kafka's format 2, written and read: what a producer sends and a fetch returns.
//!
//! By hand, since a header's name may occur twice, which `kafka_protocol::records` can't hold.

mod decode;
mod encode;
mod varint;

use bytes::Bytes;

pub(super) use decode::{Batch, batches};
pub(super) use encode::encode;

/// One record on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outbound {
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) timestamp: i64,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Outbound {
    /// Bytes of key, value and headers, for bounds.
    pub(super) fn size(&self) -> usize {
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len));
        bytes(&self.key) + bytes(&self.value) + headers.sum::<usize>()
    }
}

/// Who writes a batch. Without idempotence all are -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) producer_id: i64,
    pub(super) epoch: i16,
    pub(super) transactional: bool,
}

const MAGIC: u8 = 2;
/// Bytes before the part that the length counts.
const PREFIX: usize = 12;
/// Bytes of a batch before its records.
const HEADER: usize = 61;
/// Where the checksum is, and what it covers from.
const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const LOG_APPEND_TIME: i16 = 1 << 3;
const COMPRESSION: i16 = 0b111;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(n: u8) -> Outbound {
        Outbound {
            key: (n > 0).then(|| Bytes::from(vec![n; 3])),
            value: (n != 1).then(|| Bytes::from(vec![n; usize::from(n) * 100])),
            timestamp: 1_000 - i64::from(n),
            headers: vec![
                ("a".to_owned(), None),
                ("a".to_owned(), Some(Vec::new())),
                ("b".to_owned(), Some(vec![n])),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let writer = Writer { producer_id: 7, epoch: 3, transactional: true };
        let records = [record(0), record(1), record(2)];
        let bytes = encode(writer, 41, &records);
        let mut read = batches(bytes).collect::<Result<Vec<_>, _>>().expect("it is well-formed");
        let batch = read.pop().expect("one batch");
        assert!(read.is_empty());
        assert_eq!((batch.base_offset, batch.next_offset()), (0, 3));
        assert_eq!(
            (batch.producer_id, batch.is_transactional(), batch.is_control()),
            (7, true, false)
        );
        let messages = batch.records().collect::<Result<Vec<_>, _>>().expect("it is well-formed");
        for (message, record) in messages.iter().zip(&records) {
            use tidemill_core::record::RawRecord;
            assert_eq!(message.key(), record.key.as_deref());
            assert_eq!(message.value(), record.value.as_deref());
            assert_eq!(message.timestamp().0, record.timestamp);
            let headers = message.headers();
            let headers: Vec<_> =
                headers.iter().map(|one| (one.key.to_string(), one.value.clone())).collect();
            let expected: Vec<_> =
                record.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            assert_eq!(headers, expected);
        }
        assert_eq!(messages.len(), 3);
    }

    #[test]
    fn the_library_of_the_broker_reads_what_is_written() {
        let writer = Writer { producer_id: 7, epoch: 3, transactional: true };
        let mut bytes = encode(writer, 41, &[record(0), record(2)]);
        let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes)
            .expect("the format is Kafka's");
        assert_eq!(set.records.len(), 2);
        assert_eq!(set.records[1].value.as_ref().map(Bytes::len), Some(200));
        assert_eq!(set.records[1].sequence, 42);
        assert_eq!((set.records[0].producer_id, set.records[0].producer_epoch), (7, 3));
        assert!(set.records[0].transactional);
    }

    #[test]
    fn a_torn_or_foreign_batch_is_an_error() {
        let writer = Writer { producer_id: -1, epoch: -1, transactional: false };
        let bytes = encode(writer, -1, &[record(2)]);
        for cut in 1..bytes.len() {
            let torn = bytes.slice(..cut);
            assert!(batches(torn).next().is_none_or(|batch| batch.is_err()), "cut at {cut}");
        }
        let mut damaged = bytes.to_vec();
        damaged[70] ^= 1;
        assert!(batches(damaged.into()).next().is_some_and(|batch| batch.is_err()));
    }

    /// Reads everything; returns how many records there are.
    fn read(bytes: &[u8]) -> usize {
        let mut found = 0;
        for batch in batches(Bytes::copy_from_slice(bytes)).filter_map(Result::ok) {
            let _ = (batch.next_offset(), batch.is_abort_marker());
            found += batch.records().filter(Result::is_ok).count();
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn any_bytes_are_batches_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes) <= bytes.len());
        }

        /// With a checksum that fits again, so that the damage is not seen at once.
        #[test]
        fn damaged_batches_are_read_or_refused(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        ) {
            let writer = Writer { producer_id: 7, epoch: 3, transactional: true };
            let mut bytes = encode(writer, 41, &[record(0), record(1), record(2)]).to_vec();
            for (at, with) in flips {
                let at = at.index(bytes.len());
                bytes[at] = with;
            }
            let checksum = crc32c::crc32c(&bytes[CRC_FROM..]);
            bytes[CRC_AT..CRC_FROM].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(read(&bytes) <= bytes.len());
        }
    }
}
