//! What the catalog says of a table that rows are kept in.

use tokio_postgres::{Client, Error};

use crate::postgres::TableName;

/// A column that can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// As SQL writes it, quoted where need be, without a length: a value that is too long is then
    /// refused and not cut.
    pub(super) sql_type: String,
    /// Whether a row may leave it out.
    pub(super) optional: bool,
    /// Whether it belongs to the primary key.
    pub(super) key: bool,
}

/// Returns the columns in their order, without generated ones. Empty if there is no such table.
pub(super) async fn of_table(client: &Client, table: &TableName) -> Result<Vec<Column>, Error> {
    let rows = client
        .query(
            "SELECT a.attname::text, format_type(a.atttypid, -1),
                    NOT a.attnotnull OR a.atthasdef OR a.attidentity <> '',
                    COALESCE(a.attnum = ANY (i.indkey), false)
               FROM pg_attribute AS a
               LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
              WHERE a.attrelid = to_regclass($1) AND a.attnum > 0
                AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
              ORDER BY a.attnum",
            &[&table.to_string()],
        )
        .await?;
    Ok(rows
        .iter()
        .map(|row| Column {
            name: row.get(0),
            sql_type: row.get(1),
            optional: row.get(2),
            key: row.get(3),
        })
        .collect())
}
