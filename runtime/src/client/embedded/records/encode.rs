//! Writes a batch.

use bytes::Bytes;

use super::varint::{put, put_bytes};
use super::{CRC_AT, CRC_FROM, HEADER, MAGIC, Outbound, PREFIX, TRANSACTIONAL, Writer};

/// Writes records as one batch, uncompressed. There is at least one.
pub(in crate::client::embedded) fn encode(
    writer: Writer,
    base_sequence: i32,
    records: &[Outbound],
) -> Bytes {
    let first = records.first().map_or(-1, |record| record.timestamp);
    let last = records.iter().map(|record| record.timestamp).max().unwrap_or(-1);
    let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
    let attributes = if writer.transactional { TRANSACTIONAL } else { 0 };
    let mut batch = Vec::with_capacity(HEADER + records.iter().map(Outbound::size).sum::<usize>());
    batch.extend_from_slice(&0_i64.to_be_bytes());
    batch.extend_from_slice(&[0; 4]); // length, below
    batch.extend_from_slice(&(-1_i32).to_be_bytes());
    batch.push(MAGIC);
    batch.extend_from_slice(&[0; 4]); // checksum, below
    batch.extend_from_slice(&attributes.to_be_bytes());
    batch.extend_from_slice(&(count - 1).to_be_bytes());
    batch.extend_from_slice(&first.to_be_bytes());
    batch.extend_from_slice(&last.to_be_bytes());
    batch.extend_from_slice(&writer.producer_id.to_be_bytes());
    batch.extend_from_slice(&writer.epoch.to_be_bytes());
    batch.extend_from_slice(&base_sequence.to_be_bytes());
    batch.extend_from_slice(&count.to_be_bytes());
    let mut one = Vec::new();
    for (delta, record) in (0..).zip(records) {
        one.clear();
        one.push(0);
        put(&mut one, record.timestamp.wrapping_sub(first));
        put(&mut one, delta);
        put_bytes(&mut one, record.key.as_deref());
        put_bytes(&mut one, record.value.as_deref());
        put(&mut one, i64::try_from(record.headers.len()).unwrap_or(i64::MAX));
        for (name, value) in &record.headers {
            put_bytes(&mut one, Some(name.as_bytes()));
            put_bytes(&mut one, value.as_deref());
        }
        put_bytes(&mut batch, Some(&one));
    }
    let length = i32::try_from(batch.len() - PREFIX).unwrap_or(i32::MAX);
    batch[PREFIX - 4..PREFIX].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    batch.into()
}
