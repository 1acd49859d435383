//! A counter in the row: the revision that needs nothing else.

use tokio_postgres::GenericClient;

use super::table::{Parameter, assign};
use super::{CounterError, RevisionedTable};
use crate::postgres::NameError;

/// Increases the revision of a row in the statement that changes the row, so under its lock:
/// dense, per row, in the order of the commits.
///
/// A deleted row takes its counter along: made anew it begins with 1, which consumers have seen.
/// Keep the row and mark it as deleted, or use a [`SequenceRevision`](super::SequenceRevision).
///
/// ```no_run
/// use tidemill_connect::revision::{RevisionedTable, RowCounter};
///
/// # async fn cheaper(
/// #     client: &mut tokio_postgres::Client,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let prices = RowCounter::new(RevisionedTable::new("price", "sku", "revision")?);
/// let transaction = client.transaction().await?;
/// let revision = prices.update(&transaction, &"umbrella", &[("cents", &199_i64)]).await?;
/// // stage the event with its revision here, in the same transaction
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCounter {
    table: RevisionedTable,
}

impl RowCounter {
    /// Counts in this table.
    #[must_use]
    pub fn new(table: RevisionedTable) -> Self {
        Self { table }
    }

    /// Returns the statement for clients of your own: `$1` is the key, from `$2` on the columns.
    /// Its row is the new revision.
    ///
    /// # Errors
    /// If a column is no name.
    pub fn sql(&self, columns: &[&str]) -> Result<String, NameError> {
        let (table, key) = (self.table.table(), self.table.key());
        let revision = self.table.revision();
        let mut sql = format!("UPDATE {table} SET {revision} = COALESCE({revision}, 0) + 1");
        assign(&mut sql, columns, 2)?;
        sql.push_str(&format!(" WHERE {key} = $1 RETURNING {revision}"));
        Ok(sql)
    }

    /// Changes the row's columns and returns its new revision; `None` if there is no such row.
    ///
    /// # Errors
    /// As PostgreSQL says. [`CounterError::NotUnique`]: rows were changed, roll the transaction
    /// back.
    pub async fn update(
        &self,
        client: &impl GenericClient,
        key: Parameter<'_>,
        changes: &[(&str, Parameter<'_>)],
    ) -> Result<Option<i64>, CounterError> {
        let columns: Vec<&str> = changes.iter().map(|(column, _)| *column).collect();
        let sql = self.sql(&columns)?;
        let mut parameters = vec![key];
        parameters.extend(changes.iter().map(|(_, value)| *value));
        let failed = |cause| self.table.failed("count in", cause);
        let rows = client.query(&sql, &parameters).await.map_err(failed)?;
        self.table.at_most_one(&rows, key)?.map(|row| row.try_get(0).map_err(failed)).transpose()
    }
}
