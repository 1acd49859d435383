//! The end of a commit interval: dirty entries become changelog records and staged writes.

use super::erased::{ChangelogWriter, Logged};
use super::replay::expired;
use super::segments::{self, CLOCK_KEY};
use super::stored::serde_error;
use super::{StoreCore, StoreError};
use crate::BoxError;
use crate::serdes::Encoded;

impl<K: 'static, V: Clone + 'static> StoreCore<K, V> {
    /// Serialises every dirty entry once: to `log`, and staged unless it has expired.
    pub(super) fn flush_dirty(&mut self, log: &mut ChangelogWriter<'_>) -> Result<(), BoxError> {
        if self.poisoned {
            return Err(StoreError::Poisoned { store: self.spec.name.clone() }.into());
        }
        let dirty = self.overlay.dirty_in_order();
        if dirty.is_empty() {
            return Ok(());
        }
        let writes = dirty.iter().map(|slot| {
            let entry = self.overlay.entry(*slot);
            (&*entry.key, entry.value.is_none())
        });
        let logged = self.expiry.as_ref().map(|expiry| expiry.after(writes));
        let first_live = logged.and_then(|(clock, segments)| segments.first_live(clock.observed));
        let kind = self.spec.kind;
        let prefix = if kind.is_timestamped() { 8 } else { 0 };
        let mut bytes = std::mem::take(&mut self.scratch);
        for slot in dirty {
            let entry = self.overlay.entry(slot);
            bytes.clear();
            let mut encoded = Encoded::Null;
            if let Some(value) = &entry.value {
                bytes.extend_from_slice(&entry.timestamp.0.to_be_bytes()[..prefix]);
                encoded = self
                    .value_serde
                    .serialize(&self.changelog, value, &mut bytes)
                    .map_err(|cause| serde_error(&self.spec, "serialize a value", cause))?;
            }
            let stored = (encoded == Encoded::Bytes).then_some(&bytes[..]);
            if self.spec.logging {
                log(Logged {
                    key: kind.changelog_key(&entry.key),
                    value: stored.map(|stored| &stored[prefix..]),
                    timestamp: Some(entry.timestamp),
                    headers: &entry.headers,
                })?;
            }
            let live = first_live.is_none_or(|live| segments::segment_of(&entry.key) >= Some(live));
            if live {
                self.storage.borrow_mut().stage(self.index, &entry.key, stored);
            }
            self.overlay.note_value_bytes(slot, bytes.len());
        }
        self.scratch = bytes;
        self.overlay.mark_flushed();
        if let (Some(expiry), Some((clock, segments))) = (&mut self.expiry, logged) {
            let mut storage = self.storage.borrow_mut();
            if let Some((from, to)) = expired(segments, expiry.stored, clock) {
                storage.stage_delete_range(self.index, &from, &to);
            }
            if clock != expiry.stored {
                storage.stage(self.index, CLOCK_KEY, Some(&clock.to_bytes()));
            }
            expiry.stored = clock;
        }
        Ok(())
    }

    /// After the commit was published: forgets what has expired and evicts down to the bound.
    pub(super) fn end_interval(&mut self, bytes_max: usize) {
        if let Some(first_live) = self.expiry.as_mut().and_then(|expiry| expiry.take_expired()) {
            let gone = |key: &[u8]| segments::segment_of(key) < Some(first_live);
            self.overlay.forget(gone);
        }
        self.overlay.end_interval(bytes_max);
    }
}
