//! The bytes of a change that waits in a buffer: those of Kafka Streams' changelogs.
//!
//! ```text
//!   3:  origin | prior | old | new | time i64
//!   2:  origin | length i32 | old | new | prior | time i64
//!   1:  time i64 | origin | length i32 | old | new
//!   origin:  timestamp i64 | offset i64 | topic | partition i32 | headers
//! ```
//!
//! Version 3 is written, since Kafka Streams 2.4. The versions before are read: the layouts can't
//! be mistaken for one another, so the header that names them is not asked. What 2.1 wrote had no
//! origin, and is refused.
//!
//! Values and texts are a length (4 bytes) and bytes, null is the length -1. An old value that
//! equals the prior one is the length -2 alone.

use std::rc::Rc;

use crate::record::{Header, Headers, Offset, Partition, Timestamp};
use crate::serdes::{Encoded, Serde, SerdeError};

const WHAT: &str = "a buffered change";
const NULL: i32 = -1;
const SAME_AS_PRIOR: i32 = -2;

/// Bytes that several values share; `None` is null.
pub(super) type Shared = Option<Rc<[u8]>>;

/// A change of a key that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buffered {
    /// Its place in the order, and the stream time that it waits for, less what is waited.
    pub(super) time: Timestamp,
    /// Timestamp, headers and source of the record that wrote last.
    pub(super) timestamp: Timestamp,
    pub(super) headers: Headers,
    pub(super) topic: Rc<str>,
    pub(super) partition: Partition,
    pub(super) offset: Offset,
    /// What those below know the key to have.
    pub(super) prior: Shared,
    pub(super) old: Shared,
    pub(super) new: Shared,
}

impl Buffered {
    /// The bytes that Kafka Streams takes such a change for when it bounds a buffer.
    pub(super) fn size(&self, key: &[u8]) -> u64 {
        const NUMBERS: usize = 8 + 8 + 8 + 4;
        let units = |text: &str| text.encode_utf16().count();
        let length = |value: &Shared| value.as_ref().map_or(0, |value| value.len());
        let old = if self.old == self.prior { 0 } else { length(&self.old) };
        let of_header =
            |Header { key, value }: &Header| units(key) + value.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(of_header).sum();
        let values = length(&self.prior) + old + length(&self.new);
        (NUMBERS + key.len() + units(&self.topic) + headers + values) as u64
    }
}

/// Writes version 3, reads 1, 2 and 3.
#[derive(Debug, Clone, Copy)]
pub(super) struct BufferedSerde;

impl Serde<Buffered> for BufferedSerde {
    fn serialize(
        &self,
        _: &str,
        buffered: &Buffered,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        let Buffered { time, timestamp, headers, topic, partition, offset, prior, old, new } =
            buffered;
        out.extend_from_slice(&timestamp.0.to_be_bytes());
        out.extend_from_slice(&offset.0.to_be_bytes());
        write(Some(topic.as_bytes()), out)?;
        out.extend_from_slice(&partition.0.to_be_bytes());
        out.extend_from_slice(&length(headers.len())?.to_be_bytes());
        for Header { key, value } in headers.iter() {
            write(Some(key.as_bytes()), out)?;
            write(value.as_deref(), out)?;
        }
        write(prior.as_deref(), out)?;
        if old.is_some() && old == prior {
            out.extend_from_slice(&SAME_AS_PRIOR.to_be_bytes());
        } else {
            write(old.as_deref(), out)?;
        }
        write(new.as_deref(), out)?;
        out.extend_from_slice(&time.0.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<Buffered, SerdeError> {
        let bytes = bytes.ok_or(SerdeError::Null(WHAT))?;
        let found = whole(bytes, |reader| reader.version_3())
            .or_else(|| whole(bytes, |reader| reader.version_2()))
            .or_else(|| whole(bytes, |reader| reader.version_1()));
        found.ok_or_else(|| {
            let text = "it is none that Kafka Streams 2.2 or a later version wrote";
            SerdeError::format(format!("{} bytes are not {WHAT}: {text}", bytes.len()))
        })
    }
}

fn length(of: usize) -> Result<i32, SerdeError> {
    i32::try_from(of).map_err(SerdeError::format)
}

fn write(bytes: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), SerdeError> {
    let Some(bytes) = bytes else {
        out.extend_from_slice(&NULL.to_be_bytes());
        return Ok(());
    };
    out.extend_from_slice(&length(bytes.len())?.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Reads all of the bytes or nothing.
fn whole(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Option<Buffered>) -> Option<Buffered> {
    let mut reader = Reader(bytes);
    read(&mut reader).filter(|_| reader.0.is_empty())
}

/// Reads from the front; nothing is allocated by a length before its bytes were seen.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn long(&mut self) -> Option<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn int(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn bytes(&mut self, length: i32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    /// The outer `None`: there are no such bytes; the inner one: null.
    #[expect(clippy::option_option, reason = "null is a value here, what is missing is not")]
    fn nullable(&mut self) -> Option<Option<&'a [u8]>> {
        match self.int()? {
            NULL => Some(None),
            length => self.bytes(length).map(Some),
        }
    }

    fn value(&mut self) -> Option<Shared> {
        Some(self.nullable()?.map(Rc::from))
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.nullable()??).ok()
    }

    /// Everything but time and values.
    fn origin(&mut self) -> Option<Buffered> {
        let timestamp = Timestamp(self.long()?);
        let offset = Offset(self.long()?);
        let topic = self.text()?.into();
        let partition = Partition(self.int()?);
        let count = match self.int()? {
            // written before there were headers
            NULL => 0,
            count => u32::try_from(count).ok()?,
        };
        let mut headers = Headers::new();
        for _ in 0..count {
            let key = self.text()?;
            headers.add(key, self.nullable()?.map(<[u8]>::to_vec));
        }
        let time = timestamp;
        let (prior, old, new) = (None, None, None);
        Some(Buffered { time, timestamp, headers, topic, partition, offset, prior, old, new })
    }

    fn version_3(&mut self) -> Option<Buffered> {
        let origin = self.origin()?;
        let prior = self.value()?;
        let old = match self.int()? {
            SAME_AS_PRIOR => prior.clone(),
            NULL => None,
            length => Some(Rc::from(self.bytes(length)?)),
        };
        let new = self.value()?;
        Some(Buffered { time: Timestamp(self.long()?), prior, old, new, ..origin })
    }

    fn version_2(&mut self) -> Option<Buffered> {
        let origin = self.origin()?;
        let (old, new) = self.change()?;
        let prior = self.value()?;
        Some(Buffered { time: Timestamp(self.long()?), prior, old, new, ..origin })
    }

    fn version_1(&mut self) -> Option<Buffered> {
        let time = Timestamp(self.long()?);
        let origin = self.origin()?;
        let (old, new) = self.change()?;
        // right for the first change since the key was last let go, which is all that is known
        Some(Buffered { time, prior: old.clone(), old, new, ..origin })
    }

    /// Old and new value with their common length before them.
    fn change(&mut self) -> Option<(Shared, Shared)> {
        let mut inner = Reader(self.nullable()??);
        let change = (inner.value()?, inner.value()?);
        inner.0.is_empty().then_some(change)
    }
}
