//! Transaction Log Tailing: the outbox read from PostgreSQL's log instead of its table.
//!
//! The order is that of commits, proven by PostgreSQL: it depends neither on locks nor on how ids
//! are drawn, and no transaction that stays open delays another one. The costs are those of
//! [`cdc`](crate::cdc): `wal_level = logical`, a role with `REPLICATION`, and a slot that keeps the
//! server's log while the relay is away. Records are the same as those of
//! [`PollingOutbox`](super::PollingOutbox), so one can take the other's place: stop the one with
//! nothing unpublished, then start the other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value as Json};
use tokio_postgres::Config;
use uuid::Uuid;

use super::gauges::{Gauges, OutboxLag};
use super::relay::OutboxSource;
use super::route::{Route, Topics};
use super::row::OutboxRow;
use super::settings::{Cleanup, MissingPosition, Poison, RelaySettings, Shard};
use super::tailing_cleanup::Sweeper;
use super::{Outbox, OutboxError};
use crate::cdc::error::{ChangeError, refused};
use crate::cdc::log::{Change, ChangeSource, LogSource, Translate};
use crate::cdc::publication::Publication;
use crate::cdc::settings::LogSettings;
use crate::cdc::{
    ConfigError, IdlePositions, LargeTransaction, LogMetrics, LogOperator, LogPosition, Relation,
    Row, Snapshot, Value,
};
use crate::postgres::TableName;
use crate::source::{BatchLimits, SourceBatch, SourceError, SourceRecord, TransactionalSource};

/// Reads an outbox from PostgreSQL's log: see the [module's page](self).
///
/// The publication has the outbox and publishes inserts:
/// `PublicationSetup::new("outbox_publication", &["outbox"])?.inserts_only()`. An outbox with
/// partitions needs `publish_via_partition_root`.
#[derive(Debug)]
pub struct LogTailingOutbox {
    log: LogSource<OutboxTranslate>,
    sweeper: Sweeper,
    gauges: Arc<Gauges>,
}

impl LogTailingOutbox {
    /// Names the database, the outbox in it, the slot, which the source makes itself, and the
    /// publication, which must be there.
    ///
    /// # Errors
    /// If a name can't be one.
    pub fn new(
        config: Config,
        outbox: Outbox,
        slot: &str,
        publication: &str,
    ) -> Result<Self, ConfigError> {
        let settings = LogSettings::new(config.clone(), slot, publication)?;
        let sweeper = Sweeper::new(config, &outbox);
        let translate = OutboxTranslate {
            table: outbox.table().clone(),
            route: outbox.route.clone(),
            topics: Topics::new(outbox.route),
            oids: BTreeSet::new(),
        };
        let log = LogSource::new(settings, translate);
        Ok(Self { log, sweeper, gauges: Arc::default() })
    }

    /// Publishes rows that are in the table when the slot is made, in the order of their ids,
    /// before what is staged later. Not, if not set.
    #[must_use]
    pub fn publish_existing(mut self) -> Self {
        self.log.settings_mut().snapshot = Snapshot::initial();
        self
    }

    /// Sets what to do with transactions that are too large for one Kafka transaction.
    #[must_use]
    pub fn large_transactions(mut self, policy: LargeTransaction) -> Self {
        self.log.settings_mut().large = policy;
        self
    }

    /// Sets when progress is noted though nothing was published.
    #[must_use]
    pub fn idle_positions(mut self, idle: IdlePositions) -> Self {
        self.log.settings_mut().idle = idle;
        self
    }

    /// Sets how often PostgreSQL is told how far it may remove its log: every second if not set.
    #[must_use]
    pub fn status_interval(mut self, interval: Duration) -> Self {
        self.log.settings_mut().status_interval = interval;
        self
    }

