//! A sequence of PostgreSQL: one order for all rows, if it is drawn under the row's lock.

use tokio_postgres::{GenericClient, Transaction};

use super::table::Parameter;
use super::{CounterError, RevisionedTable};
use crate::postgres::TableName;

/// Draws revisions from a sequence: unique among all rows, growing per row, with gaps. A row that
/// is deleted and made anew goes on growing.
///
/// A revision counts once its transaction has committed: what was drawn by a transaction that did
/// not may come again after a crash of the server. So tell nobody before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceRevision {
    sequence: TableName,
}

impl SequenceRevision {
    /// Makes the sequence if there is none, and checks it.
    ///
    /// # Errors
    /// As [`SequenceRevision::open`].
    pub async fn create(
        client: &impl GenericClient,
        sequence: TableName,
    ) -> Result<Self, CounterError> {
        let sql = format!("CREATE SEQUENCE IF NOT EXISTS {sequence} AS bigint CACHE 1 NO CYCLE");
        let made = client.batch_execute(&sql).await;
        made.map_err(|cause| failed("make sequence", &sequence, cause))?;
        Self::open(client, sequence).await
    }

    /// Checks that revisions of this sequence grow: it must count upwards, must not begin anew at
    /// its end, and no session may keep numbers in advance, because it would use them after the
    /// larger ones of another session.
    ///
    /// # Errors
    /// [`CounterError::Sequence`] with what is wrong and how to change it.
    pub async fn open(
        client: &impl GenericClient,
        sequence: TableName,
    ) -> Result<Self, CounterError> {
        let sql = "SELECT seqcache, seqincrement, seqcycle FROM pg_sequence
                   WHERE seqrelid = to_regclass($1)";
        let found = client.query_opt(sql, &[&sequence.to_string()]).await;
        let row = found.map_err(|cause| failed("look at sequence", &sequence, cause))?;
        let refused = |why: &str, remedy: &str| {
            let name = sequence.to_string();
            Err(CounterError::Sequence { name, why: why.into(), remedy: remedy.into() })
        };
        let Some(row) = row else {
            return refused("there is none", "make it by SequenceRevision::create");
        };
        let (cache, increment, cycle): (i64, i64, bool) = (row.get(0), row.get(1), row.get(2));
        if cache != 1 {
            return refused("its sessions keep numbers in advance", "ALTER SEQUENCE .. CACHE 1");
        }
        if increment < 1 {
            return refused("it counts downwards", "ALTER SEQUENCE .. INCREMENT 1");
        }
        if cycle {
            return refused("it begins anew at its end", "ALTER SEQUENCE .. NO CYCLE");
        }
        Ok(Self { sequence })
    }

    /// Locks the row, draws a revision then, and returns it; `None` if there is no such row. Write
    /// the row with it in the same transaction.
    ///
    /// # Errors
    /// As PostgreSQL says.
    pub async fn draw(
        &self,
        transaction: &Transaction<'_>,
        table: &RevisionedTable,
        key: Parameter<'_>,
    ) -> Result<Option<i64>, CounterError> {
        // one round trip; the sequence is asked for rows that are locked already
        let sql = format!(
            "WITH locked AS MATERIALIZED (
                 SELECT 1 FROM {} WHERE {} = $1 FOR NO KEY UPDATE)
             SELECT nextval($2::text::regclass) FROM locked",
            table.table(),
            table.key()
        );
        let drawn = transaction.query(&sql, &[key, &self.sequence.to_string()]).await;
        let rows = drawn.map_err(|cause| table.failed("draw for", cause))?;
        let row = table.at_most_one(&rows, key)?;
        row.map(|row| row.try_get(0).map_err(|cause| table.failed("draw for", cause))).transpose()
    }
}

fn failed(
    operation: &'static str,
    sequence: &TableName,
    cause: tokio_postgres::Error,
) -> CounterError {
    CounterError::Database { operation, name: sequence.to_string(), cause }
}
