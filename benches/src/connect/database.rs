//! A database of the throw-away server, as the harness uses it: blocking calls on a connection.

use std::thread;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill_connect::postgres::{Connection, connect, quoted};
use tidemill_connect::testing::PgServer;
use tokio::runtime::Runtime;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

const TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// A connection to a database of its own.
#[derive(Debug)]
pub(crate) struct Database {
    /// What `tokio_postgres::Config` is parsed from.
    pub(crate) url: String,
    // dropped before the runtime that drives it
    client: Connection,
    runtime: Runtime,
}

impl Database {
    /// Makes a database.
    pub(crate) fn create(server: &PgServer, name: &str) -> Result<Self, BoxError> {
        Self::open(&server.new_database(&name.replace('-', "_"))?)
    }

    /// Opens one more connection to a database.
    pub(crate) fn open(url: &str) -> Result<Self, BoxError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async { connect(&url.parse()?).await })?;
        Ok(Self { url: url.to_owned(), client, runtime })
    }

    /// Runs an asynchronous call on the connection.
    pub(crate) fn run<T>(
        &mut self,
        call: impl AsyncFnOnce(&mut Connection) -> Result<T, BoxError>,
    ) -> Result<T, BoxError> {
        let Self { client, runtime, .. } = self;
        runtime.block_on(call(client))
    }

    /// Runs statements that take no parameters.
    pub(crate) fn batch(&mut self, statements: &str) -> Result<(), BoxError> {
        self.run(async |client| Ok(client.batch_execute(statements).await?))
    }

    /// Returns the one row of a query.
    pub(crate) fn row(
        &mut self,
        query: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, BoxError> {
        self.run(async |client| Ok(client.query_one(query, parameters).await?))
    }

    /// Waits until a query that returns a truth says yes.
    pub(crate) fn wait_until(&mut self, query: &str, timeout: Duration) -> Result<(), BoxError> {
        let begun = Instant::now();
        while !self.row(query, &[])?.try_get::<_, bool>(0)? {
            if begun.elapsed() > timeout {
                return Err(format!("not within {timeout:?}: {query}").into());
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Drops the database with the slots that were made in it, once nobody uses them any more.
    pub(crate) fn drop_it(mut self, server: &PgServer) -> Result<(), BoxError> {
        let mine = "FROM pg_replication_slots WHERE database = current_database()";
        self.wait_until(&format!("SELECT count(*) = 0 {mine} AND active"), TIMEOUT)?;
        self.batch(&format!("SELECT pg_drop_replication_slot(slot_name) {mine}"))?;
        let name: String = self.row("SELECT current_database()::text", &[])?.try_get(0)?;
        drop(self);
        let mut other = Self::open(&server.connection_string("postgres"))?;
        other.batch(&format!("DROP DATABASE {} WITH (FORCE)", quoted(&name)))
    }
}
