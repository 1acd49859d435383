//! Setting up what the source needs of the database: a publication, before any slot.

use tokio_postgres::GenericClient;
use tokio_postgres::error::Error;

use crate::postgres::{NameError, TableName, quoted};

/// What a new publication publishes.
///
/// The source makes its slot itself, always after the publication: PostgreSQL reads old log with
/// the catalog of its time, in which a younger publication does not exist.
#[derive(Debug, Clone)]
pub struct PublicationSetup {
    name: String,
    tables: Vec<TableName>,
    publish: &'static str,
}

/// A publication can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// PostgreSQL refuses.
    #[error("publication {publication} can't be made")]
    Postgres {
        /// The publication.
        publication: String,
        /// Why.
        #[source]
        cause: Error,
    },
    /// A name can't be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no such table.
    #[error("table {0} does not exist")]
    NoTable(String),
    /// Publishing it would break the application that writes it.
    #[error(
        "table {0} has no primary key and no other replica identity: PostgreSQL would refuse the \
         application's UPDATE and DELETE while they are published; give it one, or publish inserts \
         only"
    )]
    NoIdentity(String),
}

const IDENTITY: &str = "SELECT c.relreplident::text,
       EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
  FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)";

impl PublicationSetup {
    /// Names the publication and its tables.
    ///
    /// # Errors
    /// If a table can't have such a name.
    pub fn new(name: &str, tables: &[&str]) -> Result<Self, SetupError> {
        let tables = tables.iter().map(|table| TableName::new(table)).collect::<Result<_, _>>()?;
        TableName::new(&name.replace('.', "_"))?;
        Ok(Self { name: name.to_owned(), tables, publish: "insert, update, delete" })
    }

    /// Publishes inserts only, as an outbox needs it.
    #[must_use]
    pub fn inserts_only(mut self) -> Self {
        self.publish = "insert";
        self
    }

    /// Publishes truncations too.
    #[must_use]
    pub fn truncations(mut self) -> Self {
        self.publish = "insert, update, delete, truncate";
        self
    }

    /// Makes the publication. Needs the right to create in the database, and to own the tables.
    ///
    /// # Errors
    /// If a table's rows can't be told apart, or PostgreSQL refuses.
    pub async fn create(&self, client: &impl GenericClient) -> Result<(), SetupError> {
        let postgres = |cause| SetupError::Postgres { publication: self.name.clone(), cause };
        for table in &self.tables {
            let found = client.query_opt(IDENTITY, &[&table.to_string()]).await;
            let row = found.map_err(postgres)?;
            let row = row.ok_or_else(|| SetupError::NoTable(table.to_string()))?;
            let (identity, primary): (String, bool) = (row.get(0), row.get(1));
            let none = identity == "n" || (identity == "d" && !primary);
            if none && self.publish != "insert" {
                return Err(SetupError::NoIdentity(table.to_string()));
            }
        }
        let tables: Vec<String> = self.tables.iter().map(TableName::to_string).collect();
        let tables = if tables.is_empty() {
            String::new()
        } else {
            format!(" FOR TABLE {}", tables.join(", "))
        };
        let sql = format!(
            "CREATE PUBLICATION {}{tables} WITH (publish = '{}')",
            quoted(&self.name),
            self.publish
        );
        client.batch_execute(&sql).await.map_err(postgres)
    }
}
