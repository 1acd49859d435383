//! Tables as the log tells of them, the versions of their shape, and rows.

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::pgoutput::{RelationBody, Tuple};
use super::value::{ColumnType, Value, ValueError};

/// A table: its shape at a point of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its object id.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its replica identity.
    pub identity: ReplicaIdentity,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub of: ColumnType,
    /// Its type's object id.
    pub type_oid: u32,
    /// Its type's modifier, -1 for none.
    pub type_modifier: i32,
    /// It belongs to the key of the table's records.
    pub key: bool,
}

/// By what PostgreSQL tells the rows of a table apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// A unique index.
    Index,
    /// All columns.
    Full,
    /// Nothing.
    Nothing,
}

/// Which shape of a table a record was written with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaVersion {
    /// Counts from 1.
    pub version: u32,
    /// Made of names and types of the columns, in order.
    pub fingerprint: Uuid,
}

impl ReplicaIdentity {
    /// Reads PostgreSQL's letter; what it does not know yet identifies nothing.
    #[must_use]
    pub fn of(letter: u8) -> Self {
        match letter {
            b'd' => Self::Default,
            b'i' => Self::Index,
            b'f' => Self::Full,
            _ => Self::Nothing,
        }
    }
}

impl Relation {
    /// Makes it of what the log says. Under identity `FULL` no column is a key yet.
    #[must_use]
    pub fn new(body: RelationBody) -> Self {
        let identity = ReplicaIdentity::of(body.replica_identity);
        let columns = body.columns.into_iter().map(|column| Column {
            of: ColumnType::of(column.type_oid),
            name: column.name,
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            key: column.identity && identity != ReplicaIdentity::Full,
        });
        let schema = if body.schema.is_empty() { "pg_catalog".to_owned() } else { body.schema };
        Self { oid: body.oid, schema, name: body.name, identity, columns: columns.collect() }
    }

    /// Makes these columns the key, and returns the first that the table does not have.
    pub(crate) fn set_key(&mut self, names: &[String]) -> Option<String> {
        for column in &mut self.columns {
            column.key = names.contains(&column.name);
        }
        let has = |name: &&String| self.columns.iter().any(|column| column.name == **name);
        names.iter().find(|name| !has(name)).cloned()
    }

    /// Returns true if its records have a key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.columns.iter().any(|column| column.key)
    }

    /// Returns `schema.table`, for people.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Returns what tells this shape from another one of the same table.
    #[must_use]
    pub fn fingerprint(&self) -> Uuid {
        let mut text = self.full_name();
        for column in &self.columns {
            let Column { name, type_oid, type_modifier, key, .. } = column;
            // no name holds a zero byte
            text.push_str(&format!("\0{name}\0{type_oid}\0{type_modifier}\0{key}"));
        }
        Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
    }
}

/// A row, or as much of it as is known: columns in the table's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub(crate) relation: Arc<Relation>,
    /// One for each column of the table.
    pub(crate) values: Vec<Value>,
    /// Only its key is known.
    pub(crate) key_only: bool,
}

/// A row does not fit its table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// It has more or fewer values.
    #[error("table {table}: a row of {values} values for {columns} columns")]
    Length {
        /// The table.
        table: String,
        /// Values of the row.
        values: usize,
        /// Columns of the table.
        columns: usize,
    },
    /// A value is not what its type says.
    #[error("table {table}, column {column}")]
    Value {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What is wrong.
        #[source]
        cause: ValueError,
    },
}

impl Row {
    /// Reads a row as it was sent.
    ///
    /// # Errors
    /// If it does not fit the table.
    pub fn read(relation: &Arc<Relation>, tuple: &Tuple, key_only: bool) -> Result<Self, RowError> {
        let columns = &relation.columns;
        if tuple.0.len() != columns.len() {
            return Err(RowError::Length {
                table: relation.full_name(),
                values: tuple.0.len(),
                columns: columns.len(),
            });
        }
        let values = columns.iter().zip(&tuple.0).map(|(column, datum)| {
            Value::read(datum, column.of).map_err(|cause| RowError::Value {
                table: relation.full_name(),
                column: column.name.clone(),
                cause,
            })
        });
        let values = values.collect::<Result<_, _>>()?;
        Ok(Self { relation: Arc::clone(relation), values, key_only })
    }

    /// Returns its table.
    #[must_use]
    pub fn relation(&self) -> &Arc<Relation> {
        &self.relation
    }

    /// Returns the value of a column; `None` if there is no such column, or it is not known.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.iter().find(|(name, _)| *name == column).map(|(_, value)| value)
    }

    /// Goes through the columns that are known, in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let columns = self.relation.columns.iter().zip(&self.values);
        let known = columns.filter(|(column, _)| column.key || !self.key_only);
        known.map(|(column, value)| (column.name.as_str(), value))
    }

    /// Returns the row's key.
    #[must_use]
    pub fn key(&self) -> Self {
        Self { relation: Arc::clone(&self.relation), values: self.values.clone(), key_only: true }
    }

    /// Returns the values of the key.
    pub(crate) fn key_values(&self) -> impl Iterator<Item = &Value> {
        let columns = self.relation.columns.iter().zip(&self.values);
        columns.filter(|(column, _)| column.key).map(|(_, value)| value)
    }

    /// Takes over from an older version of the row what was not sent because it did not change.
    pub(crate) fn complete_from(&mut self, old: &Self) {
        for (value, old) in self.values.iter_mut().zip(&old.values) {
            if *value == Value::Unchanged {
                value.clone_from(old);
            }
        }
    }

    /// Returns the first column whose value was not sent.
    pub(crate) fn unchanged(&self) -> Option<&str> {
        self.iter().find(|(_, value)| **value == Value::Unchanged).map(|(name, _)| name)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
