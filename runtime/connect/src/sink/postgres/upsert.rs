//! Upserts guarded by a revision: the row of a key is what its newest record says.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement, Transaction};

use super::upsert_sql::{Plan, Roles, plan};
use super::{PostgresWriter, WriteError, columns};
use crate::postgres::TableName;
use crate::sink::record::SinkRecord;
use crate::sink::target::Applied;

/// How records become rows.
///
/// A record's value is JSON; its fields go to the columns of the same name. Fields without a column
/// are left out, columns without a field become null. A cell travels as text and is read by the
/// server as what its column is: numbers, text, timestamps, enums, uuid, json; an array or object
/// of JSON goes into a `json` or `jsonb` column.
///
/// A row is written if its revision is **higher** than the stored one. So it is right for records
/// that carry the state of their key, like those of a table, and wrong for differences: a
/// difference that is overtaken would be lost.
#[derive(Debug, Clone)]
pub struct Upsert {
    keys: Vec<String>,
    revision: String,
    source: RevisionSource,
    deleted: Option<String>,
    only: Option<Vec<String>>,
}

#[derive(Debug, Clone)]
enum RevisionSource {
    Field(String),
    Offset,
}

/// The header that a deletion carries its revision in, having no value for it.
const REVISION_HEADER: &str = "revision";

impl Upsert {
    /// The revision is in this column and in the field of the same name: a number, or a text of one
    /// as large numbers travel in JSON.
    #[must_use]
    pub fn revision_guarded(column: &str) -> Self {
        Self::new(column, RevisionSource::Field(column.to_owned()))
    }

    /// The revision is the record's offset, which this column keeps. Records of one key must be in
    /// one partition of one topic.
    #[must_use]
    pub fn guarded_by_offset(column: &str) -> Self {
        Self::new(column, RevisionSource::Offset)
    }

    fn new(column: &str, source: RevisionSource) -> Self {
        let (keys, deleted, only) = (Vec::new(), None, None);
        Self { keys, revision: column.to_owned(), source, deleted, only }
    }

    /// Takes the revision from a field of another name.
    #[must_use]
    pub fn revision_field(mut self, field: &str) -> Self {
        self.source = RevisionSource::Field(field.to_owned());
        self
    }

    /// Names the columns of the key; there must be a unique index on them. Default: the primary
    /// key's.
    #[must_use]
    pub fn key(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.keys = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Writes these columns only, beside key and revision. Default: all.
    #[must_use]
    pub fn columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.only = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Takes records with a null value as deletions: this boolean column becomes true, the others
    /// their default, and the row stays with the revision of the deletion, so that a late update
    /// does not bring it back. The key is the record's own, as text, so it must be one column; the
    /// revision is the offset, or the header `revision`.
    ///
    /// Without this a null value can't be applied.
    #[must_use]
    pub fn soft_delete(mut self, column: &str) -> Self {
        self.deleted = Some(column.to_owned());
        self
    }
}

/// Why a record has no row.
#[derive(Debug, thiserror::Error)]
enum RowError {
    #[error("{place}: {what}")]
    Record { place: String, what: String },
    #[error("{place}: {source}")]
    Value { place: String, source: crate::sink::record::RecordError },
}

/// What becomes of a key.
#[derive(Debug)]
struct Change {
    revision: i64,
    /// Cells by column; `None` deletes.
    row: Option<Vec<Option<String>>>,
}

/// Keeps a table in the shape of records of type `T`. Made by
/// [`PostgresSink::upsert`](super::PostgresSink::upsert).
pub struct UpsertWriter<T> {
    table: TableName,
    options: Upsert,
    prepared: Option<Prepared>,
    record: PhantomData<fn() -> T>,
}

struct Prepared {
    plan: Plan,
    upsert: Statement,
    delete: Option<Statement>,
}

impl<T: Serialize + DeserializeOwned + 'static> UpsertWriter<T> {
    pub(super) fn new(table: TableName, options: Upsert) -> Self {
        Self { table, options, prepared: None, record: PhantomData }
    }

