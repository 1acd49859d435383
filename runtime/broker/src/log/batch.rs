//! A record batch (format v2) as bytes with the parts of its header that the log needs at hand.
//!
//! Base offset and leader epoch stand before what the checksum covers: a batch gets its place in
//! the log without a new checksum.

use bytes::{Bytes, BytesMut};

/// Bytes before the first record.
pub(crate) const HEADER: usize = 61;
/// What the length field does not count: the base offset and itself.
const LENGTH_EXCLUDES: usize = 12;
const LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
const MAGIC: usize = 16;
const CRC: usize = 17;
/// The checksum covers everything from here.
pub(crate) const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const COUNT: usize = 57;

const COMPRESSION: i16 = 0b111;
pub(crate) const LOG_APPEND_TIME: i16 = 1 << 3;
pub(crate) const TRANSACTIONAL: i16 = 1 << 4;
pub(crate) const CONTROL: i16 = 1 << 5;
pub(crate) const DELETE_HORIZON: i16 = 1 << 6;

/// What is wrong with bytes that should be a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a header, or than the header says.
    #[error("a batch of {needed} bytes was announced, {found} are there")]
    Short {
        /// Bytes that should be there.
        needed: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// More than one batch, or bytes behind it.
    #[error("{extra} bytes follow the batch: a request has one batch per partition")]
    Trailing {
        /// Bytes behind the batch.
        extra: usize,
    },
    /// A format that is not v2.
    #[error("record format v{magic} is not offered: use a client that writes v2 (Kafka 0.11 on)")]
    Magic {
        /// The format.
        magic: i8,
    },
    /// The checksum does not match.
    #[error("the checksum of the batch is {found:#010x}, its bytes have {computed:#010x}")]
    Checksum {
        /// What the header says.
        found: u32,
        /// What the bytes have.
        computed: u32,
    },
    /// The records are not what the header says.
    #[error("the records of the batch can't be read: {0}")]
    Records(String),
}

/// One batch. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    base_offset: i64,
    last_offset: i64,
    max_timestamp: i64,
}

impl Batch {
    /// Takes bytes that hold exactly one batch, with its checksum verified.
    ///
    /// # Errors
    /// [`BatchError`] for anything else.
    pub fn verified(bytes: Bytes) -> Result<Self, BatchError> {
        let batch = Self::parse(bytes)?;
        let found = u32::from_be_bytes(array(&batch.bytes, CRC));
        let computed = crc32c::crc32c(&batch.bytes[ATTRIBUTES..]);
        if found != computed {
            return Err(BatchError::Checksum { found, computed });
        }
        Ok(batch)
    }

