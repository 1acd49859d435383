//! One transaction of a relay: as many batches as there are at hand, for a while.
//!
//! A commit costs a fixed time, 20 to 40 ms: the flush, the end of the transaction, and the
//! refusals while Kafka still writes the markers of the last one. So while much comes, batches
//! share one, and the source reads ahead. Only the position behind the last of them is sent: those
//! before it would be overwritten in the same instant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill::failpoint;

use super::publisher::Failure;
use super::run::Relay;
use super::topics::{Topics, unknown_topic};
use super::{BatchLimits, SourceBatch, SourceRecord, TransactionalSource};

/// Topics remembered in the position; beyond it they are not checked.
const TOPICS_MAX: usize = 1000;
/// So many batches are read at most while others are sent and committed.
const AHEAD: usize = 4;
/// From a quarter of a batch on, a transaction waits for more.
const BUSY: u64 = 4;
/// How long more is waited for before a transaction ends that holds enough to be worth it.
const LINGER: Duration = Duration::from_millis(5);

impl<S: TransactionalSource> Relay<S> {
    /// One transaction, or a look that found nothing.
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        let limits = self.options.limits;
        let mut sent = 0;
        // the position behind what was sent, while more is added to the transaction
        let mut kept: Option<S::Position> = None;
        let mut due = Instant::now();
        loop {
            let polled = match kept {
                Some(_) => self.attendant.poll_until(due),
                None => self.attendant.poll(limits),
            };
            let joins = matches!(&polled, Ok(Some(batch)) if batch.position.is_some());
            if !joins && let Some(position) = kept.take() {
                // nothing is at hand, or it must not be committed without what follows it, or the
                // source failed: what is whole goes first
                self.end_step(position, std::mem::take(&mut sent))?;
            }
            let Some(batch) = polled.map_err(|error| self.source_failure(error))? else {
                if sent == 0 || self.stop.is_requested() {
                    return Ok(());
                }
                continue;
            };
            if sent == 0 {
                due = Instant::now() + self.options.commit_interval;
            }
            let SourceBatch { records, position } = batch;
            sent += records.len() as u64;
            // many at a time: more will follow, and one commit for all of them is cheaper
            let busy = sent.saturating_mul(BUSY) >= limits.records as u64;
            if busy && position.is_some() {
                let next = BatchLimits { wait: LINGER, ..limits };
                let ahead = self.attendant.read_ahead(next, AHEAD);
                ahead.map_err(|error| self.source_failure(error))?;
            }
            self.send(&records)?;
            self.status.sent(&records);
            let Some(position) = position else { continue };
            if !busy || Instant::now() >= due || self.stop.is_requested() {
                return self.end_step(position, sent);
            }
            kept = Some(position);
        }
    }

    fn end_step(&mut self, position: S::Position, sent: u64) -> Result<(), Failure> {
        failpoint::pass("OB3");
        self.commit(position, sent)
    }

    fn send(&mut self, records: &[SourceRecord]) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        self.ready()?;
        let positions_topic = &*self.options.positions_topic;
        let topics = Topics { admin: &self.admin, options: &self.options, stop: &self.stop };
        let Some(publisher) = &mut self.publisher else { return Err(Failure::Stopped) };
        let mut known: Option<&Arc<str>> = None;
        for record in records {
            if known.is_some_and(|known| Arc::ptr_eq(known, &record.topic)) {
                publisher.send(record)?;
                continue;
            }
            let rejected = |why| Err(Failure::Rejected(Box::new(record.clone()), why));
            if &*record.topic == positions_topic {
                return rejected("it is addressed to the topic of the positions".to_owned());
            }
            let Some(partitions) = publisher.resolve(&record.topic, &topics)? else {
                return rejected(unknown_topic(&record.topic));
            };
            if self.known.len() < TOPICS_MAX && !self.known.contains_key(&*record.topic) {
                self.known.insert(record.topic.to_string(), partitions);
            }
            publisher.send(record)?;
            known = Some(&record.topic);
        }
        Ok(())
    }
}
