//! Reads batches as a fetch returns them.

use bytes::{Buf, Bytes};

use super::varint::{take, take_bytes};
use super::{
    COMPRESSION, CONTROL, CRC_AT, CRC_FROM, HEADER, LOG_APPEND_TIME, MAGIC, PREFIX, TRANSACTIONAL,
};
use crate::client::embedded::message::Message;

/// The bytes are not batches of format 2, or are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client::embedded) struct Malformed;

/// One batch.
#[derive(Debug, Clone)]
pub(in crate::client::embedded) struct Batch {
    pub(in crate::client::embedded) base_offset: i64,
    pub(in crate::client::embedded) producer_id: i64,
    last_offset_delta: i32,
    attributes: i16,
    first_timestamp: i64,
    max_timestamp: i64,
    records: Bytes,
}

impl Batch {
    /// Returns the offset after the batch. Compaction may have taken its last records.
    pub(in crate::client::embedded) fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta)).saturating_add(1)
    }

    pub(in crate::client::embedded) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(in crate::client::embedded) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether this is the marker of an aborted transaction.
    pub(in crate::client::embedded) fn is_abort_marker(&self) -> bool {
        // a control record's key: version, then type, where 0 is "abort"
        let record = self.records().next().and_then(Result::ok);
        self.is_control()
            && record
                .is_some_and(|record| record.key_bytes().is_some_and(|key| key[2..4] == [0, 0]))
    }

    /// Iterates over the records.
    pub(in crate::client::embedded) fn records(
        &self,
    ) -> impl Iterator<Item = Result<Message, Malformed>> {
        let mut rest = self.records.clone();
        let mut broken = self.attributes & COMPRESSION != 0;
        std::iter::from_fn(move || {
            if std::mem::take(&mut broken) {
                rest.clear();
                return Some(Err(Malformed));
            }
            if rest.is_empty() {
                return None;
            }
            let record = self.record(&mut rest);
            if record.is_none() {
                rest.clear();
            }
            Some(record.ok_or(Malformed))
        })
    }

    fn record(&self, rest: &mut Bytes) -> Option<Message> {
        let mut record = take_bytes(rest)??;
        let _attributes = (!record.is_empty()).then(|| record.get_u8())?;
        let timestamp = self.first_timestamp.checked_add(take(&mut record)?)?;
        let offset = self.base_offset.checked_add(take(&mut record)?)?;
        let key = take_bytes(&mut record)?;
        let value = take_bytes(&mut record)?;
        let mut headers = Vec::new();
        for _ in 0..take(&mut record)? {
            let name = take_bytes(&mut record)??;
            let name = String::from_utf8_lossy(&name).into_owned();
            headers.push((name, take_bytes(&mut record)?));
        }
        let appended = self.attributes & LOG_APPEND_TIME != 0;
        let timestamp = if appended { self.max_timestamp } else { timestamp };
        Some(Message::new(offset, timestamp, key, value, headers))
    }
}

/// Iterates over the batches of a fetch. The last one may be torn at a limit of the fetch: then it
/// is an error, unless another came before it.
pub(in crate::client::embedded) fn batches(
    mut rest: Bytes,
) -> impl Iterator<Item = Result<Batch, Malformed>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let batch = batch(&mut rest);
        if batch.is_none() {
            rest.clear();
        }
        Some(batch.ok_or(Malformed))
    })
}

fn batch(rest: &mut Bytes) -> Option<Batch> {
    if rest.len() < HEADER {
        return None;
    }
    let length = (&rest[PREFIX - 4..PREFIX]).get_i32();
    let size = usize::try_from(length).ok()?.checked_add(PREFIX)?;
    if size < HEADER || size > rest.len() || rest[CRC_AT - 1] != MAGIC {
        return None;
    }
    let mut whole = rest.split_to(size);
    if (&whole[CRC_AT..CRC_FROM]).get_u32() != crc32c::crc32c(&whole[CRC_FROM..]) {
        return None;
    }
    let base_offset = whole.get_i64();
    whole.advance(CRC_FROM - 8);
    let attributes = whole.get_i16();
    let last_offset_delta = whole.get_i32();
    let first_timestamp = whole.get_i64();
    let max_timestamp = whole.get_i64();
    let producer_id = whole.get_i64();
    whole.advance(2 + 4 + 4); // epoch, sequence, count
    Some(Batch {
        base_offset,
        producer_id,
        last_offset_delta,
        attributes,
        first_timestamp,
        max_timestamp,
        records: whole,
    })
}
