//! Records as Debezium writes them: keys, envelopes, and the schemas that may go with them.

use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::error::ChangeError;
use super::log::{ChangeSource, now};
use super::relation::{Column, Relation, ReplicaIdentity, Row};
use super::value::ColumnType;

/// What a small key and the envelope of a small row take: larger ones grow.
const KEY_BYTES: usize = 32;
const VALUE_BYTES: usize = 640;

/// The envelope's value.
#[derive(Serialize)]
struct Envelope<'a> {
    before: Option<&'a Row>,
    after: Option<&'a Row>,
    source: Source<'a>,
    op: &'a str,
    ts_ms: i64,
}

/// Where the change comes from.
#[derive(Serialize)]
struct Source<'a> {
    version: &'a str,
    connector: &'a str,
    name: &'a str,
    ts_ms: i64,
    snapshot: &'a str,
    db: &'a str,
    sequence: String,
    schema: &'a str,
    table: &'a str,
    #[serde(rename = "txId")]
    xid: Option<u32>,
    lsn: u64,
    ord: u64,
    schema_version: u32,
    before_image: &'a str,
}

/// Writes the records of one table.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Names the source in its envelopes.
    name: String,
    version: u32,
    /// What goes before the payload, if schemas are written.
    schemas: Option<(Vec<u8>, Vec<u8>)>,
}

/// What an envelope tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) op: &'static str,
    pub(crate) before: Option<&'a Row>,
    pub(crate) after: Option<&'a Row>,
}

impl Writer {
    pub(crate) fn new(name: &str, relation: &Relation, version: u32, with_schema: bool) -> Self {
        let prefix = |schema: Json| {
            let mut text = b"{\"schema\":".to_vec();
            text.extend_from_slice(schema.to_string().as_bytes());
            text.extend_from_slice(b",\"payload\":");
            text
        };
        let full = format!("{name}.{}", relation.full_name());
        let schemas = with_schema.then(|| {
            (prefix(key_schema(&full, relation)), prefix(value_schema(&full, relation, version)))
        });
        Self { name: name.to_owned(), version, schemas }
    }

    /// Writes the key of a row; `None` if its table has none.
    pub(crate) fn key(&self, row: &Row) -> Result<Option<Bytes>, ChangeError> {
        if !row.relation.has_key() {
            return Ok(None);
        }
        let prefix = self.schemas.as_ref().map(|(key, _)| key.as_slice());
        write(prefix, KEY_BYTES, &KeyOf(row), &row.relation).map(Some)
    }

    /// Writes the envelope of a change.
    pub(crate) fn value(
        &self,
        at: &ChangeSource,
        relation: &Relation,
        told: Told<'_>,
    ) -> Result<Bytes, ChangeError> {
        let full = relation.identity == ReplicaIdentity::Full;
        let source = Source {
            version: env!("CARGO_PKG_VERSION"),
            connector: "postgresql",
            name: &self.name,
            ts_ms: at.time,
            snapshot: if at.xid == 0 { "true" } else { "false" },
            db: &at.database,
            sequence: format!("[\"{}\",\"{}\"]", at.previous.0, at.lsn.0),
            schema: &relation.schema,
            table: &relation.name,
            xid: (at.xid != 0).then_some(at.xid),
            lsn: at.lsn.0,
            ord: at.ordinal,
            schema_version: self.version,
            before_image: if full { "full" } else { "key" },
        };
        let Told { op, before, after } = told;
        let envelope = Envelope { before, after, source, op, ts_ms: now() };
        let prefix = self.schemas.as_ref().map(|(_, value)| value.as_slice());
        write(prefix, VALUE_BYTES, &envelope, relation)
    }
}

/// The columns of a row's key, as [`Row`] writes all of them.
struct KeyOf<'a>(&'a Row);

impl Serialize for KeyOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (column, value) in self.0.relation.columns.iter().zip(&self.0.values) {
            if column.key {
                map.serialize_entry(&column.name, value)?;
            }
        }
        map.end()
    }
}

fn write(
    prefix: Option<&[u8]>,
    bytes: usize,
    payload: &impl Serialize,
    relation: &Relation,
) -> Result<Bytes, ChangeError> {
    let prefix_bytes = prefix.map_or(0, <[u8]>::len);
    let mut out = Vec::with_capacity(prefix_bytes + bytes);
    out.extend_from_slice(prefix.unwrap_or_default());
    serde_json::to_writer(&mut out, payload)
        .map_err(|cause| ChangeError::Json { table: relation.full_name(), cause })?;
    if prefix.is_some() {
        out.push(b'}');
    }
    Ok(out.into())
}

fn key_schema(full: &str, relation: &Relation) -> Json {
    let fields: Vec<Json> =
        relation.columns.iter().filter(|column| column.key).map(field).collect();
    json!({"type": "struct", "fields": fields, "optional": false, "name": format!("{full}.Key")})
}

fn value_schema(full: &str, relation: &Relation, version: u32) -> Json {
    let columns: Vec<Json> = relation.columns.iter().map(field).collect();
    let row = |name: &str| {
        json!({"type": "struct", "fields": columns, "optional": true, "field": name,
               "name": format!("{full}.Value"), "version": version})
    };
    let source: Vec<Json> = [
        ("version", "string"),
        ("connector", "string"),
        ("name", "string"),
        ("ts_ms", "int64"),
        ("snapshot", "string"),
        ("db", "string"),
        ("sequence", "string"),
        ("schema", "string"),
        ("table", "string"),
        ("txId", "int64"),
        ("lsn", "int64"),
        ("ord", "int64"),
        ("schema_version", "int32"),
        ("before_image", "string"),
    ]
    .iter()
    .map(|(name, of)| json!({"type": of, "optional": *name == "txId", "field": name}))
    .collect();
    json!({
        "type": "struct",
        "fields": [
            row("before"),
            row("after"),
            {"type": "struct", "fields": source, "optional": false, "field": "source",
             "name": "io.debezium.connector.postgresql.Source"},
            {"type": "string", "optional": false, "field": "op"},
            {"type": "int64", "optional": true, "field": "ts_ms"},
        ],
        "optional": false,
        "name": format!("{full}.Envelope"),
        "version": version,
    })
}

/// A column in Kafka Connect's terms. Only what belongs to the key can't be missing.
fn field(column: &Column) -> Json {
    let (of, name) = match column.of {
        ColumnType::Bool => ("boolean", None),
        ColumnType::Int(16) => ("int16", None),
        ColumnType::Int(32) => ("int32", None),
        ColumnType::Int(_) => ("int64", None),
        ColumnType::Float(32) => ("float", None),
        ColumnType::Float(_) => ("double", None),
        ColumnType::Bytes => ("bytes", None),
        ColumnType::Uuid => ("string", Some("io.debezium.data.Uuid")),
        ColumnType::Json => ("string", Some("io.debezium.data.Json")),
        ColumnType::TimestampTz => ("string", Some("io.debezium.time.ZonedTimestamp")),
        ColumnType::Numeric
        | ColumnType::Date
        | ColumnType::Time
        | ColumnType::Timestamp
        | ColumnType::Text => ("string", None),
    };
    let mut field = json!({"type": of, "optional": !column.key, "field": column.name});
    if let (Some(name), Json::Object(field)) = (name, &mut field) {
        field.insert("name".to_owned(), name.into());
        field.insert("version".to_owned(), 1.into());
    }
    field
}
