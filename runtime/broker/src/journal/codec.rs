//! Entries as frames: length, a checksum of the length, a checksum of the entry, the entry.
//!
//! ```text
//!  0        4             8              12
//!  +--------+-------------+--------------+---------------------------+
//!  | length | crc(length) | crc(payload) | payload (postcard), length |
//!  +--------+-------------+--------------+---------------------------+
//! ```
//!
//! Numbers are little-endian, checksums CRC-32C. The length has a checksum of its own so that a
//! damaged length is told from a frame that was cut off: the first is an error, the second is what
//! a killed process leaves behind.

use postcard::ser_flavors::Flavor;

use super::Entry;

/// Bytes before the payload.
pub(super) const HEADER: usize = 12;

/// What a frame turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A whole header: this many bytes follow it, with this checksum.
    Header { length: usize, checksum: u32 },
    /// The header is damaged.
    Damaged,
}

/// Writes a frame behind what is in `out`. Records are copied once, into it.
///
/// # Errors
/// Text for an entry of 4 GiB or more: there is no such entry below millions of large records.
pub fn encode(entry: &Entry, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let written = postcard::serialize_with_flavor(entry, Appender(&mut *out));
    let length = u32::try_from(out.len() - start - HEADER);
    let (Ok(()), Ok(length)) = (&written, length) else {
        out.truncate(start);
        return Err(format!("an entry does not fit into a frame: {written:?}, {length:?} bytes"));
    };
    let checksum = crc32c::crc32c(&out[start + HEADER..]);
    let length = length.to_le_bytes();
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + 8].copy_from_slice(&crc32c::crc32c(&length).to_le_bytes());
    out[start + 8..start + HEADER].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

pub(super) fn header(bytes: &[u8; HEADER]) -> Frame {
    let part = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let length = part(0);
    if crc32c::crc32c(&length) != u32::from_le_bytes(part(4)) {
        return Frame::Damaged;
    }
    let checksum = u32::from_le_bytes(part(8));
    // a u32 fits a usize on every system that the broker runs on
    Frame::Header { length: u32::from_le_bytes(length) as usize, checksum }
}

/// Reads the payload of a frame.
///
/// # Errors
/// Text for bytes that are not exactly one entry.
pub fn decode(payload: &[u8]) -> Result<Entry, String> {
    match postcard::take_from_bytes(payload) {
        Ok((entry, [])) => Ok(entry),
        Ok((_, rest)) => Err(format!("{} bytes follow the entry", rest.len())),
        Err(error) => Err(format!("it is not an entry: {error}")),
    }
}

/// Appends to a vector, whole slices at a time.
struct Appender<'a>(&'a mut Vec<u8>);

impl Flavor for Appender<'_> {
    type Output = ();

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.0.push(data);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
