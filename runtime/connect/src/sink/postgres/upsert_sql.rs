//! The statements of an upsert, made of the table's own columns.

use super::columns::Column;
use crate::postgres::{TableName, quoted};

/// What an upsert needs to know of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// Written from fields of the record, keys among them.
    pub(super) columns: Vec<Column>,
    /// Which of `columns` are the key.
    pub(super) keys: Vec<usize>,
    pub(super) upsert: String,
    pub(super) delete: Option<String>,
}

/// Which columns have a part of their own.
#[derive(Debug, Clone)]
pub(super) struct Roles<'a> {
    pub(super) keys: &'a [String],
    pub(super) revision: &'a str,
    pub(super) deleted: Option<&'a str>,
    pub(super) only: Option<&'a [String]>,
}

/// Makes the statements, or says what the table lacks.
pub(super) fn plan(table: &TableName, found: &[Column], roles: &Roles<'_>) -> Result<Plan, String> {
    if found.is_empty() {
        return Err(format!("there is no table {table}"));
    }
    let by_name = |name: &str| {
        let column = found.iter().find(|column| column.name == name);
        column.ok_or_else(|| format!("table {table} has no column {name:?}"))
    };
    let keys: Vec<&Column> = if roles.keys.is_empty() {
        found.iter().filter(|column| column.key).collect()
    } else {
        roles.keys.iter().map(|name| by_name(name)).collect::<Result<_, _>>()?
    };
    if keys.is_empty() {
        return Err(format!("table {table} has no primary key: name the key's columns"));
    }
    let revision = by_name(roles.revision)?;
    let deleted = roles.deleted.map(by_name).transpose()?;
    let special =
        |column: &Column| column.name == roles.revision || roles.deleted == Some(&*column.name);
    if let Some(twice) = keys.iter().find(|key| special(key)) {
        return Err(format!("column {:?} of {table} can't be key and revision", twice.name));
    }
    let named = |column: &&Column| {
        roles.only.is_none_or(|only| only.contains(&column.name)) || keys.contains(column)
    };
    if let Some(only) = roles.only {
        only.iter().try_for_each(|name| by_name(name).map(drop))?;
    }
    let columns: Vec<Column> =
        found.iter().filter(|one| !special(one)).filter(named).cloned().collect();
    let keys = columns.iter().enumerate();
    let keys: Vec<usize> = keys
        .filter(|(_, one)| match roles.keys {
            [] => one.key,
            names => names.contains(&one.name),
        })
        .map(|(index, _)| index)
        .collect();
    let parts = Parts { table, columns: &columns, keys: &keys, revision, deleted };
    let delete = match deleted {
        Some(_) => Some(parts.delete(found)?),
        None => None,
    };
    let upsert = parts.upsert();
    Ok(Plan { columns, keys, upsert, delete })
}

struct Parts<'a> {
    table: &'a TableName,
    columns: &'a [Column],
    keys: &'a [usize],
    revision: &'a Column,
    deleted: Option<&'a Column>,
}

impl Parts<'_> {
    fn is_key(&self, column: &Column) -> bool {
        self.keys.iter().any(|key| self.columns[*key].name == column.name)
    }

    /// All cells travel as text, and the server reads them as what their columns are.
    fn statement(&self, written: &[&Column], deleted: &str, set: &[String]) -> String {
        let Self { table, revision, .. } = self;
        let names: Vec<String> = written.iter().map(|one| quoted(&one.name)).collect();
        let numbered: Vec<String> = (1..=written.len()).map(|n| format!("c{n}")).collect();
        let values = numbered.iter().zip(written);
        let values: Vec<String> =
            values.map(|(cell, column)| format!("n.{cell}::{}", column.sql_type)).collect();
        let arrays: Vec<String> = (1..=written.len()).map(|n| format!("${n}::text[]")).collect();
        let keys: Vec<String> =
            self.keys.iter().map(|key| quoted(&self.columns[*key].name)).collect();
        let (mut columns, mut values) = (names.join(", "), values.join(", "));
        if let Some(column) = self.deleted {
            columns.push_str(&format!(", {}", quoted(&column.name)));
            values.push_str(&format!(", {deleted}"));
        }
        let revision = quoted(&revision.name);
        format!(
            "INSERT INTO {table} AS t ({columns}) SELECT {values} FROM unnest({}) AS n ({})
             ON CONFLICT ({}) DO UPDATE SET {}
              WHERE t.{revision} IS NULL OR excluded.{revision} > t.{revision}",
            arrays.join(", "),
            numbered.join(", "),
            keys.join(", "),
            set.join(", "),
        )
    }

    fn upsert(&self) -> String {
        let mut written: Vec<&Column> = self.columns.iter().collect();
        written.push(self.revision);
        let set = written.iter().copied().chain(self.deleted).filter(|one| !self.is_key(one));
        let set = set.map(|one| format!("{0} = excluded.{0}", quoted(&one.name)));
        self.statement(&written, "false", &set.collect::<Vec<_>>())
    }

    /// The row stays, with the deletion's revision: else a late update would bring it back.
    fn delete(&self, found: &[Column]) -> Result<String, String> {
        let kept = |one: &Column| {
            self.is_key(one)
                || one.name == self.revision.name
                || self.deleted.is_some_and(|deleted| deleted.name == one.name)
        };
        if let Some(needed) = found.iter().find(|one| !kept(one) && !one.optional) {
            return Err(format!(
                "column {:?} of {} is NOT NULL and has no default: a deletion that comes before \
                 the row it deletes could not be kept",
                needed.name, self.table
            ));
        }
        let mut written: Vec<&Column> = self.keys.iter().map(|key| &self.columns[*key]).collect();
        written.push(self.revision);
        let mut set: Vec<String> = [Some(self.revision), self.deleted]
            .into_iter()
            .flatten()
            .map(|one| format!("{0} = excluded.{0}", quoted(&one.name)))
            .collect();
        let data = self.columns.iter().filter(|one| !self.is_key(one));
        set.extend(data.map(|one| format!("{} = DEFAULT", quoted(&one.name))));
        Ok(self.statement(&written, "true", &set))
    }
}
