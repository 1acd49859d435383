//! One server for all tests, a database for each, and a source that is driven by hand.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidemill_connect::cdc::{CdcSource, LogPosition, PublicationSetup};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::source::{
    BatchLimits, SourceBatch, SourceError, SourceRecord, TransactionalSource,
};
use tidemill_connect::testing::{PATIENCE, PgOptions, PgServer, unique};
use tokio_postgres::Config;

/// The server that all tests of this program share.
pub(crate) fn server() -> &'static Mutex<PgServer> {
    static SERVER: OnceLock<Mutex<PgServer>> = OnceLock::new();
    SERVER.get_or_init(|| {
        let settings = [("max_replication_slots", "200"), ("max_wal_senders", "200")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Mutex::new(PgServer::start(PgOptions { settings: settings.into() }).unwrap())
    })
}

/// A database of one test, with the names of its slot and its publication.
pub(crate) struct Shop {
    pub(crate) config: Config,
    pub(crate) client: Connection,
    pub(crate) slot: String,
    pub(crate) publication: String,
}

impl Shop {
    /// Makes a database with these tables, and a publication of some of them.
    pub(crate) async fn new(sql: &str, published: &[&str]) -> Self {
        let database = server().lock().unwrap().new_database("cdc").unwrap();
        Self::at(&database, sql, published).await
    }

    pub(crate) async fn at(database: &str, sql: &str, published: &[&str]) -> Self {
        let config: Config = database.parse().unwrap();
        let client = connect(&config).await.unwrap();
        client.batch_execute(sql).await.unwrap();
        let (slot, publication) = (unique("s"), unique("p"));
        let setup = PublicationSetup::new(&publication, published).unwrap();
        setup.create(&*client).await.unwrap();
        Self { config, client, slot, publication }
    }

    pub(crate) fn source(&self) -> CdcSource {
        let source = CdcSource::new(self.config.clone(), &self.slot, &self.publication).unwrap();
        source.topics("{table}").unwrap().status_interval(Duration::from_millis(50))
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Returns how far the slot was confirmed, and where the server's log ends.
    pub(crate) async fn confirmed(&self) -> (String, String) {
        let sql = "SELECT confirmed_flush_lsn::text, pg_current_wal_lsn()::text \
                   FROM pg_replication_slots WHERE slot_name = $1";
        let row = self.client.query_one(sql, &[&self.slot]).await.unwrap();
        (row.get(0), row.get(1))
    }
}

/// Plays the runner: a log in memory whose position is committed with its records.
pub(crate) struct Hand {
    pub(crate) source: CdcSource,
    pub(crate) position: Option<LogPosition>,
    pub(crate) records: Vec<SourceRecord>,
    pub(crate) limits: BatchLimits,
}

impl Hand {
    pub(crate) fn new(source: CdcSource) -> Self {
        let wait = Duration::from_millis(100);
        let limits = BatchLimits { wait, ..BatchLimits::default() };
        Self { source, position: None, records: Vec::new(), limits }
    }

    /// Opens the source at what is committed, and reads until its slot is there.
    pub(crate) async fn open(&mut self) -> Result<(), SourceError> {
        let first = self.source.open(self.position.as_ref()).await?;
        self.position = first.or(self.position.take());
        while self.position.as_ref().is_some_and(|position| position.lsn.is_none()) {
            self.step().await?;
        }
        Ok(())
    }

    /// Opens a source in place of one that went away just now: until the server has ended what is
    /// left of that one the slot is in use, and a relay tries again, as this does.
    pub(crate) async fn reopen(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.open().await {
            assert!(matches!(error, SourceError::Unavailable(_)), "{error:?}");
            assert!(Instant::now() < deadline, "the slot stays in use: {error:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Polls until a position comes, or nothing does; commits.
    pub(crate) async fn step(&mut self) -> Result<bool, SourceError> {
        let mut open = Vec::new();
        loop {
            let Some(batch) = self.source.poll(&self.limits).await? else {
                if open.is_empty() {
                    return Ok(false);
                }
                continue;
            };
            let SourceBatch { records, position } = batch;
            open.extend(records);
            if let Some(position) = position {
                self.records.append(&mut open);
                self.source.committed(&position).await?;
                self.position = Some(position);
                return Ok(true);
            }
        }
    }

    /// Reads until that many records are there; more are a mistake.
    pub(crate) async fn read(&mut self, records: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.records.len() < records {
            assert!(Instant::now() < deadline, "{} of {records} records", self.records.len());
            self.step().await.unwrap();
        }
        assert_eq!(self.records.len(), records, "{:?}", self.envelopes());
    }

    /// Reads until it fails.
    pub(crate) async fn failure(&mut self) -> SourceError {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "it does not fail");
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    /// Returns the values as JSON; null is a tombstone.
    pub(crate) fn envelopes(&self) -> Vec<Value> {
        self.records.iter().map(json).collect()
    }

    /// Returns `op` and `after` of each.
    pub(crate) fn changes(&self) -> Vec<String> {
        self.envelopes().iter().map(|it| format!("{} {}", it["op"], it["after"])).collect()
    }
}

pub(crate) fn json(record: &SourceRecord) -> Value {
    record.value.as_ref().map_or(Value::Null, |value| serde_json::from_slice(value).unwrap())
}

pub(crate) fn key(record: &SourceRecord) -> String {
    String::from_utf8(record.key.clone().unwrap_or_default().to_vec()).unwrap()
}

/// Says all of an error.
pub(crate) fn full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
