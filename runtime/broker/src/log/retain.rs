//! What leaves the log at its start: old segments, and records that a client has deleted.

use super::Entry;
use super::partition::PartitionLog;
use crate::engine::{Context, Millis};
use crate::journal;

impl PartitionLog {
    /// Moves the start of the log; records before it are gone.
    pub(crate) fn start_at(&mut self, context: &mut Context<'_>, offset: i64) {
        if offset > self.log_start {
            let entry = Entry::Started(self.key, offset);
            context.journal.push(journal::Entry::Log(entry));
            self.drop_before(offset);
        }
    }

    pub(super) fn drop_before(&mut self, offset: i64) {
        self.log_start = offset;
        while self.segments.get(1).is_some_and(|second| second.base() <= offset) {
            self.segments.pop_front();
        }
        if let Some(first) = self.segments.front_mut() {
            first.drop_before(offset);
        }
        self.index.retain_aborted(|aborted| aborted.last_offset >= offset);
    }

    /// Drops segments that are older than `retention.ms` or beyond `retention.bytes`, oldest first.
    pub(crate) fn retain(&mut self, context: &mut Context<'_>) {
        if !self.config.deletes {
            return;
        }
        let mut excess = match self.config.retention_bytes {
            Some(limit) => self.size().saturating_sub(limit),
            None => 0,
        };
        let oldest = self.config.retention_ms.map(|ms| context.now.saturating_sub(ms));
        let mut start = self.log_start;
        for (number, segment) in self.segments.iter().enumerate() {
            let is_old = oldest.is_some_and(|oldest| segment.max_timestamp() < oldest);
            let is_beyond = excess >= segment.size() && excess > 0;
            if segment.is_empty() || !(is_old || is_beyond) {
                break;
            }
            excess = excess.saturating_sub(segment.size());
            let next = self.segments.get(number + 1);
            start = next.map_or(self.next_offset, |next| next.base());
        }
        self.start_at(context, start);
    }

    /// Forgets the producers that have been idle since `limit`.
    pub(crate) fn expire_producers(&mut self, context: &mut Context<'_>, limit: Millis) {
        let idle = self.producers.iter().filter(|(_, known)| known.is_idle_since(limit));
        let idle: Vec<i64> = idle.map(|(id, _)| *id).collect();
        if !idle.is_empty() {
            self.forget(&idle);
            let entry = Entry::Expired(self.key, idle);
            context.journal.push(journal::Entry::Log(entry));
        }
    }

    pub(super) fn forget(&mut self, idle: &[i64]) {
        for id in idle {
            self.producers.remove(id);
        }
    }
}
