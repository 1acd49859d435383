//! The tables.

use tokio_postgres::{Client, GenericClient};

use super::{EventStoreError, PgEventStore};
use crate::event_sourcing::Decider;
use crate::postgres::identify;

/// A transaction id that is visible in every snapshot: that of rows from another cluster.
const EVER_VISIBLE: &str = "3";

/// Larger events are refused where they are made, so that the relay can always publish them.
const PAYLOAD_BYTES_MAX: usize = 900_000;

impl<D: Decider> PgEventStore<D> {
    /// Creates the tables that are missing. What is there stays as it is.
    ///
    /// # Errors
    /// If PostgreSQL refuses.
    pub async fn ensure_schema(&self, client: &Client) -> Result<(), EventStoreError> {
        let Self { events, snapshots, cluster, projections, .. } = self;
        // in one go, so that two that start at once do not collide half-way
        let sql = format!(
            "BEGIN;
             SELECT pg_advisory_xact_lock({lock});
             CREATE TABLE IF NOT EXISTS {events} (
                 id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
                 xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
                 event_id uuid NOT NULL UNIQUE,
                 aggregatetype text NOT NULL,
                 aggregateid text NOT NULL,
                 type text NOT NULL,
                 revision bigint NOT NULL CHECK (revision > 0),
                 payload bytea NOT NULL CHECK (octet_length(payload) <= {PAYLOAD_BYTES_MAX}),
                 headers jsonb,
                 created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
                 PRIMARY KEY (aggregatetype, aggregateid, revision));
             CREATE INDEX IF NOT EXISTS {index} ON {events} (xid);
             CREATE TABLE IF NOT EXISTS {snapshots} (
                 aggregatetype text NOT NULL,
                 aggregateid text NOT NULL,
                 revision bigint NOT NULL,
                 event_id uuid NOT NULL,
                 schema_version bigint NOT NULL,
                 state text NOT NULL,
                 fingerprint text NOT NULL,
                 created_at timestamptz NOT NULL DEFAULT now(),
                 PRIMARY KEY (aggregatetype, aggregateid));
             CREATE TABLE IF NOT EXISTS {projections} (
                 name text PRIMARY KEY,
                 aggregatetype text NOT NULL,
                 base pg_snapshot NOT NULL,
                 target pg_snapshot,
                 last_id bigint NOT NULL,
                 applied bigint NOT NULL,
                 system_identifier text NOT NULL);
             CREATE TABLE IF NOT EXISTS {cluster} (
                 one boolean PRIMARY KEY DEFAULT true CHECK (one),
                 system_identifier text NOT NULL);
             INSERT INTO {cluster} (system_identifier)
                 SELECT system_identifier::text FROM pg_control_system()
                 ON CONFLICT DO NOTHING;
             COMMIT;",
            lock = uuid::Uuid::new_v5(&uuid::Uuid::nil(), events.to_string().as_bytes())
                .as_u64_pair()
                .0
                .cast_signed(),
            index = crate::postgres::quoted(&format!("{}_xid", events.name())),
        );
        if let Err(cause) = client.batch_execute(&sql).await {
            // if it fails as well, the connection is gone and the transaction with it
            let _ = client.batch_execute("ROLLBACK").await;
            return Err(self.failed("creating the tables", cause));
        }
        Ok(())
    }

    /// Fails if the tables were made in another cluster: the transaction ids in them say nothing in
    /// this one. Returns the cluster's identifier.
    pub(super) async fn check_cluster(
        &self,
        client: &impl GenericClient,
    ) -> Result<String, EventStoreError> {
        let sql = format!("SELECT system_identifier FROM {}", self.cluster);
        let row = client.query_opt(&sql, &[]).await;
        let row = row.map_err(|cause| self.failed("reading the identity", cause))?;
        let stored: Option<String> = row.map(|row| row.get(0));
        let (identity, standby) = identify(client)
            .await
            .map_err(|cause| self.failed("asking the server who it is", cause))?;
        if standby {
            let what = "the server is a standby, whose snapshots differ".to_owned();
            return Err(self.refused(what, "connect to the primary"));
        }
        let found = identity.system_identifier;
        match stored {
            Some(stored) if stored == found => Ok(found),
            stored => {
                let stored = stored.as_deref().unwrap_or("none");
                let what = format!("it belongs to cluster {stored}, this server is {found}");
                Err(self.refused(what, "stop the relay, adopt() the table, rebuild projections"))
            }
        }
    }

    /// Makes this cluster the one that the tables belong to, after they were restored into it from
    /// a dump: the transaction ids in them are those of another cluster. Readers that remember a
    /// position (relays, projections) must begin anew afterwards.
    ///
    /// # Errors
    /// If PostgreSQL refuses.
    pub async fn adopt(&self, client: &mut Client) -> Result<(), EventStoreError> {
        let failed = |cause| self.failed("adopting the tables", cause);
        let transaction = client.transaction().await.map_err(failed)?;
        let Self { events, cluster, .. } = self;
        let sql = format!("LOCK TABLE {events} IN EXCLUSIVE MODE");
        transaction.batch_execute(&sql).await.map_err(failed)?;
        let sql = format!(
            "UPDATE {cluster} SET system_identifier = here.system_identifier::text
               FROM pg_control_system() AS here
              WHERE {cluster}.system_identifier <> here.system_identifier::text"
        );
        if transaction.execute(&sql, &[]).await.map_err(failed)? > 0 {
            let sql = format!("UPDATE {events} SET xid = '{EVER_VISIBLE}'::xid8");
            transaction.execute(&sql, &[]).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    pub(super) fn failed(
        &self,
        doing: &'static str,
        cause: tokio_postgres::Error,
    ) -> EventStoreError {
        EventStoreError::Postgres { table: self.events.to_string(), doing, cause }
    }

    pub(super) fn refused(&self, what: String, remedy: &'static str) -> EventStoreError {
        EventStoreError::Refused { table: self.events.to_string(), what, remedy }
    }
}
