//! The offsets and the dead letters: tables, and the statements on them.

use std::collections::BTreeMap;

use tidemill::record::{Offset, Partition, TopicPartition};
use tokio_postgres::{Error, GenericClient, Transaction};

use crate::postgres::{NameError, TableName};
use crate::sink::record::SinkRecord;
use crate::sink::target::{PartitionBatch, TargetError, TopicFacts};

use super::error::of_sink;

/// Which tables a sink uses beside the data's.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) offsets: TableName,
    pub(super) dead_letters: TableName,
}

impl Default for Tables {
    fn default() -> Self {
        let name = |text| TableName::new(text).expect("a name without a dot");
        Self { offsets: name("sink_offset"), dead_letters: name("sink_dead_letter") }
    }
}

/// Returns the statements that make the tables of a sink, for roles that may not make them.
///
/// # Errors
/// If it is no name of PostgreSQL.
pub fn schema(offsets: &str, dead_letters: &str) -> Result<String, NameError> {
    let tables =
        Tables { offsets: TableName::new(offsets)?, dead_letters: TableName::new(dead_letters)? };
    Ok(tables.schema())
}

/// Moves the stored offset of a partition: an operator's decision, for a sink that refused to go
/// on. The sink must not run. Returns the offset that was stored before.
///
/// # Errors
/// As PostgreSQL says; that there is no such row too.
pub async fn move_offset(
    client: &impl GenericClient,
    table: &TableName,
    sink: &str,
    partition: &TopicPartition,
    to: Offset,
) -> Result<Offset, Error> {
    let sql = format!(
        "WITH before AS (SELECT next_offset FROM {table}
            WHERE sink = $1 AND topic = $2 AND partition = $3 FOR UPDATE)
         UPDATE {table} AS o SET next_offset = $4 FROM before
          WHERE o.sink = $1 AND o.topic = $2 AND o.partition = $3
         RETURNING before.next_offset"
    );
    let (topic, number) = (&*partition.topic, partition.partition.0);
    let row = client.query_one(&sql, &[&sink, &topic, &number, &to.0]).await?;
    Ok(Offset(row.get(0)))
}

