//! Bytes read from front to end, each length checked against what is left.

use bytes::Bytes;

use super::MessageError;
use crate::cdc::lsn::Lsn;

/// What is left of a message.
pub(super) struct Input<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn error(&self, what: &'static str) -> MessageError {
        MessageError { what, at: self.at, length: self.bytes.len() }
    }

    fn left(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let taken = self.left().first_chunk::<N>().ok_or_else(|| self.error("it ends early"))?;
        self.at += N;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, MessageError> {
        Ok(self.take::<1>()?[0])
    }

    pub(super) fn i32(&mut self) -> Result<i32, MessageError> {
        Ok(i32::from_be_bytes(self.take()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, MessageError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, MessageError> {
        Ok(i64::from_be_bytes(self.take()?))
    }

    pub(super) fn lsn(&mut self) -> Result<Lsn, MessageError> {
        Ok(Lsn(u64::from_be_bytes(self.take()?)))
    }

    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), MessageError> {
        if self.u8()? == byte { Ok(()) } else { Err(self.error(what)) }
    }

    /// A text that ends with a zero byte.
    pub(super) fn string(&mut self) -> Result<String, MessageError> {
        let left = self.left();
        let length = left.iter().position(|byte| *byte == 0);
        let length = length.ok_or_else(|| self.error("a name without an end"))?;
        let text = std::str::from_utf8(&left[..length]);
        let text = text.map_err(|_| self.error("a name that is no UTF-8"))?.to_owned();
        self.at += length + 1;
        Ok(text)
    }

    /// A count of 16 bits.
    pub(super) fn count(&mut self) -> Result<usize, MessageError> {
        let count = i16::from_be_bytes(self.take()?);
        usize::try_from(count).map_err(|_| self.error("a negative count"))
    }

    /// A count of 32 bits.
    pub(super) fn long_count(&mut self) -> Result<usize, MessageError> {
        usize::try_from(self.i32()?).map_err(|_| self.error("a negative count"))
    }

    /// Bytes after their length. Shares the message's memory.
    pub(super) fn sized_bytes(&mut self) -> Result<Bytes, MessageError> {
        let length = self.long_count()?;
        if length > self.left().len() {
            return Err(self.error("a length beyond the end"));
        }
        let bytes = self.bytes.slice(self.at..self.at + length);
        self.at += length;
        Ok(bytes)
    }

    /// A capacity that the bytes bear out: each element has one byte at least.
    pub(super) fn at_most(&self, count: usize) -> usize {
        count.min(self.left().len())
    }

    pub(super) fn end(&self) -> Result<(), MessageError> {
        if self.left().is_empty() { Ok(()) } else { Err(self.error("bytes too many")) }
    }
}
