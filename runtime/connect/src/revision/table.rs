//! A table whose rows have a revision: the lock under which one is drawn, and the guarded write.

use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Transaction};

use super::{CounterError, RevisionSource};
use crate::postgres::{NameError, TableName, quoted};

/// A value of a statement: what tokio-postgres takes.
pub type Parameter<'a> = &'a (dyn ToSql + Sync);

/// How often a write is tried whose row changes between the write and the look at it.
const TRIES: u32 = 5;

/// A table with a column that names its rows and a column for their revision, of type `bigint`.
///
/// `NULL` counts as "no revision yet". The key must be unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionedTable {
    table: TableName,
    /// Both quoted.
    key: String,
    revision: String,
}

/// What became of a guarded write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum GuardedWrite {
    /// The row has the new values and the new revision.
    Written,
    /// The row is as new already, or newer: nothing was changed.
    Lost {
        /// The row's revision. Equal to the one of the write: it is there already.
        newest: i64,
    },
    /// There is no such row.
    Missing,
}

impl RevisionedTable {
    /// Names the table (`price`, `shop.price`), its key and the column of its revisions.
    ///
    /// # Errors
    /// If one of them is no name.
    pub fn new(table: &str, key_column: &str, revision_column: &str) -> Result<Self, NameError> {
        let table = TableName::new(table)?;
        Ok(Self { table, key: column(key_column)?, revision: column(revision_column)? })
    }

    /// Returns the table's name.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.table
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn revision(&self) -> &str {
        &self.revision
    }

    /// Locks the row and draws its next revision then, so that the order of the revisions is the
    /// order in which the row changes. `None`: there is no such row.
    ///
    /// Write the row with it in the same transaction, and tell the world after the commit.
    ///
    /// # Errors
    /// [`CounterError::NotNewer`] if the source gave out a revision that the row is beyond;
    /// otherwise as the source or PostgreSQL says.
    pub async fn draw<S: RevisionSource>(
        &self,
        transaction: &Transaction<'_>,
        key: Parameter<'_>,
        source: &S,
    ) -> Result<Option<i64>, CounterError> {
        let Self { table, key: key_column, revision } = self;
        let sql =
            format!("SELECT {revision} FROM {table} WHERE {key_column} = $1 FOR NO KEY UPDATE");
        let locked = transaction.query(&sql, &[key]).await;
        let rows = locked.map_err(|cause| self.failed("lock a row of", cause))?;
        let stored: Option<i64> = match self.at_most_one(&rows, key)? {
            Some(row) => row.try_get(0).map_err(|cause| self.failed("read", cause))?,
            None => return Ok(None),
        };
        let drawn = source.next_revision().await;
        let drawn = drawn.map_err(|cause| CounterError::Source(Box::new(cause)))?;
        match stored {
            Some(stored) if stored >= drawn => {
                let (table, key) = (self.table.to_string(), format!("{key:?}"));
                Err(CounterError::NotNewer { table, key, stored, drawn })
            }
            _ => Ok(Some(drawn)),
        }
    }

    /// Returns the guarded write as SQL: `$1` is the key, `$2` the revision, from `$3` on the
    /// columns. It changes no row if it lost.
    ///
    /// # Errors
    /// If a column is no name.
    pub fn guarded_sql(&self, columns: &[&str]) -> Result<String, NameError> {
        let Self { table, key, revision } = self;
        let mut sql = format!("UPDATE {table} SET {revision} = $2");
        assign(&mut sql, columns, 3)?;
        sql.push_str(&format!(" WHERE {key} = $1 AND COALESCE({revision} < $2, true)"));
        Ok(sql)
    }

    /// Writes columns and revision of a row, unless the row is as new or newer. PostgreSQL looks at
    /// the revision when it has the row's lock, so of two writers the older one loses, whoever
    /// comes first.
    ///
    /// Above `READ COMMITTED` a write that waited for another one fails instead, as any would, and
    /// its transaction has to be repeated.
    ///
    /// # Errors
    /// As PostgreSQL says, and if the key is not unique.
    pub async fn write_if_newer(
        &self,
        client: &impl GenericClient,
        key: Parameter<'_>,
        revision: i64,
        changes: &[(&str, Parameter<'_>)],
    ) -> Result<GuardedWrite, CounterError> {
        let columns: Vec<&str> = changes.iter().map(|(column, _)| *column).collect();
        let sql = self.guarded_sql(&columns)?;
        let mut parameters: Vec<Parameter<'_>> = vec![key, &revision];
        parameters.extend(changes.iter().map(|(_, value)| *value));
        for _ in 0..TRIES {
            let changed = client.execute(&sql, &parameters).await;
            match changed.map_err(|cause| self.failed("write", cause))? {
                0 => {}
                1 => return Ok(GuardedWrite::Written),
                rows => return Err(self.not_unique(key, rows)),
            }
            match self.newest(client, key).await? {
                None => return Ok(GuardedWrite::Missing),
                Some(Some(newest)) if newest >= revision => {
                    return Ok(GuardedWrite::Lost { newest });
                }
                // it was made anew in between
                Some(_) => {}
            }
        }
        let (table, key) = (self.table.to_string(), format!("{key:?}"));
        Err(CounterError::NotTaken { table, key, revision })
    }

    async fn newest(
        &self,
        client: &impl GenericClient,
        key: Parameter<'_>,
    ) -> Result<Option<Option<i64>>, CounterError> {
        let Self { table, key: key_column, revision } = self;
        let sql = format!("SELECT {revision} FROM {table} WHERE {key_column} = $1");
        let read = |cause| self.failed("read", cause);
        let rows = client.query(&sql, &[key]).await.map_err(read)?;
        self.at_most_one(&rows, key)?.map(|row| row.try_get(0).map_err(read)).transpose()
    }

    /// Two rows with one key would share a revision.
    pub(super) fn at_most_one<'r, R>(
        &self,
        rows: &'r [R],
        key: Parameter<'_>,
    ) -> Result<Option<&'r R>, CounterError> {
        match rows {
            [] => Ok(None),
            [row] => Ok(Some(row)),
            several => Err(self.not_unique(key, several.len() as u64)),
        }
    }

    fn not_unique(&self, key: Parameter<'_>, rows: u64) -> CounterError {
        CounterError::NotUnique { table: self.table.to_string(), key: format!("{key:?}"), rows }
    }

    pub(super) fn failed(
        &self,
        operation: &'static str,
        cause: tokio_postgres::Error,
    ) -> CounterError {
        CounterError::Database { operation, name: self.table.to_string(), cause }
    }
}

/// Appends `, "column" = $n` for each column.
pub(super) fn assign(sql: &mut String, columns: &[&str], first: usize) -> Result<(), NameError> {
    for (place, name) in columns.iter().enumerate() {
        sql.push_str(&format!(", {} = ${}", column(name)?, first + place));
    }
    Ok(())
}

/// Checks and quotes a column.
fn column(name: &str) -> Result<String, NameError> {
    let checked = TableName::new(name)?;
    if checked.schema().is_some() {
        return Err(NameError { name: name.to_owned(), why: "a column has no dot" });
    }
    Ok(quoted(checked.name()))
}
