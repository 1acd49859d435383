//! The shapes of the tables, as the log has told of them so far, and their versions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Translate;
use crate::cdc::error::{ChangeError, failed, sql_error};
use crate::cdc::pgoutput::RelationBody;
use crate::cdc::publication::Publication;
use crate::cdc::relation::{Relation, ReplicaIdentity, SchemaVersion};
use crate::cdc::settings::{LogSettings, OnChange};
use crate::postgres::connect;
use crate::source::SourceError;

/// All tables that were seen in this session.
pub(super) struct Shapes {
    relations: HashMap<u32, Arc<Relation>>,
    /// Keys of tables whose replica identity is all columns.
    primary_keys: HashMap<u32, Vec<String>>,
    /// The versions, as they are at the change in hand.
    pub(super) versions: Arc<BTreeMap<u32, SchemaVersion>>,
}

const PRIMARY_KEY: &str = "SELECT a.attname::text
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
 WHERE i.indrelid = $1 AND i.indisprimary";

impl Shapes {
    pub(super) fn new(
        publication: &Publication,
        versions: Arc<BTreeMap<u32, SchemaVersion>>,
    ) -> Self {
        let primary = publication.tables.values().filter(|table| table.primary);
        let primary_keys = primary.map(|table| (table.oid, table.key.clone())).collect();
        Self { relations: HashMap::new(), primary_keys, versions }
    }

    pub(super) fn get(&self, oid: u32) -> Result<&Arc<Relation>, ChangeError> {
        self.relations.get(&oid).ok_or(ChangeError::UnknownRelation(oid))
    }

    /// Takes in what the log says of a table.
    pub(super) async fn learn(
        &mut self,
        body: RelationBody,
        settings: &LogSettings,
        translate: &mut impl Translate,
    ) -> Result<Arc<Relation>, SourceError> {
        let mut relation = Relation::new(body);
        let table = relation.full_name();
        if let Some(key) = translate.key(&table) {
            set_key(&mut relation, key)?;
        } else if relation.identity == ReplicaIdentity::Full {
            let key = self.primary_key(relation.oid, settings).await?;
            set_key(&mut relation, &key)?;
        }
        let relation = Arc::new(relation);
        let version = self.version(&relation, settings.on_schema_change)?;
        translate.relation(&relation, version)?;
        self.relations.insert(relation.oid, Arc::clone(&relation));
        Ok(relation)
    }

    /// Under identity `FULL` the log does not tell the primary key.
    async fn primary_key(
        &mut self,
        oid: u32,
        settings: &LogSettings,
    ) -> Result<Vec<String>, SourceError> {
        if let Some(key) = self.primary_keys.get(&oid) {
            return Ok(key.clone());
        }
        let client = connect(&settings.postgres).await.map_err(sql_error)?;
        let rows = client.query(PRIMARY_KEY, &[&oid]).await.map_err(sql_error)?;
        let key: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        self.primary_keys.insert(oid, key.clone());
        Ok(key)
    }

    fn version(&mut self, relation: &Relation, on_change: OnChange) -> Result<u32, ChangeError> {
        let fingerprint = relation.fingerprint();
        let last = self.versions.get(&relation.oid);
        let version = match last {
            Some(last) if last.fingerprint == fingerprint => return Ok(last.version),
            Some(last) if on_change == OnChange::Halt => {
                return Err(ChangeError::Schema {
                    table: relation.full_name(),
                    version: last.version,
                });
            }
            Some(last) => {
                tracing::info!(table = relation.full_name(), "a table changed its shape");
                last.version + 1
            }
            None => 1,
        };
        Arc::make_mut(&mut self.versions)
            .insert(relation.oid, SchemaVersion { version, fingerprint });
        Ok(version)
    }
}

fn set_key(relation: &mut Relation, key: &[String]) -> Result<(), SourceError> {
    relation.set_key(key).map_or(Ok(()), |missing| {
        let table = relation.full_name();
        Err(failed(ChangeError::Identity {
            table,
            why: format!("its key has column {missing}, which the log does not tell of"),
        }))
    })
}
