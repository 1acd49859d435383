//! The source that reads the log, whatever its changes become.
//!
//! ```text
//!   Session --events--> LogSource: transactions, positions --changes--> Translate --> records
//!   tables  --rows----> Views (snapshot)  ------------------rows-------^
//! ```

mod lead;
mod open;
mod poll;
mod shapes;
mod snapshot;
mod transaction;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::error::{ChangeError, failed};
use super::lsn::Lsn;
use super::metrics::LogMetrics;
use super::position::LogPosition;
use super::publication::Publication;
use super::relation::{Relation, Row};
use super::session::{LogEvent, Session};
use super::settings::LogSettings;
use crate::source::{BatchLimits, SourceBatch, SourceError, SourceRecord, TransactionalSource};
use shapes::Shapes;
use snapshot::View;
use transaction::{Ready, Transaction};

/// What becomes of changes: the part in which the sources that read the log differ.
pub(crate) trait Translate: Send + 'static {
    /// Looks at what will be published before anything is.
    fn check(&mut self, publication: &Publication) -> Result<(), SourceError>;

    /// Returns the columns that make the key of a table's records, where the table has no replica
    /// identity of some columns.
    fn key(&self, table: &str) -> Option<&[String]>;

    /// Learns what a table looks like from now on.
    fn relation(&mut self, relation: &Arc<Relation>, version: u32) -> Result<(), ChangeError>;

    /// Turns a change into records.
    fn change(
        &mut self,
        at: &ChangeSource,
        change: Change,
        out: &mut Vec<SourceRecord>,
    ) -> Result<(), ChangeError>;
}

/// Where a change comes from.
#[derive(Debug, Clone)]
pub(crate) struct ChangeSource {
    pub(crate) database: Arc<str>,
    /// Where the transaction before it ended.
    pub(crate) previous: Lsn,
    /// The transaction's commit record; the point of view, for a row of a table that was read.
    pub(crate) lsn: Lsn,
    /// The transaction, 0 for a row of a table that was read.
    pub(crate) xid: u32,
    /// Which change of it, from 1.
    pub(crate) ordinal: u64,
    /// Milliseconds since the Unix epoch: when it was committed, or read.
    pub(crate) time: i64,
}

/// Something that happened to a table.
#[derive(Debug)]
pub(crate) enum Change {
    /// A row was there when the table was read.
    Read(Row),
    Insert(Row),
    Update {
        old: Option<Row>,
        new: Row,
    },
    Delete(Row),
    Truncate(Arc<Relation>),
}

/// A [`TransactionalSource`] that reads the log.
pub(crate) struct LogSource<T> {
    settings: LogSettings,
    translate: T,
    metrics: Arc<LogMetrics>,
    /// The highest position that was committed, as far as this process knows.
    highest: Option<Lsn>,
    reading: Option<Reading>,
}

/// What is there between `open` and the next error.
struct Reading {
    database: Arc<str>,
    publication: Publication,
    /// What is read; the log follows it.
    position: LogPosition,
    /// What was last handed out.
    handed: LogPosition,
    handed_at: Instant,
    /// `None` before the slot is made.
    session: Option<Session>,
    /// An event that belongs behind the view that is being read.
    held: VecDeque<LogEvent>,
    shapes: Shapes,
    transaction: Option<Transaction>,
    ready: Ready,
    /// The last batch was no small one, so the next one is worth waiting for.
    dense: bool,
    view: Option<View>,
}

impl<T: Translate> LogSource<T> {
    pub(crate) fn new(settings: LogSettings, translate: T) -> Self {
        let metrics = Arc::new(LogMetrics::default());
        Self { settings, translate, metrics, highest: None, reading: None }
    }

    pub(crate) fn metrics(&self) -> Arc<LogMetrics> {
        Arc::clone(&self.metrics)
    }

    pub(crate) fn settings(&self) -> &LogSettings {
        &self.settings
    }

    pub(crate) fn settings_mut(&mut self) -> &mut LogSettings {
        &mut self.settings
    }

    pub(crate) fn translate_mut(&mut self) -> &mut T {
        &mut self.translate
    }
}

impl<T: Translate> TransactionalSource for LogSource<T> {
    type Position = LogPosition;

    async fn open(
        &mut self,
        committed: Option<&LogPosition>,
    ) -> Result<Option<LogPosition>, SourceError> {
        self.reading = None;
        self.open_at(committed).await
    }

    async fn poll(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<Option<SourceBatch<LogPosition>>, SourceError> {
        let polled = self.poll_reading(limits).await;
        match (&polled, &mut self.reading) {
            // what was read half is read again
            (Err(_), reading) => *reading = None,
            (Ok(batch), Some(reading)) => {
                let records = batch.as_ref().map_or(0, |batch| batch.records.len());
                reading.dense = records >= limits.records.div_ceil(4);
            }
            (Ok(_), None) => {}
        }
        polled
    }

    async fn committed(&mut self, position: &LogPosition) -> Result<(), SourceError> {
        self.highest = self.highest.max(position.lsn);
        if let (Some(reading), Some(lsn)) = (&self.reading, position.lsn)
            && let Some(session) = &reading.session
        {
            session.acknowledge(lsn);
            self.metrics.committed(lsn, session.server_lsn());
        }
        Ok(())
    }
}

impl<T> fmt::Debug for LogSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSource")
            .field("slot", &self.settings.slot)
            .field("publication", &self.settings.publication)
            .finish_non_exhaustive()
    }
}

fn not_open() -> SourceError {
    failed("the source was polled before it was opened")
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis());
    i64::try_from(now).unwrap_or(i64::MAX)
}
