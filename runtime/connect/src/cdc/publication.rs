//! What a publication publishes, as the catalog has it, and what is wrong with it.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::error::{RESNAPSHOT, refused};
use super::position::PublicationMark;
use super::session::{Session, literal};
use crate::source::SourceError;

/// A publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publication {
    pub(crate) name: String,
    pub(crate) operations: Operations,
    /// By object id.
    pub(crate) tables: BTreeMap<u32, PublishedTable>,
}

/// What a publication is and does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Operations {
    oid: u32,
    pub(crate) insert: bool,
    pub(crate) update: bool,
    pub(crate) delete: bool,
    pub(crate) truncate: bool,
    root: bool,
}

/// One of its tables.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct PublishedTable {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// PostgreSQL's letter.
    pub(crate) identity: String,
    /// Columns of the primary key, else of the replica identity's index, in the index's order.
    pub(crate) key: Vec<String>,
    /// It is the primary key.
    pub(crate) primary: bool,
    /// Columns that may be stored out of line.
    pub(crate) toastable: Vec<String>,
    /// Published columns, in the table's order.
    pub(crate) columns: Vec<PublishedColumn>,
    /// Its rows are in its partitions.
    pub(crate) partitioned: bool,
    /// Rows that are published; `None` for all.
    pub(crate) filter: Option<String>,
}

/// One of its columns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct PublishedColumn {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) type_modifier: i32,
    /// The type's name in SQL, for a cast.
    pub(crate) type_name: String,
    /// The collation's name in SQL, where the type has one: the order of keys depends on it.
    pub(crate) collation: Option<String>,
}

const PUBLICATION: &str = "SELECT json_build_object('oid', oid::int8, 'insert', pubinsert,
       'update', pubupdate, 'delete', pubdelete, 'truncate', pubtruncate, 'root', pubviaroot)
  FROM pg_catalog.pg_publication WHERE pubname = ";

/// Reads one table for each row. The primary key if there is one, since it is the better key even
/// where the replica identity is another; a generated column is not in the log before version 18.
const TABLES: &str = "SELECT json_build_object('oid', c.oid::int8, 'schema', n.nspname,
       'name', c.relname, 'identity', c.relreplident::text, 'filter', p.rowfilter,
       'partitioned', c.relkind = 'p',
       'primary', coalesce(i.indisprimary, false),
       'key', coalesce((SELECT json_agg(a.attname ORDER BY k.ord)
                 FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(num, ord)
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num
                WHERE k.ord <= i.indnkeyatts), '[]'),
       'toastable', coalesce((SELECT json_agg(a.attname ORDER BY a.attnum)
                 FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                  AND a.attname = ANY (p.attnames) AND a.attstorage <> 'p'), '[]'),
       'columns', coalesce((SELECT json_agg(json_build_object('name', a.attname,
                      'type_oid', a.atttypid::int8, 'type_modifier', a.atttypmod,
                      'type_name', format_type(a.atttypid, NULL),
                      'collation', (SELECT quote_ident(s.nspname) || '.' || quote_ident(l.collname)
                              FROM pg_catalog.pg_collation l
                              JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace
                             WHERE l.oid = a.attcollation)) ORDER BY a.attnum)
                 FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                  AND a.attname = ANY (p.attnames)
                  AND (a.attgenerated = '' OR current_setting('server_version_num')::int >= 180000)
                ), '[]'))
  FROM pg_catalog.pg_publication_tables p
  JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
  LEFT JOIN LATERAL (SELECT * FROM pg_catalog.pg_index x
                      WHERE x.indrelid = c.oid AND (x.indisprimary OR x.indisreplident)
                      ORDER BY (x.indisreplident AND c.relreplident = 'i') DESC,
                               x.indisprimary DESC LIMIT 1) i ON true
 WHERE p.pubname = ";

impl Publication {
    /// Reads it on the session that is about to stream.
    pub(crate) async fn read(session: &mut Session, name: &str) -> Result<Self, SourceError> {
        let named = literal(name);
        let found = session.ask(&format!("{PUBLICATION}{named}")).await?;
        let Some(operations) = found.into_iter().next() else {
            let what = format!("publication {name} does not exist");
            let remedy = "create it before the replication slot (cdc::PublicationSetup); if it \
                          existed when the slot was made, the log can't be read without it: ";
            return Err(refused(what, format!("{remedy}{RESNAPSHOT}")));
        };
        let tables = session.ask(&format!("{TABLES}{named}")).await?;
        let tables = tables.into_iter().map(|table: PublishedTable| (table.oid, table)).collect();
        Ok(Self { name: name.to_owned(), operations, tables })
    }

    /// Returns what tells it from another one.
    pub(crate) fn mark(&self) -> PublicationMark {
        // the shapes of tables have versions of their own
        let mut text = format!("{:?}", self.operations);
        for table in self.tables.values() {
            let PublishedTable { oid, schema, name, filter, .. } = table;
            text.push_str(&format!("\0{oid}\0{schema}\0{name}\0{filter:?}"));
        }
        PublicationMark {
            name: self.name.clone(),
            oid: self.operations.oid,
            fingerprint: Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()),
        }
    }

    /// Returns true if PostgreSQL has to tell rows apart.
    pub(crate) fn needs_identity(&self) -> bool {
        self.operations.update || self.operations.delete
    }

    /// Finds a table by `schema.table`.
    pub(crate) fn table(&self, full_name: &str) -> Option<&PublishedTable> {
        self.tables.values().find(|table| table.full_name() == full_name)
    }
}

impl PublishedTable {
    /// Returns `schema.table`, for people and positions.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Returns why an `UPDATE` or `DELETE` of the **application** would fail, if it would.
    pub(crate) fn no_identity(&self) -> Option<&'static str> {
        match self.identity.as_str() {
            "n" => Some("its replica identity is NOTHING"),
            "d" if !self.primary => Some("it has no primary key and no other replica identity"),
            _ => None,
        }
    }
}
