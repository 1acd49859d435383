//! The tables of an outbox: made, and checked.

use tokio_postgres::Client;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::OutboxError;
use crate::postgres::TableName;

/// The version of the tables that this program works with.
pub const SCHEMA_VERSION: i32 = 2;

/// The tables of the outbox `outbox`, for a migration tool. [`Outbox::ddl`](super::Outbox::ddl) has
/// those of other names.
pub const DDL: &str = include_str!("outbox.sql");

/// The largest event, in bytes: what a topic takes by default, less some room.
pub const EVENT_BYTES_MAX: usize = 900_000;

/// The tables that belong to one outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(crate) outbox: TableName,
    /// One row: the table's uuid and version.
    pub(crate) meta: TableName,
    /// One row a relay: its token, and how far it came (a hint).
    pub(crate) relay: TableName,
    /// Events that could not be published, and those parked behind them.
    pub(crate) dead: TableName,
}

impl Tables {
    pub(crate) fn new(outbox: TableName) -> Result<Self, OutboxError> {
        let meta = outbox.with_suffix("_meta")?;
        let relay = outbox.with_suffix("_relay")?;
        let dead = outbox.with_suffix("_dead")?;
        Ok(Self { outbox, meta, relay, dead })
    }

    /// The statements that make the tables.
    pub(crate) fn ddl(&self, partitioned: bool) -> String {
        let (key, by) = if partitioned {
            ("PRIMARY KEY (id, created_at)", " PARTITION BY RANGE (created_at)")
        } else {
            ("PRIMARY KEY (id)", "")
        };
        let ddl = DDL.replace("PRIMARY KEY (id) /* by */", key).replace(" /* partitions */", by);
        // identifiers are the odd parts between quotes, and nothing else in it is quoted
        let named = ddl.split('"').enumerate().map(|(index, part)| match part {
            "outbox" if index % 2 == 1 => self.outbox.to_string(),
            "outbox_meta" if index % 2 == 1 => self.meta.to_string(),
            "outbox_relay" if index % 2 == 1 => self.relay.to_string(),
            "outbox_dead" if index % 2 == 1 => self.dead.to_string(),
            text => text.to_owned(),
        });
        named.collect()
    }

    /// Makes the tables unless they are there; any number of processes may do it at once.
    pub(crate) async fn ensure(
        &self,
        client: &mut Client,
        partitioned: bool,
    ) -> Result<(), OutboxError> {
        let doing = || OutboxError::postgres(format!("make the tables of outbox {}", self.outbox));
        let tx = client.transaction().await.map_err(doing())?;
        // CREATE IF NOT EXISTS alone fails when two do it at the same time
        tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 7))", &[&self.name()])
            .await
            .map_err(doing())?;
        if !exists(&tx, &self.meta).await.map_err(doing())? {
            tx.batch_execute(&self.ddl(partitioned)).await.map_err(doing())?;
        }
        tx.commit().await.map_err(doing())?;
        self.read_meta(client).await.map(drop)
    }

    fn name(&self) -> String {
        self.outbox.to_string()
    }

    /// Reads the uuid of the outbox, and refuses a version that this program does not know.
    pub(crate) async fn read_meta(&self, client: &Client) -> Result<Uuid, OutboxError> {
        let outbox = self.name();
        let doing = || OutboxError::postgres(format!("read the table {}", self.meta));
        if !exists(client, &self.meta).await.map_err(doing())? {
            let (problem, remedy) = ("it does not exist here".to_owned(), "call ensure_schema");
            return Err(OutboxError::Schema { outbox, problem, remedy });
        }
        let sql = format!("SELECT id, version FROM {}", self.meta);
        let rows = client.query(&sql, &[]).await.map_err(doing())?;
        let [row] = &rows[..] else {
            let problem = format!("{} has {} rows, not one", self.meta, rows.len());
            let remedy = "it was changed by hand: restore it";
            return Err(OutboxError::Schema { outbox, problem, remedy });
        };
        let (id, version): (Uuid, i32) = (row.get(0), row.get(1));
        if version != SCHEMA_VERSION {
            let problem = format!("its tables have version {version}, not {SCHEMA_VERSION}");
            let remedy = "run the version of this program that made them";
            return Err(OutboxError::Schema { outbox, problem, remedy });
        }
        Ok(id)
    }
}

pub(crate) async fn exists(
    client: &impl tokio_postgres::GenericClient,
    table: &TableName,
) -> Result<bool, tokio_postgres::Error> {
    let name = table.to_string();
    let row = client
        .query_typed_one("SELECT to_regclass($1) IS NOT NULL", &[(&name, Type::TEXT)])
        .await?;
    Ok(row.get(0))
}