impl Tables {
    fn schema(&self) -> String {
        let Self { offsets, dead_letters } = self;
        format!(
            "CREATE TABLE IF NOT EXISTS {offsets} (
                sink text NOT NULL, topic text NOT NULL, partition int NOT NULL,
                next_offset bigint NOT NULL, topic_id text,
                PRIMARY KEY (sink, topic, partition)
             ) WITH (fillfactor = 50);
             CREATE TABLE IF NOT EXISTS {dead_letters} (
                sink text NOT NULL, topic text NOT NULL, partition int NOT NULL,
                record_offset bigint NOT NULL, topic_id text,
                record_timestamp bigint NOT NULL, record_key bytea, record_value bytea,
                record_headers jsonb NOT NULL, reason text NOT NULL,
                created_at timestamptz NOT NULL DEFAULT now()
             );
             CREATE INDEX IF NOT EXISTS {index} ON {dead_letters} (sink, created_at);",
            index = crate::postgres::quoted(&index_name(dead_letters)),
        )
    }

    /// Makes the tables unless they are there, which is all that a role without rights needs.
    pub(super) async fn ensure(&self, tx: &Transaction<'_>) -> Result<(), Error> {
        let names = [self.offsets.to_string(), self.dead_letters.to_string()];
        let exist = "SELECT to_regclass($1) IS NOT NULL AND to_regclass($2) IS NOT NULL";
        if tx.query_one(exist, &[&names[0], &names[1]]).await?.get(0) {
            return Ok(());
        }
        // two that make the same table at once would fail
        lock(tx, "tidemill sink tables").await?;
        tx.batch_execute(&self.schema()).await
    }

    /// Registers what is not known yet, and returns where the partitions go on. See
    /// [`TransactionalTarget::open`](crate::sink::TransactionalTarget::open).
    pub(super) async fn open(
        &self,
        tx: &Transaction<'_>,
        sink: &str,
        topics: &[TopicFacts],
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Offset>, TargetError> {
        for topic in topics {
            self.register(tx, sink, topic).await?;
        }
        let (names, numbers) = columns(partitions);
        // waits for a transaction of an earlier owner
        let sql = format!(
            "SELECT o.topic, o.partition, o.next_offset
               FROM {} AS o JOIN unnest($2::text[], $3::int[]) AS p (topic, partition)
                 ON o.topic = p.topic AND o.partition = p.partition
              WHERE o.sink = $1 ORDER BY o.topic, o.partition FOR UPDATE OF o",
            self.offsets
        );
        let rows = tx.query(&sql, &[&sink, &names, &numbers]).await.map_err(of_sink)?;
        let offset = |row: &tokio_postgres::Row| {
            let partition = TopicPartition::new(row.get::<_, &str>(0), Partition(row.get(1)));
            (partition, Offset(row.get(2)))
        };
        Ok(rows.iter().map(offset).collect())
    }

    async fn register(
        &self,
        tx: &Transaction<'_>,
        sink: &str,
        topic: &TopicFacts,
    ) -> Result<(), TargetError> {
        let mut rows = self.known(tx, sink, &topic.name).await?;
        if rows.len() < topic.starts.len() {
            // all partitions of a new topic begin in one step, or one would be taken for an added
            lock(tx, &format!("tidemill sink {sink} {}", topic.name)).await.map_err(of_sink)?;
            rows = self.known(tx, sink, &topic.name).await?;
        }
        let mut missing: Vec<i32> = (0..).take(topic.starts.len()).collect();
        for row in &rows {
            let id: Option<&str> = row.get(1);
            if let (Some(stored), Some(found)) = (id, &topic.id)
                && stored != found
            {
                return Err(made_again(sink, &topic.name, stored, found));
            }
            let partition: i32 = row.get(0);
            missing.retain(|number| *number != partition);
        }
        let start = |number: &i32| {
            let start = usize::try_from(*number).ok().and_then(|at| topic.starts.get(at));
            if rows.is_empty() { start.map_or(0, |start| start.0) } else { 0 }
        };
        let starts: Vec<i64> = missing.iter().map(start).collect();
        let sql = format!(
            "INSERT INTO {} (sink, topic, partition, next_offset, topic_id)
             SELECT $1, $2, n.partition, n.start, $5
               FROM unnest($3::int[], $4::bigint[]) AS n (partition, start)",
            self.offsets
        );
        if !missing.is_empty() {
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&sink, &topic.name, &missing, &starts, &topic.id];
            tx.execute(&sql, &values).await.map_err(of_sink)?;
        }
        Ok(())
    }

    async fn known(
        &self,
        tx: &Transaction<'_>,
        sink: &str,
        topic: &str,
    ) -> Result<Vec<tokio_postgres::Row>, TargetError> {
        let table = &self.offsets;
        let sql = format!("SELECT partition, topic_id FROM {table} WHERE sink = $1 AND topic = $2");
        tx.query(&sql, &[&sink, &topic]).await.map_err(of_sink)
    }

    /// The compare-and-set of all partitions of a transaction. Locks in one order, so that two who
    /// both believe to own them wait for each other in turn.
    pub(super) fn move_sql(&self) -> String {
        format!(
            "WITH wanted AS (
                SELECT * FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::text[])
                    AS w (topic, partition, expected, next, topic_id)
             ), held AS (
                SELECT o.topic, o.partition, w.next FROM {table} AS o JOIN wanted AS w
                    ON o.topic = w.topic AND o.partition = w.partition
                 WHERE o.sink = $1 AND o.next_offset = w.expected
                   AND (o.topic_id = w.topic_id OR o.topic_id IS NULL OR w.topic_id IS NULL)
                 ORDER BY o.topic, o.partition FOR UPDATE OF o
             )
             UPDATE {table} AS o SET next_offset = held.next FROM held
              WHERE o.sink = $1 AND o.topic = held.topic AND o.partition = held.partition
             RETURNING o.topic, o.partition",
            table = self.offsets
        )
    }

    pub(super) async fn put_aside(
        &self,
        tx: &Transaction<'_>,
        sink: &str,
        topic_id: Option<&str>,
        record: &SinkRecord,
        reason: &str,
    ) -> Result<(), Error> {
        let sql = format!(
            "INSERT INTO {} (sink, topic, partition, record_offset, topic_id, record_timestamp,
                             record_key, record_value, record_headers, reason)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            self.dead_letters
        );
        let headers: Vec<serde_json::Value> = record
            .headers
            .iter()
            .map(|header| {
                let value = header.value.as_deref().map(String::from_utf8_lossy);
                // what jsonb can't hold
                let value = value.map(|text| text.replace('\0', "\u{fffd}"));
                serde_json::json!([header.key.replace('\0', "\u{fffd}"), value])
            })
            .collect();
        let reason = reason.replace('\0', "\u{fffd}");
        tx.execute(
            &sql,
            &[
                &sink,
                &&*record.topic,
                &record.partition.0,
                &record.offset.0,
                &topic_id,
                &record.timestamp.0,
                &record.key.as_deref(),
                &record.value.as_deref(),
                &serde_json::Value::Array(headers),
                &reason,
            ],
        )
        .await?;
        Ok(())
    }
}

/// The name that PostgreSQL would choose might be cut.
fn index_name(table: &TableName) -> String {
    let mut name: String = table.name().chars().take(12).collect();
    name.push_str("_created_at_idx");
    name
}

fn made_again(sink: &str, topic: &str, stored: &str, found: &str) -> TargetError {
    TargetError::Refused {
        what: format!(
            "the stored offsets belong to topic {topic} with id {stored}, but its id is {found}: \
             the topic was deleted and made again"
        ),
        remedy: format!(
            "let a sink of another name begin with the new topic, or delete the rows of sink \
             {sink} and topic {topic} from the table of offsets to begin here"
        ),
    }
}

/// Waits until nobody else holds this lock; it ends with the transaction.
async fn lock(tx: &Transaction<'_>, name: &str) -> Result<(), Error> {
    tx.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[&name]).await?;
    Ok(())
}

pub(super) fn columns(partitions: &[TopicPartition]) -> (Vec<&str>, Vec<i32>) {
    let names = partitions.iter().map(|one| &*one.topic).collect();
    (names, partitions.iter().map(|one| one.partition.0).collect())
}

/// The parameters of [`Tables::move_sql`] behind the sink's name.
pub(super) struct Moves<'a> {
    pub(super) topics: Vec<&'a str>,
    pub(super) partitions: Vec<i32>,
    pub(super) expected: Vec<i64>,
    pub(super) next: Vec<i64>,
    pub(super) ids: Vec<Option<&'a str>>,
}

impl<'a> Moves<'a> {
    pub(super) fn of(batches: &'a [PartitionBatch], id: impl Fn(&str) -> Option<&'a str>) -> Self {
        let each = || batches.iter();
        Self {
            topics: each().map(|batch| &*batch.partition.topic).collect(),
            partitions: each().map(|batch| batch.partition.partition.0).collect(),
            expected: each().map(|batch| batch.expected.0).collect(),
            next: each().map(|batch| batch.next.0).collect(),
            ids: each().map(|batch| id(&batch.partition.topic)).collect(),
        }
    }
}
