//! Compaction: of each key the last record stays, of each transaction what committed.
//!
//! The rules are those of Kafka's `Cleaner`: only whole segments before the active one and before
//! the last stable offset are touched; records of aborted transactions go; a tombstone, and a
//! marker whose transaction has no record left, stays for `delete.retention.ms` after it was first
//! seen (bit 6 of the attributes says until when); a producer's last batch stays as an empty one,
//! so that its sequence is not lost.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::batch::{Batch, DELETE_HORIZON, Header};
use super::entry::SegmentImage;
use super::partition::PartitionLog;
use super::record::{self, Raw};
use super::segment::Segment;
use super::{Entry, Marker};
use crate::engine::{Context, Millis};
use crate::journal;

impl PartitionLog {
    /// Compacts when enough of the log is new, or when it is due (`max.compaction.lag.ms`).
    pub(crate) fn clean_if_due(&mut self, context: &mut Context<'_>) {
        if !self.config.compacts {
            return;
        }
        let until = self.cleanable_until(context.now);
        let size = |from: i64, to: i64| -> usize {
            let within = self.segments.iter().filter(|s| s.base() >= from && s.base() < to);
            within.map(Segment::size).sum()
        };
        let (clean, dirty) = (size(i64::MIN, self.cleaned_to), size(self.cleaned_to, until));
        if dirty == 0 {
            return;
        }
        let first = self.batches_from(self.cleaned_to).next();
        let age = first.map_or(0, |batch| context.now.saturating_sub(batch.max_timestamp()));
        let overdue = age > self.config.max_compaction_lag_ms;
        // sizes of logs are far below 2^52
        let ratio = dirty as f64 / (clean + dirty) as f64;
        if overdue || ratio > self.config.min_cleanable_dirty_ratio {
            self.clean(context, until);
        }
    }

    /// The end of the last segment that may be compacted.
    fn cleanable_until(&self, now: Millis) -> i64 {
        let stable = self.last_stable_offset();
        let recent = now.saturating_sub(self.config.min_compaction_lag_ms);
        let lags = self.config.min_compaction_lag_ms > 0;
        let mut until = self.segments.front().map_or(0, Segment::base);
        for (segment, next) in self.segments.iter().zip(self.segments.iter().skip(1)) {
            if next.base() > stable || (lags && segment.max_timestamp() > recent) {
                break;
            }
            until = next.base();
        }
        until
    }

    fn clean(&mut self, context: &mut Context<'_>, until: i64) {
        let images = Pass::new(self, until, context.now).run();
        let entry = Entry::Cleaned(self.key, until, images.clone());
        context.journal.push(journal::Entry::Log(entry));
        self.replace(until, images).expect("compaction makes batches that can be read");
    }

    /// Puts compacted segments in the place of those before `until`.
    pub(super) fn replace(&mut self, until: i64, images: Vec<SegmentImage>) -> Result<(), String> {
        let mut segments = Vec::new();
        let mut markers = HashSet::new();
        for image in images {
            let mut segment = Segment::new(image.base);
            for bytes in image.batches {
                let batch = Batch::parse(bytes).map_err(|error| error.to_string())?;
                if batch.is_control() && batch.count() > 0 {
                    markers.insert(batch.base_offset());
                }
                segment.push(batch);
            }
            segments.push(segment);
        }
        self.segments.retain(|segment| segment.base() >= until);
        for segment in segments.into_iter().rev() {
            self.segments.push_front(segment);
        }
        if self.segments.is_empty() {
            self.segments.push_back(Segment::new(until));
        }
        self.cleaned_to = until;
        let kept = |offset: i64| offset >= until || markers.contains(&offset);
        self.index.retain_aborted(|aborted| kept(aborted.last_offset));
        Ok(())
    }
}

/// One compaction of one partition.
struct Pass<'a> {
    log: &'a PartitionLog,
    until: i64,
    now: Millis,
    /// Last offset of each key in the part that is new.
    latest: HashMap<Bytes, i64>,
    /// First and last offsets of aborted transactions, by producer.
    aborted: BTreeMap<i64, Vec<(i64, i64)>>,
    /// Producers with records since their last marker in this pass.
    writing: HashSet<i64>,
}

/// What becomes of a batch.
enum Fate {
    Keep,
    Rewrite(Batch),
    Drop,
}

impl<'a> Pass<'a> {
    fn new(log: &'a PartitionLog, until: i64, now: Millis) -> Self {
        let mut aborted: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        for one in log.index.aborted() {
            aborted.entry(one.producer_id).or_default().push((one.first_offset, one.last_offset));
        }
        let (latest, writing) = (HashMap::new(), HashSet::new());
        Self { log, until, now, latest, aborted, writing }
    }

    fn run(mut self) -> Vec<SegmentImage> {
        let (log, until) = (self.log, self.until);
        let dirty = log.batches_from(log.cleaned_to);
        for batch in dirty.take_while(|batch| batch.base_offset() < until) {
            self.note(batch);
        }
        let mut images: Vec<SegmentImage> = Vec::new();
        let mut size = 0;
        for segment in log.segments.iter().filter(|segment| segment.base() < until) {
            size += segment.size();
            let spread = images.last().map_or(0, |image| until - image.base);
            let full = size > log.config.segment_bytes || spread > i64::from(i32::MAX);
            if images.is_empty() || full {
                images.push(SegmentImage { base: segment.base(), batches: Vec::new() });
                size = segment.size();
            }
            let mut kept = Vec::new();
            for batch in segment.batches() {
                match self.fate(batch) {
                    Fate::Keep => kept.push(batch.bytes().clone()),
                    Fate::Rewrite(batch) => kept.push(batch.bytes().clone()),
                    Fate::Drop => {}
                }
            }
            images.last_mut().expect("one was pushed if there was none").batches.extend(kept);
        }
        images.retain(|image| !image.batches.is_empty());
        images
    }