    /// Takes bytes that hold exactly one batch whose checksum was verified before.
    ///
    /// # Errors
    /// [`BatchError`] when the bytes are not one v2 batch.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let found = bytes.len();
        if found <= MAGIC {
            return Err(BatchError::Short { needed: HEADER, found });
        }
        let magic = i8::from_be_bytes([bytes[MAGIC]]);
        if magic != 2 {
            return Err(BatchError::Magic { magic });
        }
        let length = i32::from_be_bytes(array(&bytes, LENGTH));
        let needed = usize::try_from(length).unwrap_or(0).saturating_add(LENGTH_EXCLUDES);
        let needed = needed.max(HEADER);
        if found < needed {
            return Err(BatchError::Short { needed, found });
        }
        if found > needed {
            return Err(BatchError::Trailing { extra: found - needed });
        }
        let base_offset = i64::from_be_bytes(array(&bytes, 0));
        let delta = i32::from_be_bytes(array(&bytes, LAST_OFFSET_DELTA));
        let last_offset = base_offset.checked_add(i64::from(delta));
        let Some(last_offset) =
            last_offset.filter(|last| base_offset >= 0 && delta >= 0 && *last < i64::MAX)
        else {
            return Err(BatchError::Records(format!("offsets {base_offset} and {delta} more")));
        };
        let max_timestamp = i64::from_be_bytes(array(&bytes, MAX_TIMESTAMP));
        Ok(Self { bytes, base_offset, last_offset, max_timestamp })
    }

    /// Gives the batch its place: in place when nobody else holds the bytes, else in a copy, which
    /// lets go of the request's buffer.
    pub(crate) fn place(self, base_offset: i64) -> Self {
        let delta = self.last_offset - self.base_offset;
        let mut bytes = unshared(self.bytes);
        bytes[..LENGTH].copy_from_slice(&base_offset.to_be_bytes());
        bytes[LEADER_EPOCH..MAGIC].copy_from_slice(&super::LEADER_EPOCH.to_be_bytes());
        let last_offset = base_offset + delta;
        Self { bytes: bytes.freeze(), base_offset, last_offset, max_timestamp: self.max_timestamp }
    }

    /// Marks all records as appended at `now`.
    pub(crate) fn at_append_time(self, now: i64) -> Self {
        let attributes = self.attributes() | LOG_APPEND_TIME;
        let mut bytes = unshared(self.bytes);
        bytes[ATTRIBUTES..LAST_OFFSET_DELTA].copy_from_slice(&attributes.to_be_bytes());
        bytes[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&now.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
        bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        Self { bytes: bytes.freeze(), max_timestamp: now, ..self }
    }

    /// The whole batch.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Offset of its first record, kept when compaction removes that record.
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Offset of its last record, kept when compaction removes that record.
    #[must_use]
    pub fn last_offset(&self) -> i64 {
        self.last_offset
    }

    /// Largest timestamp of its records, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    pub(crate) fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(array(&self.bytes, BASE_TIMESTAMP))
    }

    pub(crate) fn attributes(&self) -> i16 {
        i16::from_be_bytes(array(&self.bytes, ATTRIBUTES))
    }

    /// Id of the producer, -1 if it is not idempotent.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(array(&self.bytes, PRODUCER_ID))
    }

    /// Epoch of the producer, -1 if it is not idempotent.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(array(&self.bytes, PRODUCER_EPOCH))
    }

    /// Sequence number of the first record, -1 if the producer is not idempotent.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(array(&self.bytes, BASE_SEQUENCE))
    }

    /// Sequence number of the last record; sequences wrap around after the largest number.
    #[must_use]
    pub fn last_sequence(&self) -> i32 {
        let base = self.base_sequence();
        if base < 0 {
            return base;
        }
        let last = i64::from(base) + (self.last_offset - self.base_offset);
        i32::try_from(last % (i64::from(i32::MAX) + 1)).unwrap_or(i32::MAX)
    }

    /// How many records are in it; fewer than offsets after compaction.
    #[must_use]
    pub fn count(&self) -> i32 {
        i32::from_be_bytes(array(&self.bytes, COUNT))
    }

    /// Whether its records are part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL != 0
    }

    /// Whether it is the end of a transaction and has nothing for users.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL != 0
    }

    /// Whether its timestamp was set by the broker.
    #[must_use]
    pub fn has_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME != 0
    }

    /// When its tombstones may go, once a compaction has seen them.
    pub(crate) fn delete_horizon(&self) -> Option<i64> {
        (self.attributes() & DELETE_HORIZON != 0).then(|| self.base_timestamp())
    }

    /// Number of the compression: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    #[must_use]
    pub fn compression(&self) -> i16 {
        self.attributes() & COMPRESSION
    }

    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// The bytes for writing. A buffer that is much larger than the batch is not kept alive for it.
fn unshared(bytes: Bytes) -> BytesMut {
    match bytes.try_into_mut() {
        Ok(bytes) if bytes.capacity() <= bytes.len() * 2 => bytes,
        Ok(bytes) => BytesMut::from(&bytes[..]),
        Err(shared) => BytesMut::from(&shared[..]),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a range of N bytes has N bytes")
}

/// The header of a batch that the broker writes itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    pub(crate) last_offset: i64,
    pub(crate) attributes: i16,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
}

impl Header {
    /// The header of an existing batch.
    pub(crate) fn of(batch: &Batch) -> Self {
        Self {
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            attributes: batch.attributes(),
            base_timestamp: batch.base_timestamp(),
            max_timestamp: batch.max_timestamp,
            producer_id: batch.producer_id(),
            producer_epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
        }
    }

    /// Makes the batch with these records, compressed already if `attributes` says so.
    pub(crate) fn with(&self, count: i32, records: &[u8]) -> Batch {
        let delta = i32::try_from(self.last_offset - self.base_offset)
            .expect("the offsets of a batch are within 2^31");
        let length = i32::try_from(HEADER - LENGTH_EXCLUDES + records.len())
            .expect("a batch is shorter than 2 GiB");
        let mut bytes = Vec::with_capacity(HEADER + records.len());
        bytes.extend_from_slice(&self.base_offset.to_be_bytes());
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&super::LEADER_EPOCH.to_be_bytes());
        bytes.push(2);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.attributes.to_be_bytes());
        bytes.extend_from_slice(&delta.to_be_bytes());
        bytes.extend_from_slice(&self.base_timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.max_timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.producer_id.to_be_bytes());
        bytes.extend_from_slice(&self.producer_epoch.to_be_bytes());
        bytes.extend_from_slice(&self.base_sequence.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(records);
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES..]);
        bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        Batch {
            bytes: Bytes::from(bytes),
            base_offset: self.base_offset,
            last_offset: self.last_offset,
            max_timestamp: self.max_timestamp,
        }
    }
}
