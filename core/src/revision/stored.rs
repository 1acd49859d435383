//! The bytes of what the stores of revisions hold.

use super::{LastRevision, RevisionProgress};
use crate::record::Timestamp;
use crate::serdes::{Encoded, Serde, SerdeError};

const DELETED: u8 = 1;
const ARMED: u8 = 2;

/// Writes the revision, and flags and time only where there are any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastRevisionSerde;

impl Serde<LastRevision> for LastRevisionSerde {
    fn serialize(
        &self,
        _: &str,
        value: &LastRevision,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(&value.revision.to_be_bytes());
        let deleted = if value.deleted { DELETED } else { 0 };
        match value.armed {
            Some(at) => {
                out.push(deleted | ARMED);
                out.extend_from_slice(&at.0.to_be_bytes());
            }
            None if value.deleted => out.push(deleted),
            None => {}
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<LastRevision, SerdeError> {
        let bytes = bytes.ok_or(SerdeError::Null("a last revision"))?;
        let (revision, rest) = number(bytes, "a last revision")?;
        let (flags, rest) = rest.split_first().map_or((0, rest), |(flags, rest)| (*flags, rest));
        if flags & !(DELETED | ARMED) != 0 {
            return Err(SerdeError::format(format!("{flags} is no set of flags of a revision")));
        }
        let (armed, rest) = match flags & ARMED {
            0 => (None, rest),
            _ => number(rest, "the time of a last revision").map(|(n, r)| (Some(n), r))?,
        };
        nothing(rest, "a last revision")?;
        Ok(LastRevision { revision, deleted: flags & DELETED != 0, armed: armed.map(Timestamp) })
    }
}

/// Writes the last revision if there is one, then the number of parked records if there are any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RevisionProgressSerde;

impl Serde<RevisionProgress> for RevisionProgressSerde {
    fn serialize(
        &self,
        _: &str,
        value: &RevisionProgress,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        if let Some(last) = value.last {
            out.extend_from_slice(&last.to_be_bytes());
        }
        if value.parked > 0 {
            out.extend_from_slice(&value.parked.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<RevisionProgress, SerdeError> {
        const WHAT: &str = "the progress of revisions";
        let bytes = bytes.ok_or(SerdeError::Null(WHAT))?;
        let (last, rest) = match bytes.len() {
            ..8 => (None, bytes),
            8.. => number(bytes, WHAT).map(|(last, rest)| (Some(last), rest))?,
        };
        let (parked, rest) = match rest.split_first_chunk() {
            Some((parked, rest)) => (u32::from_be_bytes(*parked), rest),
            None => (0, rest),
        };
        nothing(rest, WHAT)?;
        Ok(RevisionProgress { last, parked })
    }
}

fn number<'a>(bytes: &'a [u8], what: &'static str) -> Result<(i64, &'a [u8]), SerdeError> {
    match bytes.split_first_chunk() {
        Some((number, rest)) => Ok((i64::from_be_bytes(*number), rest)),
        None => Err(SerdeError::Length { what, expected: 8, found: bytes.len() }),
    }
}

fn nothing(rest: &[u8], what: &str) -> Result<(), SerdeError> {
    match rest.len() {
        0 => Ok(()),
        more => Err(SerdeError::format(format!("{more} bytes too many for {what}"))),
    }
}
