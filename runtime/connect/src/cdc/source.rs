//! The source itself, and what can be set.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;

use super::error::ConfigError;
use super::log::LogSource;
use super::metrics::LogMetrics;
use super::operator::LogOperator;
use super::position::LogPosition;
use super::settings::{IdlePositions, LargeTransaction, LogSettings, OnChange, Snapshot};
use super::topic::TopicTemplate;
use super::translate::{CdcTranslate, OnTruncate, UnchangedToast};
use crate::source::{BatchLimits, SourceBatch, SourceError, TransactionalSource};

/// Publishes the changes of PostgreSQL tables: see the [module's page](super).
///
/// # Examples
/// ```no_run
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use tidemill::client::ClientConfig;
/// use tidemill_connect::cdc::{CdcSource, Snapshot};
/// use tidemill_connect::source::SourceRunner;
///
/// let database = "host=localhost user=cdc dbname=shop".parse()?;
/// let source = CdcSource::new(database, "shop_cdc", "shop_publication")?
///     .topics("shop.{schema}.{table}")?
///     .snapshot(Snapshot::initial());
///
/// let mut kafka = ClientConfig::new();
/// kafka.set("bootstrap.servers", "localhost:9092");
/// let relay = SourceRunner::new("shop-cdc", source, kafka, "shop-cdc-positions");
/// relay.spawn()?.wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CdcSource {
    log: LogSource<CdcTranslate>,
}

impl CdcSource {
    /// Makes a source that reads what the publication publishes. The slot is its own: it makes it,
    /// and refuses one that it does not know. The publication must be there before; see
    /// [`PublicationSetup`](super::PublicationSetup).
    ///
    /// # Errors
    /// If a name can't be one.
    pub fn new(postgres: Config, slot: &str, publication: &str) -> Result<Self, ConfigError> {
        let settings = LogSettings::new(postgres, slot, publication)?;
        let translate = CdcTranslate {
            name: slot.to_owned(),
            topics: TopicTemplate::new(&format!("{slot}.{{schema}}.{{table}}"))?,
            keys: BTreeMap::new(),
            tables: Vec::new(),
            toast: UnchangedToast::Error,
            truncate: OnTruncate::Halt,
            tombstones: true,
            schemas: false,
            targets: HashMap::new(),
        };
        Ok(Self { log: LogSource::new(settings, translate) })
    }

    /// Names the topics, with `{schema}` and `{table}`; `slot.{schema}.{table}` if not set.
    ///
    /// # Errors
    /// If no topic could have such a name.
    pub fn topics(mut self, template: &str) -> Result<Self, ConfigError> {
        self.log.translate_mut().topics = TopicTemplate::new(template)?;
        Ok(self)
    }

    /// Names the source in its envelopes (`source.name`); the slot's name if not set.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.log.translate_mut().name);
        self
    }

    /// Publishes these tables only, each as `schema.table`; all of the publication if never called.
    #[must_use]
    pub fn table(mut self, table: &str) -> Self {
        self.log.translate_mut().tables.push(table.to_owned());
        self
    }

    /// Makes these columns the key of a table's records, instead of its primary key.
    #[must_use]
    pub fn key(mut self, table: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        self.log.translate_mut().keys.insert(table.to_owned(), columns);
        self
    }

    /// Sets whether rows that are there already are published first. Never, if not set.
    #[must_use]
    pub fn snapshot(mut self, snapshot: Snapshot) -> Self {
        self.log.settings_mut().snapshot = snapshot;
        self
    }

    /// Sets what to do with large values that are not in the log because they did not change. An
    /// error, if not set.
    #[must_use]
    pub fn on_unchanged_toast(mut self, policy: UnchangedToast) -> Self {
        self.log.translate_mut().toast = policy;
        self
    }

    /// Sets what to do when a table is truncated. An error, if not set.
    #[must_use]
    pub fn on_truncate(mut self, policy: OnTruncate) -> Self {
        self.log.translate_mut().truncate = policy;
        self
    }

    /// Sets whether a record without value follows a deletion, so that a compacted topic forgets
    /// the key. Yes, if not set.
    #[must_use]
    pub fn tombstones(mut self, tombstones: bool) -> Self {
        self.log.translate_mut().tombstones = tombstones;
        self
    }

    /// Sets whether keys and envelopes carry their schema, as Kafka Connect's JSON converter writes
    /// it. No, if not set: it makes records several times larger.
    #[must_use]
    pub fn schemas(mut self, schemas: bool) -> Self {
        self.log.translate_mut().schemas = schemas;
        self
    }

    /// Sets what to do when a table changed its shape. Accepted as a new schema version, if not
    /// set.
    #[must_use]
    pub fn on_schema_change(mut self, policy: OnChange) -> Self {
        self.log.settings_mut().on_schema_change = policy;
        self
    }

    /// Sets what to do when the publication was altered. Accepted, if not set.
    #[must_use]
    pub fn on_publication_change(mut self, policy: OnChange) -> Self {
        self.log.settings_mut().on_publication_change = policy;
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

    /// Sets the largest row that is read: 64 MiB if not set.
    #[must_use]
    pub fn row_bytes_max(mut self, bytes: usize) -> Self {
        self.log.settings_mut().row_bytes_max = bytes;
        self
    }

    /// Ends the session that holds the slot instead of waiting until PostgreSQL notices that it is
    /// dead. Kafka has fenced a relay that still lives by then.
    #[must_use]
    pub fn take_over(mut self, take_over: bool) -> Self {
        self.log.settings_mut().take_over = take_over;
        self
    }

    /// Makes the slot one that standbys keep in step (PostgreSQL 17), so that the source can go on
    /// after a failover.
    #[must_use]
    pub fn failover_slot(mut self, failover: bool) -> Self {
        self.log.settings_mut().failover = failover;
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

impl TransactionalSource for CdcSource {
    type Position = LogPosition;

    async fn open(
        &mut self,
        committed: Option<&LogPosition>,
    ) -> Result<Option<LogPosition>, SourceError> {
        self.log.open(committed).await
    }

    async fn poll(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<Option<SourceBatch<LogPosition>>, SourceError> {
        self.log.poll(limits).await
    }

    async fn committed(&mut self, position: &LogPosition) -> Result<(), SourceError> {
        self.log.committed(position).await
    }
}
