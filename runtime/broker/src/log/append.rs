//! Writing to a partition: records of clients and markers of the coordinator.

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::batch::{Batch, BatchError, CONTROL, Header, TRANSACTIONAL};
use super::partition::PartitionLog;
use super::producer::Producer;
use super::record;
use super::refusal::Refusal;
use super::{Entry, Marker};
use crate::engine::{Context, Millis};
use crate::journal;

/// Where records went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// The time of the broker, if records are stamped with it.
    pub(crate) append_time: Option<Millis>,
}

/// Whether a transactional batch may begin to write to this partition: asked only when the producer
/// has no open transaction here.
pub(crate) type Permission<'a> = &'a dyn Fn(&Batch) -> Result<(), Refusal>;

impl PartitionLog {
    /// Writes a client's records.
    pub(crate) fn append(
        &mut self,
        context: &mut Context<'_>,
        bytes: Bytes,
        permitted: Permission<'_>,
    ) -> Result<Appended, Refusal> {
        if self.failing_until.is_some_and(|until| context.now < until) {
            let message = "writing to this partition fails on demand";
            return Err(Refusal::new(ResponseError::KafkaStorageError, message));
        }
        let batch = Batch::verified(bytes)?;
        self.check_limits(&batch)?;
        check_form(&batch)?;
        let batch =
            self.stamp(self.recompress(self.check_records(batch, context.now)?)?, context.now);
        if batch.producer_id() >= 0 {
            let known = self.producers.get(&batch.producer_id());
            let known_batch = known.filter(|_| checks_sequences());
            if let Some(written) = known_batch.and_then(|known| known.duplicate(&batch)) {
                let append_time = self.config.append_time.then_some(written.timestamp);
                return Ok(Appended { base_offset: written.base_offset, append_time });
            }
            let open = known.filter(|known| known.epoch() == batch.producer_epoch());
            let open = open.is_some_and(|known| known.transaction().is_some());
            if batch.is_transactional() && !open {
                permitted(&batch)?;
            }
            match known {
                Some(known) => known.check(&batch)?,
                None => Producer::default().check(&batch)?,
            }
        }
        let append_time = self.config.append_time.then_some(context.now);
        let batch = batch.place(self.next_offset);
        let base_offset = batch.base_offset();
        self.write(context, batch);
        Ok(Appended { base_offset, append_time })
    }

    /// Ends a producer's transaction in this partition; returns the marker's offset. A marker of an
    /// older epoch than the one that wrote here has nothing to end and is not written.
    pub(crate) fn append_marker(
        &mut self,
        context: &mut Context<'_>,
        producer_id: i64,
        producer_epoch: i16,
        marker: Marker,
        coordinator_epoch: i32,
    ) -> i64 {
        let known = self.producers.get(&producer_id);
        if known.is_some_and(|known| known.epoch() > producer_epoch) {
            return self.next_offset;
        }
        let batch = marker_batch(
            self.next_offset,
            context.now,
            (producer_id, producer_epoch),
            (marker, coordinator_epoch),
        );
        let offset = batch.base_offset();
        self.write(context, batch);
        offset
    }

    fn write(&mut self, context: &mut Context<'_>, batch: Batch) {
        let entry = Entry::Appended(self.key, batch.bytes().clone());
        context.journal.push(journal::Entry::Log(entry));
        self.accept(batch, context.now);
    }

    /// Takes a batch that has its place, with all that follows from it.
    pub(super) fn accept(&mut self, batch: Batch, now: Millis) {
        let id = batch.producer_id();
        if batch.is_control() {
            let (commits, coordinator_epoch) = marker_of(&batch);
            let producer = self.producers.entry(id).or_default();
            let (epoch, time) = (batch.producer_epoch(), batch.max_timestamp());
            producer.seen(now);
            if let Some(first) = producer.ended(epoch, coordinator_epoch, time) {
                self.index.end(first, batch.base_offset(), commits);
            }
        } else if id >= 0 && self.producers.entry(id).or_default().wrote(&batch, now) {
            self.index.begin(batch.base_offset(), id);
        }
        self.push(batch);
    }

    fn check_limits(&self, batch: &Batch) -> Result<(), Refusal> {
        let (size, limit) = (batch.size(), self.config.max_message_bytes);
        if size > limit {
            let message = format!("a batch of {size} bytes, max.message.bytes is {limit}");
            return Err(Refusal::new(ResponseError::MessageTooLarge, message));
        }
        let limit = self.config.segment_bytes;
        if size > limit {
            let message = format!("a batch of {size} bytes, segment.bytes is {limit}");
            return Err(Refusal::new(ResponseError::RecordListTooLarge, message));
        }
        Ok(())
    }

