//! The bytes of a checkpoint, as drawn in `docs/STORAGE_FORMAT.md`.

use std::collections::BTreeMap;

use tidemill_core::record::{Offset, Partition, StreamTime, TopicPartition};
use tidemill_core::store::{Checkpoint, InputPosition};

/// First two bytes of an encoded checkpoint.
const VERSION: u16 = 1;

/// Bytes that are not a checkpoint, or not one that this release knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("checkpoint has format {0}, this release knows {VERSION}")]
    Newer(u16),
    #[error("checkpoint is cut off")]
    CutOff,
    #[error("checkpoint has checksum {found:08x} instead of {expected:08x}")]
    Checksum { found: u32, expected: u32 },
    #[error("checkpoint has {0}")]
    Invalid(&'static str),
}

/// Appends the encoded checkpoint to `out`.
pub(super) fn encode(checkpoint: &Checkpoint, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&checkpoint.commit_number.to_be_bytes());
    put_count(checkpoint.changelogs.len(), out);
    for (store, offset) in &checkpoint.changelogs {
        put_text(store, out);
        out.extend_from_slice(&offset.0.to_be_bytes());
    }
    put_count(checkpoint.inputs.len(), out);
    for (source, position) in &checkpoint.inputs {
        put_text(&source.topic, out);
        out.extend_from_slice(&source.partition.0.to_be_bytes());
        out.extend_from_slice(&position.offset.0.to_be_bytes());
        out.extend_from_slice(&position.partition_time.as_millis().to_be_bytes());
    }
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// Reads what [`encode`] wrote, and nothing else.
pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, DecodeError> {
    let (version, _) = bytes.split_first_chunk().ok_or(DecodeError::CutOff)?;
    match u16::from_be_bytes(*version) {
        VERSION => {}
        0 => return Err(DecodeError::Invalid("format 0")),
        newer => return Err(DecodeError::Newer(newer)),
    }
    let (body, checksum) = bytes.split_last_chunk().ok_or(DecodeError::CutOff)?;
    let (expected, found) = (u32::from_be_bytes(*checksum), crc32c::crc32c(body));
    if found != expected {
        return Err(DecodeError::Checksum { found, expected });
    }
    let mut rest = Reader(body);
    let _version: [u8; 2] = rest.take()?;
    let commit_number = u64::from_be_bytes(rest.take()?);
    let mut changelogs = BTreeMap::new();
    for _ in 0..u32::from_be_bytes(rest.take()?) {
        let (store, offset) = (rest.text()?.to_owned(), rest.offset()?);
        if changelogs.insert(store, offset).is_some() {
            return Err(DecodeError::Invalid("a store twice"));
        }
    }
    let mut inputs = BTreeMap::new();
    for _ in 0..u32::from_be_bytes(rest.take()?) {
        let topic = rest.text()?;
        let source = TopicPartition::new(topic, Partition(i32::from_be_bytes(rest.take()?)));
        let offset = rest.offset()?;
        let partition_time = StreamTime::from_millis(i64::from_be_bytes(rest.take()?));
        if inputs.insert(source, InputPosition { offset, partition_time }).is_some() {
            return Err(DecodeError::Invalid("a source partition twice"));
        }
    }
    if !rest.0.is_empty() {
        return Err(DecodeError::Invalid("bytes after its end"));
    }
    Ok(Checkpoint { commit_number, changelogs, inputs })
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    let count = u32::try_from(count).expect("a task has few stores and sources");
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("names have at most 249 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::CutOff)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = usize::from(u16::from_be_bytes(self.take()?));
        let (taken, rest) = self.0.split_at_checked(length).ok_or(DecodeError::CutOff)?;
        self.0 = rest;
        str::from_utf8(taken).map_err(|_| DecodeError::Invalid("a name that is not UTF-8"))
    }

    fn offset(&mut self) -> Result<Offset, DecodeError> {
        let offset = i64::from_be_bytes(self.take()?);
        if offset < 0 {
            return Err(DecodeError::Invalid("a negative offset"));
        }
        Ok(Offset(offset))
    }
}
