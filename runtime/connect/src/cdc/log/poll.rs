//! Polling: events become transactions, transactions become batches with positions between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::transaction::{Transaction, record_bytes};
use super::{Change, ChangeSource, LogSource, Reading, Translate, not_open};
use crate::cdc::error::{ChangeError, RESNAPSHOT, refused};
use crate::cdc::lsn::Lsn;
use crate::cdc::pgoutput::{Message, OldTuple, Tuple};
use crate::cdc::position::{LogPosition, Part};
use crate::cdc::relation::{Relation, Row};
use crate::cdc::session::LogEvent;
use crate::cdc::settings::{IdlePositions, LargeTransaction};
use crate::source::{BatchLimits, SourceBatch, SourceError};

/// From PostgreSQL's epoch to Unix's.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// How long a batch is gathered while much comes at a time.
const GATHER: Duration = Duration::from_millis(10);

type Batch = SourceBatch<LogPosition>;

impl<T: Translate> LogSource<T> {
    pub(super) async fn poll_reading(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<Option<Batch>, SourceError> {
        if self.reading.as_ref().ok_or_else(not_open)?.session.is_none() {
            let position = self.make_slot().await?;
            return Ok(Some(SourceBatch { records: Vec::new(), position: Some(position) }));
        }
        let begun = Instant::now();
        let (deadline, gathered) = (begun + limits.wait, begun + GATHER);
        loop {
            let reading = self.reading.as_mut().ok_or_else(not_open)?;
            if reading.position.snapshot.is_some() && reading.view.is_none() {
                self.begin_view().await?;
                continue;
            }
            if reading.ready.is_full(limits) || (reading.at_view() && reading.ready.any) {
                return Ok(Some(reading.hand_out_ready()));
            }
            if reading.at_view() {
                return self.read_chunk(limits).await.map(Some);
            }
            let Some(event) = reading.next(deadline, gathered).await? else {
                return Ok(reading.whatever_is_due(&self.settings.idle));
            };
            self.take(event).await?;
            let reading = self.reading.as_mut().ok_or_else(not_open)?;
            if let Some(batch) = reading.part(limits, &self.settings.large)? {
                return Ok(Some(batch));
            }
            // some of what comes may be no record: it must not keep back those that are
            let until = if reading.ready.any { deadline.max(gathered) } else { deadline };
            if reading.transaction.is_none() && Instant::now() >= until {
                return Ok(reading.whatever_is_due(&self.settings.idle));
            }
        }
    }

    async fn take(&mut self, event: LogEvent) -> Result<(), SourceError> {
        let reading = self.reading.as_mut().ok_or_else(not_open)?;
        match event {
            LogEvent::Begin { commit_lsn, commit_time, xid } => {
                if reading.view.as_ref().is_some_and(|view| commit_lsn >= view.lsn) {
                    reading.reach_view();
                    reading.held.push_back(LogEvent::Begin { commit_lsn, commit_time, xid });
                    return Ok(());
                }
                reading.begin(commit_lsn, commit_time, xid)
            }
            LogEvent::Message(bytes) => {
                let message = Message::read(&bytes).map_err(ChangeError::from)?;
                self.message(message).await
            }
            LogEvent::Commit { end_lsn } => {
                let changes = reading.commit(end_lsn)?;
                self.metrics.transaction(changes);
                Ok(())
            }
            LogEvent::Idle(lsn) => {
                self.metrics.server(lsn);
                reading.idle(lsn)
            }
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), SourceError> {
        let reading = self.reading.as_mut().ok_or_else(not_open)?;
        match message {
            Message::Relation(body) => {
                reading.shapes.learn(body, &self.settings, &mut self.translate).await?;
                Ok(())
            }
            Message::Insert { relation, new } => {
                let relation = reading.shapes.get(relation)?;
                let new = row(relation, &new)?;
                self.change(Change::Insert(new)).await
            }
            Message::Update { relation, old, new } => {
                let relation = reading.shapes.get(relation)?;
                let mut new = row(relation, &new)?;
                let old = old.map(|old| old_row(relation, &old)).transpose()?;
                if let Some(old) = old.as_ref().filter(|old| !old.key_only) {
                    new.complete_from(old);
                }
                self.change(Change::Update { old, new }).await
            }
            Message::Delete { relation, old } => {
                let relation = reading.shapes.get(relation)?;
                let old = old_row(relation, &old)?;
                self.change(Change::Delete(old)).await
            }
            Message::Truncate { relations, .. } => {
                for oid in relations {
                    let reading = self.reading.as_ref().ok_or_else(not_open)?;
                    let relation = Arc::clone(reading.shapes.get(oid)?);
                    self.change(Change::Truncate(relation)).await?;
                }
                Ok(())
            }
            Message::Type { .. } | Message::Origin { .. } => Ok(()),
            Message::Begin { .. } | Message::Commit { .. } | Message::Logical { .. } => {
                Err(ChangeError::Order("an event came as data").into())
            }
        }
    }

    async fn change(&mut self, change: Change) -> Result<(), SourceError> {
        let reading = self.reading.as_mut().ok_or_else(not_open)?;
        let previous = reading.position.lsn();
        let outside = ChangeError::Order("a change outside of a transaction");
        let transaction = reading.transaction.as_mut().ok_or(outside)?;
        transaction.ordinal += 1;
        if transaction.ordinal <= transaction.published {
            return Ok(());
        }
        let Some(change) = reading.without_view(change).await? else { return Ok(()) };
        let unheard = ChangeError::Order("a change outside of a transaction");
        let transaction = reading.transaction.as_mut().ok_or(unheard)?;
        let at = ChangeSource {
            database: Arc::clone(&reading.database),
            previous,
            lsn: transaction.commit_lsn,
            xid: transaction.xid,
            ordinal: transaction.ordinal,
            time: transaction.time,
        };
        let before = transaction.records.len();
        self.translate.change(&at, change, &mut transaction.records)?;
        transaction.bytes += transaction.records[before..].iter().map(record_bytes).sum::<usize>();
        Ok(())
    }
}

impl Reading {
    /// Returns the next event, waiting until the deadline; if there is something to hand out, not
    /// at all, or until `gathered` while much comes at a time.
    async fn next(
        &mut self,
        deadline: Instant,
        gathered: Instant,
    ) -> Result<Option<LogEvent>, SourceError> {
        if let Some(event) = self.held.pop_front() {
            return Ok(Some(event));
        }
        let session = self.session.as_mut().ok_or_else(not_open)?;
        if !self.ready.any {
            return session.next(deadline.saturating_duration_since(Instant::now())).await;
        }
        if let Some(event) = session.next(Duration::ZERO).await? {
            return Ok(Some(event));
        }
        if self.dense && self.view.is_none() && Instant::now() < gathered {
            return session.next(gathered.saturating_duration_since(Instant::now())).await;
        }
        // the task that reads from the network may be waiting for this thread
        tokio::task::yield_now().await;
        session.next(Duration::ZERO).await
    }

    fn begin(&mut self, commit_lsn: Lsn, commit_time: i64, xid: u32) -> Result<(), SourceError> {
        if self.transaction.is_some() {
            return Err(ChangeError::Order("a transaction begins in another one").into());
        }
        let mut published = 0;
        if let Some(part) = self.position.part {
            if part.commit_lsn != commit_lsn {
                return Err(self.part_is_gone(part, commit_lsn));
            }
            published = part.ordinal;
        }
        self.transaction = Some(Transaction {
            commit_lsn,
            xid,
            time: commit_time.saturating_add(EPOCH_MICROS) / 1000,
            ordinal: 0,
            published,
            records: Vec::new(),
            bytes: 0,
            open_records: 0,
            open_bytes: 0,
            open_since: Instant::now(),
        });
        Ok(())
    }

    fn part_is_gone(&self, part: Part, found: Lsn) -> SourceError {
        let what = format!(
            "{} changes of the transaction at {} are published, but the log goes on with {found}",
            part.ordinal, part.commit_lsn
        );
        refused(what, RESNAPSHOT)
    }

    /// Returns how many changes the transaction had.
    fn commit(&mut self, end_lsn: Lsn) -> Result<u64, SourceError> {
        let nothing = ChangeError::Order("a transaction ends that did not begin");
        let mut transaction = self.transaction.take().ok_or(nothing)?;
        if transaction.ordinal < transaction.published {
            let part = Part { commit_lsn: transaction.commit_lsn, ordinal: transaction.published };
            return Err(self.part_is_gone(part, end_lsn));
        }
        self.position.lsn = Some(end_lsn);
        self.position.part = None;
        self.position.schemas = Arc::clone(&self.shapes.versions);
        self.ready.any |= transaction.total().0 > 0;
        self.ready.bytes += transaction.bytes;
        self.ready.records.append(&mut transaction.records);
        Ok(transaction.ordinal)
    }

    /// Everything before `lsn` was told. Inside of a transaction that means nothing.
    fn idle(&mut self, lsn: Lsn) -> Result<(), SourceError> {
        if self.transaction.is_some() || lsn <= self.position.lsn() {
            return Ok(());
        }
        if let Some(part) = self.position.part {
            return if lsn > part.commit_lsn { Err(self.part_is_gone(part, lsn)) } else { Ok(()) };
        }
        self.position.lsn = Some(lsn);
        if self.view.as_ref().is_some_and(|view| lsn >= view.lsn) {
            self.reach_view();
        }
        Ok(())
    }

    fn handed(&mut self, position: &LogPosition) {
        self.handed.clone_from(position);
        self.handed_at = Instant::now();
    }

    /// Hands out records with the position behind them.
    pub(super) fn hand_out(&mut self, records: Vec<super::SourceRecord>) -> Batch {
        let position = self.position.clone();
        self.handed(&position);
        SourceBatch { records, position: Some(position) }
    }

    fn hand_out_ready(&mut self) -> Batch {
        let records = self.ready.take();
        self.hand_out(records)
    }

    fn whatever_is_due(&mut self, idle: &IdlePositions) -> Option<Batch> {
        if self.ready.any {
            return Some(self.hand_out_ready());
        }
        let moved = self.position.lsn().bytes_since(self.handed.lsn());
        let due = moved >= idle.wal_bytes || self.handed_at.elapsed() >= idle.interval;
        let now = moved > 0 && due && self.transaction.is_none();
        now.then(|| self.hand_out(Vec::new()))
    }

    /// Hands out what is there of a transaction that is too large to be kept.
    fn part(
        &mut self,
        limits: &BatchLimits,
        large: &LargeTransaction,
    ) -> Result<Option<Batch>, SourceError> {
        let Some(transaction) = &mut self.transaction else { return Ok(None) };
        let (records, bytes) = transaction.total();
        let mut part_ends = false;
        match *large {
            LargeTransaction::Halt { records: records_max, bytes: bytes_max } => {
                if records > records_max || bytes > bytes_max {
                    return Err(ChangeError::TooLarge {
                        xid: transaction.xid,
                        commit_lsn: transaction.commit_lsn.to_string(),
                        records: records_max,
                        bytes: bytes_max,
                    }
                    .into());
                }
            }
            LargeTransaction::Split { records: records_max, bytes: bytes_max, time } => {
                let late = records > 0 && transaction.open_for() >= time;
                part_ends = records >= records_max || bytes >= bytes_max || late;
            }
        }
        let full = transaction.records.len() >= limits.records || transaction.bytes >= limits.bytes;
        if !part_ends && !full {
            return Ok(None);
        }
        if self.ready.any {
            // earlier transactions first: their position is before this one
            return Ok(Some(self.hand_out_ready()));
        }
        let records = transaction.take();
        if !part_ends {
            return Ok(Some(SourceBatch { records, position: None }));
        }
        transaction.part_done();
        let (commit_lsn, ordinal) = (transaction.commit_lsn, transaction.ordinal);
        self.position.part = Some(Part { commit_lsn, ordinal });
        self.position.schemas = Arc::clone(&self.shapes.versions);
        Ok(Some(self.hand_out(records)))
    }
}

fn row(relation: &Arc<Relation>, tuple: &Tuple) -> Result<Row, ChangeError> {
    Ok(Row::read(relation, tuple, false)?)
}

fn old_row(relation: &Arc<Relation>, old: &OldTuple) -> Result<Row, ChangeError> {
    Ok(match old {
        OldTuple::Key(tuple) => Row::read(relation, tuple, true)?,
        OldTuple::Full(tuple) => Row::read(relation, tuple, false)?,
    })
}
