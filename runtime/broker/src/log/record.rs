//! Single records of a batch: read one by one, and written again by compaction.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Decompressor, Gzip, Lz4, Snappy};

use super::batch::{Batch, BatchError, HEADER, Header};
use super::zstd;

/// More bytes than a batch may have without compression.
const PLAIN_MAX: usize = 1 << 28;

/// One record. Its parts share the bytes of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Offset in the partition.
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Names with values, in order, with repetitions.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Why records can't be read, as text for an error.
type Why = String;

/// Takes the records of a batch apart.
///
/// # Errors
/// [`BatchError::Records`] when they are not what the header says.
pub fn records(batch: &Batch) -> Result<Vec<Record>, BatchError> {
    let mut records = Vec::with_capacity(usize::try_from(batch.count()).unwrap_or(0).min(1 << 16));
    each(batch, |body, raw| records.push(raw.record(body, batch))).map_err(BatchError::Records)?;
    let records: Result<_, Why> = records.into_iter().collect();
    records.map_err(BatchError::Records)
}

/// A record as places in the bytes of its batch, so that walking through a batch costs nothing.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<Range<usize>>,
    pub(crate) has_value: bool,
    /// Key, value and headers.
    rest: Range<usize>,
}

impl Raw {
    pub(crate) fn offset(&self, batch: &Batch) -> i64 {
        batch.base_offset() + i64::from(self.offset_delta)
    }

    pub(crate) fn timestamp(&self, batch: &Batch) -> i64 {
        if batch.has_append_time() {
            return batch.max_timestamp();
        }
        batch.base_timestamp().saturating_add(self.timestamp_delta)
    }

    pub(crate) fn key<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        self.key.clone().map(|range| &body[range])
    }

    fn record(&self, body: &Bytes, batch: &Batch) -> Result<Record, Why> {
        let mut cursor = Cursor { bytes: &body[..self.rest.end], at: self.rest.start };
        let part = |range: Option<Range<usize>>| range.map(|range| body.slice(range));
        let (key, value) = (part(cursor.field()?), part(cursor.field()?));
        let mut headers = Vec::new();
        for _ in 0..cursor.varint()? {
            let name = part(cursor.field()?).unwrap_or_default();
            headers.push((name, part(cursor.field()?)));
        }
        let (offset, timestamp) = (self.offset(batch), self.timestamp(batch));
        Ok(Record { offset, timestamp, key, value, headers })
    }
}

/// Walks through the records of a batch and checks that they are what its header says. `visit` gets
/// the uncompressed records beside each.
pub(crate) fn each(batch: &Batch, mut visit: impl FnMut(&Bytes, Raw)) -> Result<(), Why> {
    let body = body(batch)?;
    let mut cursor = Cursor { bytes: &body, at: 0 };
    let deltas = batch.last_offset() - batch.base_offset();
    let mut next = 0;
    for number in 0..batch.count() {
        let raw = read(&mut cursor).map_err(|why| format!("record {number}: {why}"))?;
        if i64::from(raw.offset_delta) > deltas || raw.offset_delta < next {
            return Err(format!("record {number} has offset delta {}", raw.offset_delta));
        }
        next = raw.offset_delta.saturating_add(1);
        visit(&body, raw);
    }
    if cursor.at < body.len() {
        return Err(format!("{} bytes behind the last record", body.len() - cursor.at));
    }
    Ok(())
}

/// The records as bytes, without compression.
fn body(batch: &Batch) -> Result<Bytes, Why> {
    let mut body = batch.bytes().slice(HEADER..);
    if batch.count() == 0 && body.is_empty() {
        return Ok(body);
    }
    let plain = |buffer: &mut Bytes| Ok(std::mem::take(buffer));
    let done = match batch.compression() {
        0 => return Ok(body),
        1 => Gzip::decompress(&mut body, plain),
        2 => Snappy::decompress(&mut body, plain),
        3 => Lz4::decompress(&mut body, plain),
        4 => return zstd::decompress(&body, PLAIN_MAX).map(Bytes::from).map_err(not_readable),
        other => return Err(format!("compression {other} is unknown")),
    };
    done.map_err(|error| not_readable(format!("{error:#}")))
}

fn not_readable(why: Why) -> Why {
    format!("they can't be decompressed: {why}")
}

fn compress(kind: i16, plain: &[u8]) -> Result<Vec<u8>, Why> {
    let mut out = BytesMut::new();
    let put = |buffer: &mut BytesMut| {
        buffer.put_slice(plain);
        Ok(())
    };
    let done = match kind {
        0 => return Ok(plain.to_vec()),
        1 => Gzip::compress(&mut out, put),
        2 => Snappy::compress(&mut out, put),
        3 => Lz4::compress(&mut out, put),
        4 => return zstd::compress(plain),
        other => return Err(format!("compression {other} is unknown")),
    };
    done.map_err(|error| format!("they can't be compressed: {error:#}"))?;
    Ok(out.to_vec())
}

