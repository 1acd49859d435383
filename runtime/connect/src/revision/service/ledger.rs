//! The counter's row in PostgreSQL, and the few connections that go there.

use std::time::Duration;

use deadpool_postgres::{
    Hook, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls, Row};

use super::{RevisionServiceConfig, RevisionServiceError};
use crate::postgres::{Connection, DatabaseIdentity, TableName, connect, identify};

const NAME_BYTES_MAX: usize = 200;
/// How much longer than PostgreSQL itself this side waits for a statement to be given up.
const GRACE: Duration = Duration::from_secs(1);
/// Where a new counter begins: above what a generator that follows the clock gave out.
const PRESENT: &str = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint * 1000000";
/// Makers of the table come one after the other: `IF NOT EXISTS` alone does not see to it.
const SCHEMA_LOCK: i64 = 0x7469_6465_7265_7673;

/// The row of one counter.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pool: Pool,
    name: String,
    table: TableName,
    timeout: Duration,
}

impl Ledger {
    pub(super) async fn open(config: &RevisionServiceConfig) -> Result<Self, RevisionServiceError> {
        let ledger = Self::new(config)?;
        ledger.make(config).await?;
        // a row that was there already may be in doubt
        ledger.look().await?;
        Ok(ledger)
    }

    fn new(config: &RevisionServiceConfig) -> Result<Self, RevisionServiceError> {
        let name = config.name.clone();
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(RevisionServiceError::Name(name));
        }
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(session(config), NoTls, manager);
        let wait = Some(config.timeout);
        let pool = Pool::builder(manager)
            .max_size(config.pool)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait, create: wait, recycle: wait })
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    warn_of_fsync(client).await;
                    Ok(())
                })
            }))
            .build();
        let pool = pool.map_err(|cause| {
            let why = cause.to_string();
            RevisionServiceError::Unavailable { name: name.clone(), why }
        })?;
        Ok(Self { pool, name, table: config.table.clone(), timeout: config.timeout })
    }

    /// Connects outside of the pool, in time: whatever accepts a connection may still never answer.
    async fn connected(
        &self,
        config: &RevisionServiceConfig,
    ) -> Result<Connection, RevisionServiceError> {
        match tokio::time::timeout(self.timeout, connect(&session(config))).await {
            Ok(connected) => connected.map_err(|cause| self.failed("reach", cause)),
            Err(_) => {
                let why = format!("no connection within {:?}", self.timeout);
                Err(RevisionServiceError::Unavailable { name: self.name.clone(), why })
            }
        }
    }

    /// Makes table and row where they are missing.
    async fn make(&self, config: &RevisionServiceConfig) -> Result<(), RevisionServiceError> {
        let failed = |cause| self.failed("make", cause);
        let mut client = self.connected(config).await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let lock = "SELECT pg_advisory_xact_lock($1)";
        transaction.execute(lock, &[&SCHEMA_LOCK]).await.map_err(failed)?;
        let table = &self.table;
        let known = "SELECT to_regclass($1) IS NOT NULL";
        let known = transaction.query_one(known, &[&table.to_string()]).await.map_err(failed)?;
        if !known.get::<_, bool>(0) {
            let sql = format!(
                "CREATE TABLE {table} (
                     name text PRIMARY KEY,
                     last bigint NOT NULL CHECK (last >= 0),
                     system_identifier text NOT NULL,
                     timeline int NOT NULL,
                     database text NOT NULL)"
            );
            transaction.batch_execute(&sql).await.map_err(failed)?;
        }
        let (here, _) = identify(&transaction).await.map_err(failed)?;
        let sql = format!(
            "INSERT INTO {table} (name, last, system_identifier, timeline, database)
             VALUES ($1, {PRESENT}, $2, $3, $4) ON CONFLICT (name) DO NOTHING"
        );
        let row = (&self.name, &here.system_identifier, &here.timeline, &here.database);
        let made = transaction.execute(&sql, &[row.0, row.1, row.2, row.3]).await;
        if made.map_err(failed)? == 1 {
            tracing::info!(name = self.name, table = %table, "made a counter");
        }
        transaction.commit().await.map_err(failed)
    }

    pub(super) async fn adopt(
        config: &RevisionServiceConfig,
        above: i64,
    ) -> Result<i64, RevisionServiceError> {
        let ledger = Self::new(config)?;
        let failed = |cause| ledger.failed("adopt", cause);
        let client = ledger.connected(config).await?;
        let (here, _) = identify(&*client).await.map_err(failed)?;
        let sql = format!(
            "UPDATE {} SET last = GREATEST(last, $2, {PRESENT}), system_identifier = $3,
                 timeline = $4, database = $5 WHERE name = $1 RETURNING last",
            ledger.table
        );
        let row = (&ledger.name, &here.system_identifier, &here.timeline, &here.database);
        let adopted = client.query_opt(&sql, &[row.0, &above, row.1, row.2, row.3]).await;
        let last: i64 = adopted.map_err(failed)?.ok_or_else(|| ledger.missing())?.get(0);
        tracing::warn!(name = ledger.name, last, timeline = here.timeline, "adopted a counter");
        Ok(last)
    }

    /// Moves the counter by `count` and returns its new value. It is committed when this returns;
    /// after an error it may be.
    pub(super) async fn take(&self, count: i64) -> Result<i64, RevisionServiceError> {
        let sql = format!(
            "UPDATE {} SET last = last + $2
             WHERE name = $1
               AND system_identifier = (SELECT system_identifier::text FROM pg_control_system())
               AND timeline =
                   ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
               AND database = current_database()
             RETURNING last",
            self.table
        );
        let moved = self.ask(async |client: &Object| {
            let statement = client.prepare_cached(&sql).await?;
            client.query_opt(&statement, &[&self.name, &count]).await
        });
        match moved.await? {
            Some(row) => Ok(row.get(0)),
            // why not?
            None => Err(self.look().await.err().unwrap_or_else(|| self.missing())),
        }
    }

    /// Returns where the counter stands.
    pub(super) async fn look(&self) -> Result<i64, RevisionServiceError> {
        let sql = format!(
            "SELECT last, system_identifier, timeline, database FROM {} WHERE name = $1",
            self.table
        );
        let found = self.ask(async |client: &Object| {
            let (here, standby) = identify(&***client).await?;
            let statement = client.prepare_cached(&sql).await?;
            Ok((here, standby, client.query_opt(&statement, &[&self.name]).await?))
        });
        let (here, standby, row): (_, _, Option<Row>) = found.await?;
        let row = row.ok_or_else(|| self.missing())?;
        let made_in = DatabaseIdentity {
            system_identifier: row.get(1),
            timeline: row.get(2),
            database: row.get(3),
        };
        let describe = |identity: &DatabaseIdentity| {
            let DatabaseIdentity { system_identifier, timeline, database } = identity;
            format!("database {database} of cluster {system_identifier}, timeline {timeline}")
        };
        if made_in != here || standby {
            let standby = if standby { ", a standby" } else { "" };
            return Err(RevisionServiceError::Refused {
                name: self.name.clone(),
                expected: describe(&made_in),
                found: describe(&here) + standby,
            });
        }
        Ok(row.get(0))
    }

    /// Asks something over a pooled connection. One that does not answer in time is not used again.
    async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, RevisionServiceError> {
        let unavailable = |why: String| {
            let name = self.name.clone();
            RevisionServiceError::Unavailable { name, why }
        };
        let client = self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(cause) => self.failed("reach", cause),
            other => unavailable(other.to_string()),
        })?;
        match tokio::time::timeout(self.timeout + GRACE, question(&client)).await {
            Ok(outcome) => outcome.map_err(|cause| self.failed("move", cause)),
            Err(_) => {
                drop(Object::take(client));
                Err(unavailable(format!("no answer within {:?}", self.timeout + GRACE)))
            }
        }
    }

    fn missing(&self) -> RevisionServiceError {
        let (name, table) = (self.name.clone(), self.table.to_string());
        RevisionServiceError::Missing { name, table }
    }

    fn failed(
        &self,
        operation: &'static str,
        cause: tokio_postgres::Error,
    ) -> RevisionServiceError {
        let name = self.name.clone();
        if cause.code() == Some(&SqlState::NUMERIC_VALUE_OUT_OF_RANGE) {
            return RevisionServiceError::Exhausted { name };
        }
        RevisionServiceError::Database { operation, name, cause }
    }
}

/// Sessions in which a commit is on disk when it is answered, whatever the role's defaults, and no
/// statement outlives its request.
fn session(config: &RevisionServiceConfig) -> Config {
    let mut session = config.database.clone();
    let given = session.get_options().unwrap_or_default();
    session.options(format!(
        "{given} -c synchronous_commit=on -c statement_timeout={} \
         -c default_transaction_isolation=read\\ committed -c default_transaction_read_only=off",
        config.timeout.as_millis()
    ));
    if session.get_application_name().is_none() {
        session.application_name("tidemill-revisions");
    }
    if session.get_connect_timeout().is_none() {
        session.connect_timeout(config.timeout);
    }
    session
}

async fn warn_of_fsync(client: &tokio_postgres::Client) {
    let off = client.query_one("SELECT current_setting('fsync') = 'off'", &[]).await;
    if off.is_ok_and(|row| row.get(0)) {
        tracing::warn!("PostgreSQL runs without fsync: if its machine dies, revisions may repeat");
    }
}
