//! Snapshots: a fold that need not be done again. Never the truth: a doubtful one is not used.

use tokio_postgres::GenericClient;
use uuid::Uuid;

use super::load::Folding;
use super::{EventStoreError, PgEventStore};
use crate::event_sourcing::{Decider, Fingerprint, Stream, Version, VersionCheck};

/// A snapshot as it is stored.
pub(super) struct StoredSnapshot {
    pub(super) version: Version,
    pub(super) event_id: Uuid,
    schema: i64,
    state: String,
    fingerprint: String,
}

impl<D: Decider> PgEventStore<D> {
    /// Writes a snapshot of a stream as it is now. [`PgEventStore::execute`] does so by itself.
    ///
    /// # Errors
    /// As [`PgEventStore::load`].
    pub async fn snapshot(
        &self,
        client: &impl GenericClient,
        stream: &str,
    ) -> Result<(), EventStoreError> {
        let folded = self.load(client, stream).await?;
        self.write_snapshot(client, stream, &folded).await
    }

    /// Writes a snapshot, unless a newer one is there already or the stream is empty.
    pub(super) async fn write_snapshot(
        &self,
        client: &impl GenericClient,
        stream: &str,
        folded: &Stream<D::State>,
    ) -> Result<(), EventStoreError> {
        let unfit = |cause| EventStoreError::Json { stream: stream.to_owned(), cause };
        let state = serde_json::to_string(&folded.state).map_err(unfit)?;
        let fingerprint = Fingerprint::of(&folded.state).map_err(unfit)?.to_string();
        let sql = format!(
            "INSERT INTO {snapshots} AS old
                 (aggregatetype, aggregateid, revision, event_id, schema_version, state,
                  fingerprint)
             SELECT $1, $2, revision, event_id, $4, $5, $6 FROM {events}
              WHERE aggregatetype = $1 AND aggregateid = $2 AND revision = $3
             ON CONFLICT (aggregatetype, aggregateid) DO UPDATE SET
                 revision = excluded.revision, event_id = excluded.event_id,
                 schema_version = excluded.schema_version, state = excluded.state,
                 fingerprint = excluded.fingerprint, created_at = now()
             WHERE old.revision < excluded.revision
                OR old.schema_version < excluded.schema_version",
            snapshots = self.snapshots,
            events = self.events,
        );
        let (version, schema) = (folded.version.0, i64::from(D::STATE_SCHEMA));
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&self.aggregate_type, &stream, &version, &schema, &state, &fingerprint];
        let written = client.execute(&sql, &parameters).await;
        written.map_err(|cause| self.failed("writing a snapshot", cause))?;
        Ok(())
    }

    /// Returns where to fold on from: `None` if there is no snapshot, or one that this program
    /// can't trust. It is told which.
    pub(super) async fn read_snapshot(
        &self,
        client: &impl GenericClient,
        stream: &str,
    ) -> Result<Option<Folding<D::State>>, EventStoreError> {
        let Some(stored) = self.stored_snapshot(client, stream).await? else { return Ok(None) };
        match trusted::<D>(&stored) {
            Ok(state) => {
                let version = stored.version;
                let check = VersionCheck { last: version, last_id: stored.event_id };
                Ok(Some(Folding { stream: Stream { version, state }, check }))
            }
            Err(why) => {
                tracing::warn!(
                    table = %self.events, stream, version = stored.version.0, why,
                    "a snapshot is ignored: the stream is folded from zero"
                );
                Ok(None)
            }
        }
    }

    /// Returns the snapshot of a stream whose last event is the one that it says.
    pub(super) async fn stored_snapshot(
        &self,
        client: &impl GenericClient,
        stream: &str,
    ) -> Result<Option<StoredSnapshot>, EventStoreError> {
        // the join leaves out a snapshot of events that are gone, or were replaced by others
        let sql = format!(
            "SELECT s.revision, s.event_id, s.schema_version, s.state, s.fingerprint
               FROM {snapshots} AS s
               JOIN {events} AS e USING (aggregatetype, aggregateid, revision, event_id)
              WHERE s.aggregatetype = $1 AND s.aggregateid = $2",
            snapshots = self.snapshots,
            events = self.events,
        );
        let row = client.query_opt(&sql, &[&self.aggregate_type, &stream]).await;
        let row = row.map_err(|cause| self.failed("reading a snapshot", cause))?;
        Ok(row.map(|row| StoredSnapshot {
            version: Version(row.get(0)),
            event_id: row.get(1),
            schema: row.get(2),
            state: row.get(3),
            fingerprint: row.get(4),
        }))
    }
}

/// Returns the state of a snapshot, or why it can't be used.
pub(super) fn trusted<D: Decider>(stored: &StoredSnapshot) -> Result<D::State, &'static str> {
    match stored.schema.cmp(&i64::from(D::STATE_SCHEMA)) {
        std::cmp::Ordering::Less => return Err("an older program made it"),
        std::cmp::Ordering::Greater => return Err("a newer program made it"),
        std::cmp::Ordering::Equal => {}
    }
    let state: D::State =
        serde_json::from_str(&stored.state).map_err(|_| "its state can't be read")?;
    let fingerprint = Fingerprint::of(&state).map_err(|_| "its state has no JSON form")?;
    if fingerprint.to_string() != stored.fingerprint {
        return Err("its state does not match its fingerprint");
    }
    Ok(state)
}
