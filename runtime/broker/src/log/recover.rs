//! From journal entries to partitions, and back.

use bytes::Bytes;

use super::batch::Batch;
use super::entry::{Entry, PartitionImage};
use super::partition::PartitionLog;
use super::segment::Segment;
use super::transactions::Index;
use crate::engine::Millis;

impl PartitionLog {
    /// Writes a batch again that was written before.
    pub(super) fn replay(&mut self, bytes: Bytes, now: Millis) -> Result<(), String> {
        let batch = Batch::parse(bytes).map_err(|error| error.to_string())?;
        if batch.base_offset() != self.next_offset {
            let (found, expected) = (batch.base_offset(), self.next_offset);
            return Err(format!("a batch has offset {found}, the next one is {expected}"));
        }
        self.accept(batch, now);
        Ok(())
    }

    pub(super) fn restore(&mut self, image: PartitionImage) {
        self.segments.clear();
        self.segments.push_back(Segment::new(image.base));
        self.log_start = image.log_start;
        self.next_offset = image.next_offset;
        self.cleaned_to = image.cleaned_to;
        let open = image.producers.iter();
        let open = open.filter_map(|(id, known)| known.transaction().map(|first| (first, *id)));
        self.index = Index::new(open.collect(), image.aborted);
        self.producers = image.producers;
    }

    pub(super) fn restore_segment(&mut self, base: i64) {
        self.segments.push_back(Segment::new(base));
    }

    pub(super) fn restore_batch(&mut self, bytes: Bytes) -> Result<(), String> {
        let batch = Batch::parse(bytes).map_err(|error| error.to_string())?;
        if batch.last_offset() >= self.next_offset {
            let (last, end) = (batch.last_offset(), self.next_offset);
            return Err(format!("a batch ends at offset {last}, the log at {end}"));
        }
        self.active().push(batch);
        Ok(())
    }

    /// Entries that restore this partition.
    pub(super) fn image(&self) -> impl Iterator<Item = Entry> {
        let image = PartitionImage {
            base: self.segments.front().map_or(self.log_start, Segment::base),
            log_start: self.log_start,
            next_offset: self.next_offset,
            cleaned_to: self.cleaned_to,
            producers: self.producers.clone(),
            aborted: self.index.aborted().clone(),
        };
        let key = self.key;
        let segments = self.segments.iter().enumerate().flat_map(move |(number, segment)| {
            // the image has the first one's base
            let begins = (number > 0).then(|| Entry::Segment(key, segment.base()));
            let batches = segment.batches();
            let batches = batches.map(move |batch| Entry::Stored(key, batch.bytes().clone()));
            begins.into_iter().chain(batches)
        });
        std::iter::once(Entry::Restored(key, Box::new(image))).chain(segments)
    }
}
