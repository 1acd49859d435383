//! An index of keys by the time at which they are to be looked at.
//!
//! Beside a store whose entries are forgotten after a time lies a second one, ordered by that time:
//! `time, key`. What is due is its beginning, so nothing else is read. An entry that was used
//! meanwhile is put back with its new time: a key in use costs one write per time bound here, not
//! one per record.

use crate::BoxError;
use crate::processor::ProcessorContext;
use crate::record::Timestamp;
use crate::serdes::{Encoded, Serde, SerdeError};
use crate::store::KeyValueStore;

/// How many entries are looked at in one commit, if not more came since the last one; the rest
/// waits for the next (INV-11).
const BATCH_ENTRIES: usize = 4_096;

/// A key of the index: when to look at which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    /// The key's bytes, as in the store that the index is for.
    pub(super) key: Vec<u8>,
}

/// The time in an order-keeping form (8 bytes, big-endian, sign flipped), then the key's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct DueSerde;

impl Serde<Due> for DueSerde {
    fn serialize(&self, _: &str, due: &Due, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(&(due.at.0 ^ i64::MIN).to_be_bytes());
        out.extend_from_slice(&due.key);
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<Due, SerdeError> {
        const WHAT: &str = "an entry of an expiry index";
        let bytes = bytes.ok_or(SerdeError::Null(WHAT))?;
        let Some((at, key)) = bytes.split_first_chunk() else {
            return Err(SerdeError::Length { what: WHAT, expected: 8, found: bytes.len() });
        };
        let at = Timestamp(i64::from_be_bytes(*at) ^ i64::MIN);
        Ok(Due { at, key: key.to_vec() })
    }
}

/// The value of entries that are there or not: one byte, so that it is not taken for a tombstone by
/// a reader that does not keep empty and null apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Present;

impl Serde<()> for Present {
    fn serialize(&self, _: &str, (): &(), out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.push(1);
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, _: &str, bytes: Option<&[u8]>) -> Result<(), SerdeError> {
        bytes.map(|_| ()).ok_or(SerdeError::Null("the mark of an entry"))
    }
}

/// The index in a task.
#[derive(Debug)]
pub(super) struct ExpiryIndex {
    entries: KeyValueStore<Due, ()>,
    /// No entry is due before this: where a scan begins. Deleted entries are not passed again.
    quiet_until: Timestamp,
    /// Entries made since the last look.
    armed: usize,
}

impl ExpiryIndex {
    pub(super) fn open<K, V>(
        context: &ProcessorContext<'_, '_, K, V>,
        store: &str,
    ) -> Result<Self, BoxError> {
        let entries = context.key_value_store(store)?;
        Ok(Self { entries, quiet_until: Timestamp(i64::MIN), armed: 0 })
    }

    /// Has a key looked at when stream time is later than `at`.
    pub(super) fn arm(&mut self, at: Timestamp, key: Vec<u8>) -> Result<(), BoxError> {
        self.quiet_until = self.quiet_until.min(at);
        self.armed += 1;
        Ok(self.entries.put(&Due { at, key }, ())?)
    }

    /// Takes an entry back.
    pub(super) fn disarm(&mut self, at: Timestamp, key: Vec<u8>) -> Result<(), BoxError> {
        self.entries.delete(&Due { at, key })?;
        Ok(())
    }

    /// Takes out what is to be looked at, earliest first, but no more than a batch. That is at
    /// least twice as much as came, however much it was: what is due does not pile up, and what a
    /// commit holds in memory stays in proportion to its records.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Result<Vec<Due>, BoxError> {
        let batch = BATCH_ENTRIES.max(2 * std::mem::take(&mut self.armed));
        if now <= self.quiet_until {
            return Ok(Vec::new());
        }
        let from = |at| Due { at, key: Vec::new() };
        let range = self.entries.range(from(self.quiet_until)..from(now))?;
        let due = range.take(batch).map(|entry| Ok(entry?.0));
        let due: Vec<Due> = due.collect::<Result<_, BoxError>>()?;
        for entry in &due {
            self.entries.delete(entry)?;
        }
        self.quiet_until = match due.last() {
            Some(last) if due.len() == batch => last.at,
            _ => now,
        };
        Ok(due)
    }
}
