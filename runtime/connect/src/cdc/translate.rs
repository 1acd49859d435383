//! Changes of tables become records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tidemill::record::{Headers, Timestamp};

use super::envelope::{Told, Writer};
use super::error::{ChangeError, refused};
use super::log::{Change, ChangeSource, Translate};
use super::publication::Publication;
use super::relation::{Relation, Row};
use super::topic::TopicTemplate;
use super::value::Value;
use crate::source::{SourceError, SourceRecord};

/// What to do with a large value that did not change, and so is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnchangedToast {
    /// Stop and say which column.
    #[default]
    Error,
    /// Publish [`UNAVAILABLE`](super::UNAVAILABLE) in its place, as Debezium does.
    Placeholder,
    /// Refuse to start unless all tables with such columns have `REPLICA IDENTITY FULL`, by which
    /// PostgreSQL logs all of a row.
    RequireFull,
}

/// What to do when a table is truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnTruncate {
    /// Stop and say so: the rows are gone, and no record tells of each.
    #[default]
    Halt,
    /// Publish a record with `op` `t` and no key. It goes to one partition only.
    Emit,
    /// Publish nothing.
    Skip,
}

/// Makes Debezium's records.
#[derive(Debug)]
pub(crate) struct CdcTranslate {
    pub(crate) name: String,
    pub(crate) topics: TopicTemplate,
    /// Columns that make the key, by `schema.table`.
    pub(crate) keys: BTreeMap<String, Vec<String>>,
    /// The tables to publish; all of the publication's if empty.
    pub(crate) tables: Vec<String>,
    pub(crate) toast: UnchangedToast,
    pub(crate) truncate: OnTruncate,
    pub(crate) tombstones: bool,
    pub(crate) schemas: bool,
    /// By the table's object id; `None` is not published.
    pub(crate) targets: HashMap<u32, Option<Target>>,
}

/// Where the records of a table go, and how they are written.
#[derive(Debug)]
pub(crate) struct Target {
    topic: Arc<str>,
    writer: Writer,
}

/// Names the key that the row has now, in the record that deletes it under its old one.
const NEW_KEY: &str = "__debezium.newkey";
/// Names the key that the row had, in the record that creates it under its new one.
const OLD_KEY: &str = "__debezium.oldkey";

impl CdcTranslate {
    fn is_published(&self, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|name| name == table)
    }

    /// Completes what was not sent, or refuses it.
    fn check_toast(&self, row: &Row) -> Result<(), ChangeError> {
        let missing = row.key_values().any(|value| *value == Value::Unchanged);
        if self.toast == UnchangedToast::Placeholder && !missing {
            return Ok(());
        }
        row.unchanged().map_or(Ok(()), |column| {
            let table = row.relation.full_name();
            Err(ChangeError::UnchangedToast { table, column: column.to_owned() })
        })
    }
}

impl Target {
    fn record(&self, at: &ChangeSource, key: Option<Bytes>, value: Option<Bytes>) -> SourceRecord {
        SourceRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key,
            value,
            timestamp: Timestamp(at.time),
            headers: Headers::default(),
        }
    }

    /// A record that tells of one row.
    fn told(
        &self,
        at: &ChangeSource,
        row: &Row,
        told: Told<'_>,
    ) -> Result<SourceRecord, ChangeError> {
        let value = self.writer.value(at, &row.relation, told)?;
        Ok(self.record(at, self.writer.key(row)?, Some(value)))
    }

    fn update(
        &self,
        at: &ChangeSource,
        old: Option<&Row>,
        new: &Row,
        tombstones: bool,
        out: &mut Vec<SourceRecord>,
    ) -> Result<(), ChangeError> {
        let moved =
            old.filter(|old| new.relation.has_key() && !old.key_values().eq(new.key_values()));
        let Some(old) = moved else {
            out.push(self.told(at, new, Told { op: "u", before: old, after: Some(new) })?);
            return Ok(());
        };
        let mut delete = self.told(at, old, Told { op: "d", before: Some(old), after: None })?;
        let mut create = self.told(at, new, Told { op: "c", before: None, after: Some(new) })?;
        let key = |record: &SourceRecord| record.key.as_ref().map(|key| key.to_vec());
        delete.headers.add(NEW_KEY, key(&create));
        create.headers.add(OLD_KEY, key(&delete));
        let old_key = delete.key.clone();
        out.push(delete);
        if tombstones {
            out.push(self.record(at, old_key, None));
        }
        out.push(create);
        Ok(())
    }
}

