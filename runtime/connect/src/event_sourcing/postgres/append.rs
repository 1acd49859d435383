//! Appending to a stream.

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::{EventStoreError, PgEventStore};
use crate::event_sourcing::event::event_id;
use crate::event_sourcing::{Decider, EventEnvelope, ExpectedVersion, Recorded, Version};

impl<D: Decider> PgEventStore<D> {
    /// Appends events in the caller's transaction, all or none. `command_id` gives them their ids:
    /// the same command can't append twice.
    ///
    /// Under read committed (PostgreSQL's default) a conflict leaves the transaction usable; under
    /// a stricter isolation PostgreSQL may end it instead (40001), which
    /// [`EventStoreError::is_retriable`] says.
    ///
    /// # Errors
    /// [`EventStoreError::Conflict`] if the stream is not where it was expected or somebody else
    /// appends at this moment, and whatever PostgreSQL says.
    pub async fn append(
        &self,
        transaction: &Transaction<'_>,
        stream: &str,
        expected: ExpectedVersion,
        command_id: Uuid,
        events: &[D::Event],
    ) -> Result<Vec<Recorded<D::Event>>, EventStoreError> {
        let actual = self.version(transaction, stream).await?;
        let conflict =
            |actual| EventStoreError::Conflict { stream: stream.to_owned(), expected, actual };
        if !expected.accepts(actual) {
            return Err(conflict(actual));
        }
        let mut recorded = Vec::with_capacity(events.len());
        let mut version = actual;
        for (index, event) in events.iter().enumerate() {
            version = version.next();
            let event_id = event_id(command_id, stream, index);
            recorded.push(Recorded { version, event_id, event: event.clone() });
        }
        let Some((first, rest)) = recorded.split_first() else { return Ok(recorded) };
        // whoever has the next version has the stream: the others need no check
        if self.insert(transaction, stream, command_id, std::slice::from_ref(first)).await? == 0 {
            let actual = self.version(transaction, stream).await?;
            return Err(conflict(actual));
        }
        tidemill::failpoint::pass("ES_APPENDED_FIRST");
        if !rest.is_empty() {
            self.insert(transaction, stream, command_id, rest).await?;
        }
        tidemill::failpoint::pass("ES_APPENDED");
        Ok(recorded)
    }

    /// Returns how many events a stream has.
    pub(super) async fn version(
        &self,
        transaction: &Transaction<'_>,
        stream: &str,
    ) -> Result<Version, EventStoreError> {
        let sql = format!(
            "SELECT coalesce(max(revision), 0) FROM {}
              WHERE aggregatetype = $1 AND aggregateid = $2",
            self.events
        );
        let row = transaction.query_one(&sql, &[&self.aggregate_type, &stream]).await;
        let row = row.map_err(|cause| self.failed("looking for a stream's version", cause))?;
        Ok(Version(row.get(0)))
    }

    /// Returns how many were inserted: those whose version was free.
    async fn insert(
        &self,
        transaction: &Transaction<'_>,
        stream: &str,
        command_id: Uuid,
        recorded: &[Recorded<D::Event>],
    ) -> Result<u64, EventStoreError> {
        let (mut ids, mut types, mut revisions) = (Vec::new(), Vec::new(), Vec::new());
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        for one in recorded {
            let payload = EventEnvelope::of(one, command_id)
                .and_then(|envelope| serde_json::to_vec(&envelope))
                .map_err(|cause| EventStoreError::Json { stream: stream.to_owned(), cause })?;
            let types_of: &mut Vec<&str> = &mut types;
            types_of.push(crate::event_sourcing::EventType::event_type(&one.event));
            ids.push(one.event_id);
            revisions.push(one.version.0);
            payloads.push(payload);
        }
        let sql = format!(
            "INSERT INTO {} (aggregatetype, aggregateid, event_id, type, revision, payload)
             SELECT $1, $2, e.event_id, e.type, e.revision, e.payload
               FROM unnest($3::uuid[], $4::text[], $5::bigint[], $6::bytea[])
                    AS e (event_id, type, revision, payload)
              ORDER BY e.revision
             ON CONFLICT (aggregatetype, aggregateid, revision) DO NOTHING",
            self.events
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&self.aggregate_type, &stream, &ids, &types, &revisions, &payloads];
        let inserted = transaction.execute(&sql, &parameters).await;
        inserted.map_err(|cause| self.failed("appending events", cause))
    }
}
