//! The target itself: one connection, one transaction at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use tidemill::failpoint;
use tidemill::record::{Offset, TopicPartition};
use tokio_postgres::{Config, IsolationLevel, Statement, Transaction};

use super::error::{of_records, of_sink};
use super::offsets::{Moves, Tables};
use super::writer::PostgresWriter;
use crate::postgres::{Connection, connect};
use crate::sink::record::SinkRecord;
use crate::sink::target::{
    Applied, PartitionBatch, TargetError, TopicFacts, TransactionalTarget, records_of,
};

/// What a target is set up with.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) database: Config,
    pub(super) tables: Tables,
    pub(super) isolation: IsolationLevel,
    pub(super) transaction_limit: Duration,
    pub(super) idle_limit: Duration,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // not the database: it may hold a password
        f.debug_struct("Settings").field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// PostgreSQL as a target. Made by [`PostgresSink`](super::PostgresSink).
#[derive(Debug)]
pub struct PostgresTarget<W> {
    sink: String,
    settings: Settings,
    writer: W,
    session: Option<Session>,
    /// Ids of the topics as they were opened.
    ids: HashMap<String, Option<String>>,
}

/// A connection with what was prepared on it.
#[derive(Debug)]
struct Session {
    connection: Connection,
    move_offsets: Statement,
}

impl<W: PostgresWriter> PostgresTarget<W> {
    pub(super) fn new(sink: String, settings: Settings, writer: W) -> Self {
        Self { sink, settings, writer, session: None, ids: HashMap::new() }
    }

    async fn connected(&mut self) -> Result<Session, TargetError> {
        if let Some(session) = self.session.take_if(|session| !session.connection.is_closed()) {
            return Ok(session);
        }
        let mut connection = connect(&self.settings.database).await.map_err(of_sink)?;
        // so that no owner that stopped somewhere holds up the next one for long
        let idle = self.settings.idle_limit.as_millis();
        connection
            .batch_execute(&format!(
                "SET idle_in_transaction_session_timeout = {idle};
                 SET lock_timeout = {idle};
                 SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;
                 SET tcp_keepalives_count = 3"
            ))
            .await
            .map_err(of_sink)?;
        let tx = connection.transaction().await.map_err(of_sink)?;
        self.settings.tables.ensure(&tx).await.map_err(of_sink)?;
        tx.commit().await.map_err(of_sink)?;
        let sql = self.settings.tables.move_sql();
        let move_offsets = connection.prepare(&sql).await.map_err(of_sink)?;
        self.writer.prepare(&connection).await.map_err(|error| match of_records(error) {
            // there are no records to blame yet
            TargetError::Poison(cause) => TargetError::Failed(cause),
            other => other,
        })?;
        Ok(Session { connection, move_offsets })
    }

    async fn read_offsets(
        &mut self,
        topics: &[TopicFacts],
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, TargetError> {
        let mut session = self.connected().await?;
        let tx = session.connection.transaction().await.map_err(of_sink)?;
        let offsets = self.settings.tables.open(&tx, &self.sink, topics, partitions).await?;
        tx.commit().await.map_err(of_sink)?;
        self.ids = topics.iter().map(|topic| (topic.name.clone(), topic.id.clone())).collect();
        self.session = Some(session);
        Ok(offsets)
    }

    /// One transaction: offsets first, then the records, or the one that is put aside.
    async fn transact(
        &mut self,
        batches: &[PartitionBatch],
        reason: Option<&str>,
    ) -> Result<Applied, TargetError> {
        let missing = || TargetError::Unavailable("there is no connection".into());
        let session = self.session.as_mut().ok_or_else(missing)?;
        failpoint::pass("SK1A");
        let begin = session.connection.build_transaction().isolation_level(self.settings.isolation);
        let tx = begin.start().await.map_err(of_sink)?;
        let moves = Moves::of(batches, |topic| self.ids.get(topic)?.as_deref());
        move_offsets(&tx, &session.move_offsets, &self.sink, &moves, batches).await?;
        let records: Vec<&SinkRecord> = records_of(batches).collect();
        let applied = match reason {
            None => {
                let applied = self.writer.write(&tx, &records).await.map_err(of_records)?;
                // where a statement failed and the writer went on, the commit would be a rollback
                // that says nothing
                let alive = tx.batch_execute("SELECT 1").await;
                alive.map_err(|error| of_records(error.into()))?;
                applied
            }
            Some(reason) => {
                let tables = &self.settings.tables;
                for record in records {
                    let id = self.ids.get(&*record.topic).and_then(|id| id.as_deref());
                    let put = tables.put_aside(&tx, &self.sink, id, record, reason);
                    put.await.map_err(of_sink)?;
                }
                Applied::default()
            }
        };
        failpoint::pass("SK1B");
        // deferred constraints speak here
        tx.commit().await.map_err(|error| of_records(error.into()))?;
        failpoint::pass("SK1C");
        Ok(applied)
    }

    async fn limited(
        &mut self,
        batches: &[PartitionBatch],
        reason: Option<&str>,
    ) -> Result<Applied, TargetError> {
        let limit = self.settings.transaction_limit;
        let outcome = tokio::time::timeout(limit, self.transact(batches, reason)).await;
        outcome.unwrap_or_else(|_| {
            // the server ends what is left of it
            self.session = None;
            Err(TargetError::Unavailable(format!("no answer for {limit:?}").into()))
        })
    }
}

impl<W: PostgresWriter> TransactionalTarget for PostgresTarget<W> {
    async fn open(
        &mut self,
        topics: &[TopicFacts],
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, TargetError> {
        let limit = self.settings.transaction_limit;
        let opened = tokio::time::timeout(limit, self.read_offsets(topics, partitions)).await;
        opened.unwrap_or_else(|_| {
            Err(TargetError::Unavailable(format!("no answer for {limit:?}").into()))
        })
    }

    async fn apply(&mut self, batches: &[PartitionBatch]) -> Result<Applied, TargetError> {
        self.limited(batches, None).await
    }

    async fn reject(&mut self, batch: &PartitionBatch, reason: &str) -> Result<(), TargetError> {
        let batches = std::slice::from_ref(batch);
        self.limited(batches, Some(reason)).await.map(drop)
    }
}

async fn move_offsets(
    tx: &Transaction<'_>,
    statement: &Statement,
    sink: &str,
    moves: &Moves<'_>,
    batches: &[PartitionBatch],
) -> Result<(), TargetError> {
    let Moves { topics, partitions, expected, next, ids } = moves;
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&sink, topics, partitions, expected, next, ids];
    let rows = tx.query(statement, &values).await.map_err(of_sink)?;
    let moved: BTreeSet<(&str, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let fenced = batches
        .iter()
        .map(|batch| &batch.partition)
        .find(|partition| !moved.contains(&(&*partition.topic, partition.partition.0)));
    fenced.map_or(Ok(()), |partition| Err(TargetError::Fenced(partition.clone())))
}