impl Translate for CdcTranslate {
    fn check(&mut self, publication: &Publication) -> Result<(), SourceError> {
        for name in &self.tables {
            if publication.table(name).is_none() {
                let what = format!("table {name} is not in publication {}", publication.name);
                return Err(refused(what, "add it to the publication, or leave it out here"));
            }
        }
        for table in publication.tables.values() {
            let name = table.full_name();
            if !self.is_published(&name) {
                continue;
            }
            if publication.needs_identity()
                && let Some(why) = table.no_identity()
            {
                let what = format!("table {name}: {why}, so its rows can't be told apart");
                let remedy = "the application's UPDATE and DELETE fail while it is published: give \
                              it a primary key or a REPLICA IDENTITY, or publish inserts only";
                return Err(refused(what, remedy));
            }
            if table.identity == "f" && !table.primary && !self.keys.contains_key(&name) {
                let what = format!("table {name} has REPLICA IDENTITY FULL and no primary key");
                return Err(refused(what, "name the columns of its records' key"));
            }
            if self.toast == UnchangedToast::RequireFull
                && table.identity != "f"
                && let Some(column) = table.toastable.first()
            {
                let what = format!("table {name}: large values of column {column} may be missing");
                return Err(refused(what, "set REPLICA IDENTITY FULL on the table"));
            }
        }
        Ok(())
    }

    fn key(&self, table: &str) -> Option<&[String]> {
        self.keys.get(table).map(Vec::as_slice)
    }

    fn relation(&mut self, relation: &Arc<Relation>, version: u32) -> Result<(), ChangeError> {
        let target = if self.is_published(&relation.full_name()) {
            let topic = self.topics.topic(relation)?;
            let writer = Writer::new(&self.name, relation, version, self.schemas);
            Some(Target { topic, writer })
        } else {
            None
        };
        self.targets.insert(relation.oid, target);
        Ok(())
    }

    fn change(
        &mut self,
        at: &ChangeSource,
        change: Change,
        out: &mut Vec<SourceRecord>,
    ) -> Result<(), ChangeError> {
        let oid = match &change {
            Change::Read(row) | Change::Insert(row) | Change::Delete(row) => row.relation.oid,
            Change::Update { new, .. } => new.relation.oid,
            Change::Truncate(relation) => relation.oid,
        };
        let target = self.targets.get(&oid).ok_or(ChangeError::UnknownRelation(oid))?;
        let Some(target) = target else { return Ok(()) };
        match change {
            Change::Read(row) => {
                let told = Told { op: "r", before: None, after: Some(&row) };
                out.push(target.told(at, &row, told)?);
            }
            Change::Insert(row) => {
                let told = Told { op: "c", before: None, after: Some(&row) };
                out.push(target.told(at, &row, told)?);
            }
            Change::Update { old, new } => {
                self.check_toast(&new)?;
                target.update(at, old.as_ref(), &new, self.tombstones, out)?;
            }
            Change::Delete(old) => {
                let told = Told { op: "d", before: Some(&old), after: None };
                let record = target.told(at, &old, told)?;
                let key = record.key.clone();
                out.push(record);
                if self.tombstones && key.is_some() {
                    out.push(target.record(at, key, None));
                }
            }
            Change::Truncate(relation) => match self.truncate {
                OnTruncate::Halt => return Err(ChangeError::Truncated(relation.full_name())),
                OnTruncate::Skip => {}
                OnTruncate::Emit => {
                    let told = Told { op: "t", before: None, after: None };
                    let value = target.writer.value(at, &relation, told)?;
                    out.push(target.record(at, None, Some(value)));
                }
            },
        }
        Ok(())
    }
}