    /// Looks into the records where something depends on them: their form if it costs no
    /// decompression, the keys of a compacted topic, their timestamps.
    fn check_records(&self, batch: Batch, now: Millis) -> Result<Batch, Refusal> {
        if !self.config.append_time {
            let late = batch.max_timestamp().saturating_sub(now);
            let limit = self.config.timestamp_after_max_ms;
            if batch.max_timestamp() >= 0 && late > limit {
                let message = format!(
                    "a timestamp is {late} ms in the future, message.timestamp.after.max.ms is \
                     {limit}"
                );
                return Err(Refusal::new(ResponseError::InvalidTimestamp, message));
            }
        }
        let oldest = match self.config.timestamp_before_max_ms {
            _ if self.config.append_time => i64::MIN,
            i64::MAX => i64::MIN,
            limit => now.saturating_sub(limit),
        };
        if batch.compression() != 0 && !self.config.compacts && oldest == i64::MIN {
            return Ok(batch);
        }
        let (mut keyless, mut old) = (Vec::new(), Vec::new());
        let mut number = 0;
        let compacts = self.config.compacts;
        let walked = record::each(&batch, |_, raw| {
            if compacts && raw.key.is_none() {
                keyless
                    .push((number, "a compacted topic takes no record without a key".to_owned()));
            }
            if raw.timestamp(&batch) < oldest && raw.timestamp(&batch) != -1 {
                old.push((number, format!("its timestamp is before {oldest}")));
            }
            number += 1;
        });
        walked.map_err(|why| Refusal::from(BatchError::Records(why)))?;
        let refuse = |error, records: Vec<(i32, String)>| {
            let message = format!("{} records of the batch are refused", records.len());
            Refusal { error, message, records }
        };
        if !keyless.is_empty() {
            return Err(refuse(ResponseError::InvalidRecord, keyless));
        }
        if !old.is_empty() {
            return Err(refuse(ResponseError::InvalidTimestamp, old));
        }
        Ok(batch)
    }

    fn recompress(&self, batch: Batch) -> Result<Batch, Refusal> {
        match self.config.compression {
            Some(kind) if kind != batch.compression() => {
                record::recompress(&batch, kind).map_err(|why| BatchError::Records(why).into())
            }
            _ => Ok(batch),
        }
    }

    fn stamp(&self, batch: Batch, now: Millis) -> Batch {
        if self.config.append_time { batch.at_append_time(now) } else { batch }
    }
}

/// What a client may not send, whatever the topic.
fn check_form(batch: &Batch) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ResponseError::InvalidRecord, message));
    if batch.is_control() {
        return invalid("clients write no control records".to_owned());
    }
    let offsets = batch.last_offset() - batch.base_offset() + 1;
    if i64::from(batch.count()) != offsets {
        return invalid(format!("{} records with {offsets} offsets", batch.count()));
    }
    if batch.has_append_time() {
        let message = "clients do not stamp records with the broker's time";
        return Err(Refusal::new(ResponseError::InvalidTimestamp, message));
    }
    if batch.is_transactional() && batch.producer_id() < 0 {
        return invalid("a transactional batch without a producer id".to_owned());
    }
    if batch.producer_id() >= 0 && (batch.producer_epoch() < 0 || batch.base_sequence() < 0) {
        return invalid("a producer id without epoch or sequence".to_owned());
    }
    Ok(())
}

/// A control batch, byte for byte as Apache Kafka writes it.
fn marker_batch(
    offset: i64,
    now: Millis,
    (producer_id, producer_epoch): (i64, i16),
    (marker, coordinator_epoch): (Marker, i32),
) -> Batch {
    let kind: i16 = match marker {
        Marker::Abort => 0,
        Marker::Commit => 1,
    };
    let mut key = [0; 4];
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let header = Header {
        base_offset: offset,
        last_offset: offset,
        attributes: TRANSACTIONAL | CONTROL,
        base_timestamp: now,
        max_timestamp: now,
        producer_id,
        producer_epoch,
        base_sequence: -1,
    };
    header.with(1, &record::single(&key, &value))
}

/// Whether a control batch commits, and its coordinator's epoch. One that compaction emptied says
/// nothing any more, and is asked nothing: transactions are restored from an image then.
pub(super) fn marker_of(batch: &Batch) -> (bool, i32) {
    let records = record::records(batch).unwrap_or_default();
    let Some(first) = records.first() else { return (false, -1) };
    let kind = first.key.as_deref().and_then(|key| key.get(2..4));
    let epoch = first.value.as_deref().and_then(|value| value.get(2..6));
    let epoch = epoch.and_then(|bytes| bytes.try_into().ok()).map_or(-1, i32::from_be_bytes);
    (kind == Some(&[0, 1]), epoch)
}

/// Whether sequence numbers are checked: always, but for tests that want to see what happens else.
pub(super) fn checks_sequences() -> bool {
    #[cfg(feature = "mutations")]
    return crate::mutation::sequences_are_checked();
    #[cfg(not(feature = "mutations"))]
    true
}