    /// Ends the session that holds the slot instead of waiting until PostgreSQL notices that it is
    /// dead. Kafka has fenced a relay that still lives by then.
    #[must_use]
    pub fn take_over(mut self, take_over: bool) -> Self {
        self.log.settings_mut().take_over = take_over;
        self
    }

    /// Returns what the source counts.
    #[must_use]
    pub fn metrics(&self) -> Arc<LogMetrics> {
        self.log.metrics()
    }

    /// Returns what makes positions for an operator.
    #[must_use]
    pub fn operator(&self) -> LogOperator {
        LogOperator::new(self.log.settings().clone())
    }
}

impl OutboxSource for LogTailingOutbox {
    fn configure(&mut self, settings: RelaySettings) -> Result<(), OutboxError> {
        let no = |what: &str| {
            Err(OutboxError::Configuration(format!("an outbox read from the log has no {what}")))
        };
        if settings.shard != Shard::ALL {
            return no("shards: one slot has the whole log");
        }
        if settings.poison != Poison::Halt {
            return no("dead letters: mend the cause, or use PollingOutbox");
        }
        if settings.missing_position != MissingPosition::Fail {
            return no("such choice: LogOperator makes a position instead");
        }
        if matches!(settings.cleanup, Cleanup::DropPartitions { .. }) {
            return no("partitions to drop: use PollingOutbox");
        }
        self.sweeper.cleanup = settings.cleanup;
        Ok(())
    }

    fn lag(&self) -> Arc<dyn Fn() -> OutboxLag + Send + Sync> {
        let gauges = Arc::clone(&self.gauges);
        Arc::new(move || gauges.read())
    }
}

impl TransactionalSource for LogTailingOutbox {
    type Position = LogPosition;

    async fn open(
        &mut self,
        committed: Option<&LogPosition>,
    ) -> Result<Option<LogPosition>, SourceError> {
        self.sweeper.forget();
        self.log.open(committed).await
    }

    async fn poll(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<Option<SourceBatch<LogPosition>>, SourceError> {
        let batch = self.log.poll(limits).await?;
        if let Some(record) = batch.as_ref().and_then(|batch| batch.records.first()) {
            let millis = u64::try_from(record.timestamp.0).unwrap_or_default();
            let staged = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            let rows = batch.as_ref().map_or(0, |batch| batch.records.len() as u64);
            self.gauges.backlog(rows, staged.elapsed().unwrap_or_default());
        } else {
            self.gauges.backlog(0, Duration::ZERO);
            self.sweeper.turn().await;
        }
        Ok(batch)
    }

    async fn committed(&mut self, position: &LogPosition) -> Result<(), SourceError> {
        self.log.committed(position).await?;
        // rows of a table that is still being read are behind no position
        if position.snapshot.is_none() {
            self.sweeper.committed(position.lsn());
            self.sweeper.turn().await;
        }
        Ok(())
    }
}

/// Makes the records of an outbox.
#[derive(Debug)]
pub(crate) struct OutboxTranslate {
    table: TableName,
    route: Route,
    topics: Topics,
    /// The outbox, or what it was when it was described.
    oids: BTreeSet<u32>,
}

impl OutboxTranslate {
    fn is_outbox(&self, schema: &str, name: &str) -> bool {
        name == self.table.name() && self.table.schema().is_none_or(|ours| ours == schema)
    }

