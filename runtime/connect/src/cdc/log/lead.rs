//! Changes that lead up to a view: those of rows that it will tell of are left out, so that what is
//! published of a key is one image of it, and then every later change.
//!
//! Whether a row is still to be read depends on the order of keys, and order on the database's
//! collation. So PostgreSQL is asked, except where all columns are integers.

use tokio_postgres::SimpleQueryMessage;

use super::snapshot::{View, typed_key};
use super::{Change, Reading};
use crate::cdc::error::sql_error;
use crate::cdc::position::SnapshotProgress;
use crate::cdc::publication::PublishedTable;
use crate::cdc::relation::Row;
use crate::cdc::value::Value;
use crate::source::SourceError;

impl Reading {
    /// Returns what is left of a change if what the view will tell is left out.
    pub(super) async fn without_view(&self, change: Change) -> Result<Option<Change>, SourceError> {
        let (Some(view), Some(progress)) = (&self.view, &self.position.snapshot) else {
            return Ok(Some(change));
        };
        if view.reached || !progress.fresh {
            return Ok(Some(change));
        }
        let tells = |row| self.tells(view, progress, row);
        Ok(match change {
            Change::Insert(row) => (!tells(&row).await?).then_some(Change::Insert(row)),
            Change::Delete(row) => (!tells(&row).await?).then_some(Change::Delete(row)),
            Change::Update { old, new } => {
                let tells_new = tells(&new).await?;
                let tells_old = match &old {
                    Some(old) => tells(old).await?,
                    None => tells_new,
                };
                match (tells_old, tells_new, old) {
                    (true, true, _) => None,
                    (true, false, _) => Some(Change::Insert(new)),
                    (false, true, Some(old)) => Some(Change::Delete(old)),
                    (_, _, old) => Some(Change::Update { old, new }),
                }
            }
            other @ (Change::Read(_) | Change::Truncate(_)) => Some(other),
        })
    }

    /// Returns true if the view has yet to tell of the row with this key.
    async fn tells(
        &self,
        view: &View,
        progress: &SnapshotProgress,
        row: &Row,
    ) -> Result<bool, SourceError> {
        let oid = row.relation.oid;
        if !progress.tables.contains(&oid) {
            return Ok(false);
        }
        let (Some(after), true) = (&progress.after, progress.tables.first() == Some(&oid)) else {
            return Ok(true);
        };
        let Some(table) = self.publication.tables.get(&oid) else { return Ok(false) };
        let Some(key) = key_text(table, row) else { return Ok(false) };
        if let (Some(key), Some(after)) = (integers(table, row), parsed(after)) {
            return Ok(key > after);
        }
        let (key, after) = (typed_key(table, &key), typed_key(table, after));
        let found = view.client.simple_query(&format!("SELECT ({key}) > ({after})")).await;
        let found = found.map_err(sql_error)?;
        Ok(found.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")),
        ))
    }
}

/// The key in the order of its index, as PostgreSQL reads it.
fn key_text(table: &PublishedTable, row: &Row) -> Option<Vec<String>> {
    let text = |name: &String| {
        Some(match row.get(name)? {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(text) => text.clone(),
            Value::Bytes(bytes) => {
                bytes.iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
            }
            Value::Null | Value::Unchanged => return None,
        })
    };
    table.key.iter().map(text).collect()
}

fn integers(table: &PublishedTable, row: &Row) -> Option<Vec<i64>> {
    let integer = |name: &String| match row.get(name)? {
        Value::Int(value) => Some(*value),
        _ => None,
    };
    table.key.iter().map(integer).collect()
}

fn parsed(after: &[String]) -> Option<Vec<i64>> {
    after.iter().map(|text| text.parse().ok()).collect()
}