/// Makes a batch of these records; `header` says base timestamp and compression.
pub(crate) fn assemble(
    header: &Header,
    from: &Batch,
    body: &[u8],
    records: &[Raw],
) -> Result<Batch, Why> {
    let mut plain = Vec::with_capacity(from.size());
    let shift = from.base_timestamp().wrapping_sub(header.base_timestamp);
    for raw in records {
        let mut head = Vec::with_capacity(32);
        head.push(0);
        put_varlong(&mut head, raw.timestamp_delta.wrapping_add(shift));
        put_varlong(&mut head, i64::from(raw.offset_delta));
        let length = i64::try_from(head.len() + raw.rest.len()).unwrap_or(i64::MAX);
        put_varlong(&mut plain, length);
        plain.extend_from_slice(&head);
        plain.extend_from_slice(&body[raw.rest.clone()]);
    }
    let count = i32::try_from(records.len()).map_err(|_| "too many records".to_owned())?;
    if records.is_empty() {
        return Ok(header.with(0, &[]));
    }
    Ok(header.with(count, &compress(header.attributes & 0b111, &plain)?))
}

/// The bytes of one record with this key and value and nothing else.
pub(crate) fn single(key: &[u8], value: &[u8]) -> Vec<u8> {
    // no attributes, both deltas 0
    let mut body = vec![0, 0, 0];
    for part in [key, value] {
        put_varlong(&mut body, i64::try_from(part.len()).unwrap_or(i64::MAX));
        body.extend_from_slice(part);
    }
    body.push(0);
    let mut record = Vec::with_capacity(body.len() + 2);
    put_varlong(&mut record, i64::try_from(body.len()).unwrap_or(i64::MAX));
    record.extend_from_slice(&body);
    record
}

fn read(cursor: &mut Cursor<'_>) -> Result<Raw, Why> {
    let length = cursor.varint()?;
    let end = usize::try_from(length).ok().and_then(|length| cursor.at.checked_add(length));
    let Some(end) = end.filter(|end| *end <= cursor.bytes.len()) else {
        return Err(format!("its length is {length}, {} bytes are there", cursor.left()));
    };
    let mut record = Cursor { bytes: &cursor.bytes[..end], at: cursor.at };
    cursor.at = end;
    if record.left() == 0 {
        return Err("it is empty".to_owned());
    }
    record.at += 1;
    let timestamp_delta = record.varlong()?;
    let offset_delta = record.varint()?;
    let rest = record.at..end;
    let key = record.field()?;
    let has_value = record.field()?.is_some();
    let count = record.varint()?;
    if count < 0 {
        return Err(format!("it has {count} headers"));
    }
    for _ in 0..count {
        record.field()?.ok_or("a header has no name")?;
        record.field()?;
    }
    if record.left() > 0 {
        return Err(format!("{} bytes too many", record.left()));
    }
    Ok(Raw { timestamp_delta, offset_delta, key, has_value, rest })
}

/// Reads numbers and fields one after the other.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Where bytes are that stand behind their length; -1 is null.
    fn field(&mut self) -> Result<Option<Range<usize>>, Why> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(length) if length <= self.left() => {
                let start = self.at;
                self.at += length;
                Ok(Some(start..self.at))
            }
            _ => Err(format!("a field has {length} bytes, {} are there", self.left())),
        }
    }

    fn varint(&mut self) -> Result<i32, Why> {
        let value = self.varlong()?;
        i32::try_from(value).map_err(|_| format!("{value} is too large here"))
    }

    fn varlong(&mut self) -> Result<i64, Why> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or("it ends within a number")?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("a number does not end".to_owned())
    }
}

fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest as u8 & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The same records with another compression.
pub(crate) fn recompress(batch: &Batch, kind: i16) -> Result<Batch, Why> {
    let header = Header { attributes: (batch.attributes() & !0b111) | kind, ..Header::of(batch) };
    Ok(header.with(batch.count(), &compress(kind, &body(batch)?)?))
}

/// The bytes of one record without headers, as a producer writes it.
#[cfg(test)]
pub(crate) fn plain(delta: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![0, 0];
    put_varlong(&mut body, i64::from(delta));
    for part in [key, value] {
        match part {
            Some(part) => {
                put_varlong(&mut body, part.len() as i64);
                body.extend_from_slice(part);
            }
            None => put_varlong(&mut body, -1),
        }
    }
    body.push(0);
    let mut record = Vec::new();
    put_varlong(&mut record, body.len() as i64);
    record.extend_from_slice(&body);
    record
}