    fn record(&mut self, row: &Row) -> Result<SourceRecord, String> {
        let text = |name: &str| match row.get(name) {
            Some(Value::Text(text)) => Ok(text.as_str()),
            _ => Err(format!("column {name} is missing, or no text")),
        };
        let integer = |name: &str| match row.get(name) {
            Some(Value::Int(value)) => Ok(Some(*value)),
            Some(Value::Null) => Ok(None),
            _ => Err(format!("column {name} is missing, or no integer")),
        };
        let id = integer("id")?.ok_or("column id is null")?;
        let wrong = |name: &str| format!("row {id}: column {name} can't be read");
        let headers: Option<Map<String, Json>> = match row.get("headers") {
            Some(Value::Text(text)) => {
                Some(serde_json::from_str(text).map_err(|_| wrong("headers"))?)
            }
            _ => None,
        };
        let payload = match row.get("payload") {
            Some(Value::Bytes(bytes)) => Some(bytes.as_slice()),
            Some(Value::Null) => None,
            _ => return Err(wrong("payload")),
        };
        let row = OutboxRow {
            id,
            event_id: Uuid::parse_str(text("event_id")?).map_err(|_| wrong("event_id"))?,
            aggregate_type: text("aggregatetype")?,
            aggregate_id: text("aggregateid")?,
            event_type: text("type")?,
            revision: integer("revision")?,
            payload,
            headers,
            created_at: time(text("created_at")?).ok_or_else(|| wrong("created_at"))?,
        };
        if !self.topics.knows(row.aggregate_type) {
            self.route.topic(row.aggregate_type).map_err(|why| format!("row {id}: {why}"))?;
        }
        Ok(row.record(&mut self.topics))
    }
}

impl Translate for OutboxTranslate {
    fn check(&mut self, publication: &Publication) -> Result<(), SourceError> {
        let outboxes =
            publication.tables.values().filter(|table| self.is_outbox(&table.schema, &table.name));
        let what = match outboxes.count() {
            1 if publication.operations.insert => return Ok(()),
            1 => format!("publication {} publishes no inserts", publication.name),
            0 => format!("outbox {} is not in publication {}", self.table, publication.name),
            _ => format!("there are several tables {}", self.table),
        };
        let remedy = "publish inserts of the outbox (PublicationSetup::inserts_only); name its \
                      schema if there are several; one with partitions needs \
                      publish_via_partition_root";
        Err(refused(what, remedy))
    }

    fn key(&self, _table: &str) -> Option<&[String]> {
        None
    }

    fn relation(&mut self, relation: &Arc<Relation>, _version: u32) -> Result<(), ChangeError> {
        if self.is_outbox(&relation.schema, &relation.name) {
            self.oids.insert(relation.oid);
        } else {
            self.oids.remove(&relation.oid);
        }
        Ok(())
    }

    fn change(
        &mut self,
        _at: &ChangeSource,
        change: Change,
        out: &mut Vec<SourceRecord>,
    ) -> Result<(), ChangeError> {
        // an event is staged once and for all: updates and deletions are no events
        if let Change::Insert(row) | Change::Read(row) = change
            && self.oids.contains(&row.relation().oid)
        {
            let record = self.record(&row);
            out.push(record.map_err(|why| ChangeError::Outbox(why.into()))?);
        }
        Ok(())
    }
}

/// Reads a time as the log has it: `2026-11-22T10:00:00.25Z`.
fn time(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(str::parse::<i64>);
    let mut date = || date.next()?.ok();
    let (year, month, day) = (date()?, date()?, date()?);
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut time = time.split(':').map(str::parse::<i64>);
    let mut time = || time.next()?.ok();
    let seconds = time()? * 3600 + time()? * 60 + time()?;
    let micros: u32 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    // days of the civil calendar, with years that begin in March
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    let seconds = u64::try_from(days.checked_mul(86_400)? + seconds).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, micros * 1000))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::time;

    #[test]
    fn times_of_the_log_are_read_to_the_microsecond() {
        let at = |seconds, micros: u32| {
            Some(SystemTime::UNIX_EPOCH + Duration::new(seconds, micros * 1000))
        };
        assert_eq!(time("1970-01-01T00:00:00Z"), at(0, 0));
        assert_eq!(time("2026-11-22T11:05:06.000007Z"), at(1_795_345_506, 7));
        assert_eq!(time("2024-02-29T23:59:59.5Z"), at(1_709_251_199, 500_000));
        assert_eq!(time("infinity"), None);
        assert_eq!(time("2024-02-29T23:59Z"), None);
    }
}