    fn change(&self, plan: &Plan, record: &SinkRecord) -> Result<(Key, Change), RowError> {
        let place = || record.place();
        let wrong = |what: String| RowError::Record { place: place(), what };
        if record.value.is_none() {
            return self.deletion(plan, record);
        }
        let value = |source| RowError::Value { place: place(), source };
        let typed: T = record.json().map_err(value)?;
        let fields = match serde_json::to_value(&typed) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(wrong("the value is no object with fields".to_owned())),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let revision = match &self.options.source {
            RevisionSource::Offset => record.offset.0,
            RevisionSource::Field(name) => {
                let found = fields.get(name).and_then(cell);
                found.and_then(|text| text.parse().ok()).ok_or_else(|| {
                    wrong(format!("field {name:?} is no revision, a whole number"))
                })?
            }
        };
        let row: Vec<Option<String>> =
            plan.columns.iter().map(|column| fields.get(&column.name).and_then(cell)).collect();
        let key = plan.keys.iter().map(|key| {
            let name = &plan.columns[*key].name;
            row[*key].clone().ok_or_else(|| wrong(format!("field {name:?} of the key is missing")))
        });
        Ok((key.collect::<Result<_, _>>()?, Change { revision, row: Some(row) }))
    }

    fn deletion(&self, plan: &Plan, record: &SinkRecord) -> Result<(Key, Change), RowError> {
        let wrong = |what: &str| RowError::Record { place: record.place(), what: what.to_owned() };
        if self.options.deleted.is_none() {
            return Err(wrong("the value is null, and no column for deletions was named"));
        }
        if plan.keys.len() != 1 {
            return Err(wrong("a deletion needs a key of one column"));
        }
        let value = |source| RowError::Value { place: record.place(), source };
        let key = record.key_text().map_err(value)?.to_owned();
        let revision = match self.options.source {
            RevisionSource::Offset => record.offset.0,
            RevisionSource::Field(_) => record
                .header_text(REVISION_HEADER)
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| wrong("a deletion without a revision in its header `revision`"))?,
        };
        Ok((vec![key], Change { revision, row: None }))
    }
}

/// The cells of the key: in their order, so that two sinks lock rows in the same one.
type Key = Vec<String>;

/// What a value of JSON is as text that the server reads.
fn cell(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl<T: Serialize + DeserializeOwned + 'static> PostgresWriter for UpsertWriter<T> {
    async fn prepare(&mut self, client: &Client) -> Result<(), WriteError> {
        let found = columns::of_table(client, &self.table).await?;
        let roles = Roles {
            keys: &self.options.keys,
            revision: &self.options.revision,
            deleted: self.options.deleted.as_deref(),
            only: self.options.only.as_deref(),
        };
        let plan = plan(&self.table, &found, &roles)?;
        let upsert = client.prepare(&plan.upsert).await?;
        let delete = match &plan.delete {
            Some(sql) => Some(client.prepare(sql).await?),
            None => None,
        };
        self.prepared = Some(Prepared { plan, upsert, delete });
        Ok(())
    }

    async fn write(
        &self,
        tx: &Transaction<'_>,
        records: &[&SinkRecord],
    ) -> Result<Applied, WriteError> {
        let prepared = self.prepared.as_ref().ok_or("the table was not looked at")?;
        // one statement may touch a row once: the newest record of each key, keys in order
        let mut changes: BTreeMap<Key, Change> = BTreeMap::new();
        for record in records {
            let (key, change) = self.change(&prepared.plan, record)?;
            match changes.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(change);
                }
                Entry::Occupied(mut place) if change.revision > place.get().revision => {
                    place.insert(change);
                }
                Entry::Occupied(_) => {}
            }
        }
        let mut written = 0;
        let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
        for (key, Change { revision, row }) in changes {
            let revision = Some(revision.to_string());
            match row {
                Some(mut row) => {
                    row.push(revision);
                    upserts.push(row);
                }
                None => {
                    let mut row: Vec<_> = key.into_iter().map(Some).collect();
                    row.push(revision);
                    deletes.push(row);
                }
            }
        }
        written += execute(tx, &prepared.upsert, upserts).await?;
        if let Some(delete) = &prepared.delete {
            written += execute(tx, delete, deletes).await?;
        }
        Ok(Applied { ignored: (records.len() as u64).saturating_sub(written) })
    }
}

/// Runs a statement whose parameters are the columns of these rows.
async fn execute(
    tx: &Transaction<'_>,
    statement: &Statement,
    rows: Vec<Vec<Option<String>>>,
) -> Result<u64, tokio_postgres::Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); statement.params().len()];
    for row in rows {
        columns.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
    }
    let parameters: Vec<&(dyn ToSql + Sync)> =
        columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
    tx.execute(statement, &parameters).await
}

impl<T> fmt::Debug for UpsertWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpsertWriter").field("table", &self.table).finish_non_exhaustive()
    }
}