    fn is_aborted(&self, batch: &Batch) -> bool {
        let (first, last) = (batch.base_offset(), batch.last_offset());
        let known = self.aborted.get(&batch.producer_id());
        batch.is_transactional()
            && known.is_some_and(|all| all.iter().any(|(from, to)| *from <= first && last < *to))
    }

    fn note(&mut self, batch: &Batch) {
        if batch.is_control() || self.is_aborted(batch) {
            return;
        }
        let latest = &mut self.latest;
        let walked = record::each(batch, |body, raw| {
            if let Some(range) = raw.key.clone() {
                latest.insert(body.slice(range), raw.offset(batch));
            }
        });
        if let Err(why) = walked {
            tracing::warn!(offset = batch.base_offset(), why, "a batch is left as it is");
        }
    }

    fn fate(&mut self, batch: &Batch) -> Fate {
        let producer = batch.producer_id();
        if batch.is_control() {
            return self.fate_of_marker(batch);
        }
        if batch.is_transactional() {
            self.writing.insert(producer);
        }
        if self.is_aborted(batch) {
            return self.emptied(batch);
        }
        let mut kept: Vec<Raw> = Vec::new();
        let (mut dropped, mut tombstones) = (0usize, false);
        let mut plain = Bytes::new();
        let walked = record::each(batch, |body, raw| {
            if plain.is_empty() {
                plain = body.clone();
            }
            if self.keeps(batch, body, &raw) {
                tombstones |= !raw.has_value;
                kept.push(raw);
            } else {
                dropped += 1;
            }
        });
        if walked.is_err() {
            return Fate::Keep;
        }
        let horizon = tombstones && batch.delete_horizon().is_none();
        if dropped == 0 && !horizon && (batch.count() > 0 || self.is_last_of_producer(batch)) {
            return Fate::Keep;
        }
        if kept.is_empty() {
            return self.emptied(batch);
        }
        self.rewritten(batch, &plain, &kept, horizon)
    }

    /// Markers stay while their transaction has records, and `delete.retention.ms` longer.
    fn fate_of_marker(&mut self, batch: &Batch) -> Fate {
        if self.writing.remove(&batch.producer_id()) {
            return Fate::Keep;
        }
        match batch.delete_horizon() {
            Some(horizon) if horizon <= self.now => self.emptied(batch),
            Some(_) => Fate::Keep,
            None if batch.count() == 0 => self.emptied(batch),
            None => {
                let mut raws = Vec::new();
                let mut plain = Bytes::new();
                let walked = record::each(batch, |body, raw| {
                    plain = body.clone();
                    raws.push(raw);
                });
                if walked.is_err() {
                    return Fate::Keep;
                }
                self.rewritten(batch, &plain, &raws, true)
            }
        }
    }

    fn keeps(&self, batch: &Batch, body: &[u8], raw: &Raw) -> bool {
        let Some(key) = raw.key(body) else { return false };
        let is_latest = self.latest.get(key).is_none_or(|last| raw.offset(batch) >= *last);
        let expired = batch.delete_horizon().is_some_and(|horizon| horizon <= self.now);
        is_latest && (raw.has_value || !expired)
    }

    fn rewritten(&self, batch: &Batch, body: &[u8], kept: &[Raw], horizon: bool) -> Fate {
        let mut header = Header::of(batch);
        let newest = kept.iter().map(|raw| raw.timestamp(batch)).max();
        header.max_timestamp = newest.unwrap_or(header.max_timestamp);
        if horizon {
            header.attributes |= DELETE_HORIZON;
            header.base_timestamp = self.now.saturating_add(self.log.config.delete_retention_ms);
        }
        match record::assemble(&header, batch, body, kept) {
            Ok(batch) => Fate::Rewrite(batch),
            Err(why) => {
                tracing::warn!(offset = batch.base_offset(), why, "a batch is left as it is");
                Fate::Keep
            }
        }
    }

    /// Without records a batch stays only as the last thing that is known of a producer.
    fn emptied(&self, batch: &Batch) -> Fate {
        if !self.is_last_of_producer(batch) {
            return Fate::Drop;
        }
        if batch.count() == 0 {
            return Fate::Keep;
        }
        Fate::Rewrite(Header::of(batch).with(0, &[]))
    }

    fn is_last_of_producer(&self, batch: &Batch) -> bool {
        let Some(known) = self.log.producers.get(&batch.producer_id()) else { return false };
        match known.last_offset() {
            Some(last) => last == batch.last_offset(),
            None => batch.is_control() && known.epoch() == batch.producer_epoch(),
        }
    }
}

impl Marker {
    /// Whether it makes the records of its transaction visible.
    #[must_use]
    pub fn commits(self) -> bool {
        self == Self::Commit
    }
}
