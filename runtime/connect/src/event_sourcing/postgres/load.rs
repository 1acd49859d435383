//! Folding a stream: from a snapshot, from zero, or up to a point of the past.

use tidemill::record::Timestamp;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::{EventStoreError, PAGE, PgEventStore};
use crate::event_sourcing::{
    Decider, EventEnvelope, EventError, Recorded, Stream, Until, Version, VersionCheck,
};

/// A row of the table, with when it was written.
pub(super) struct Read<E> {
    pub(super) recorded: Recorded<E>,
    pub(super) at: Timestamp,
}

/// A fold on its way.
pub(super) struct Folding<S> {
    pub(super) stream: Stream<S>,
    pub(super) check: VersionCheck,
}

impl<S> Folding<S> {
    pub(super) fn new<D: Decider<State = S>>() -> Self {
        Self { stream: Stream::new::<D>(), check: VersionCheck::default() }
    }
}

/// What every reader of events selects: revision, event_id, type, payload, milliseconds.
pub(super) const COLUMNS: &str = "revision, event_id, type, payload,
    (extract(epoch FROM created_at) * 1000)::bigint";

impl<D: Decider> PgEventStore<D> {
    /// Returns a stream as it is now: its snapshot, if it is good, and the events after it.
    ///
    /// # Errors
    /// If PostgreSQL refuses, an event can't be read, or versions are missing.
    pub async fn load(
        &self,
        client: &impl GenericClient,
        stream: &str,
    ) -> Result<Stream<D::State>, EventStoreError> {
        let start = self.read_snapshot(client, stream).await?;
        let start = start.unwrap_or_else(Folding::new::<D>);
        Ok(self.fold(client, stream, start, Until::End).await?.stream)
    }

    /// Returns a stream as it was then, folded from zero.
    ///
    /// # Errors
    /// As [`PgEventStore::load`].
    pub async fn replay(
        &self,
        client: &impl GenericClient,
        stream: &str,
        until: Until,
    ) -> Result<Stream<D::State>, EventStoreError> {
        let folding = self.fold(client, stream, Folding::new::<D>(), until).await?;
        Ok(folding.stream)
    }

    /// Returns events of a stream in the order of their versions, at most 500, after a version.
    ///
    /// # Errors
    /// As [`PgEventStore::load`].
    pub async fn events(
        &self,
        client: &impl GenericClient,
        stream: &str,
        after: Version,
    ) -> Result<Vec<Recorded<D::Event>>, EventStoreError> {
        let page = self.page(client, stream, after).await?;
        Ok(page.into_iter().map(|read| read.recorded).collect())
    }

    async fn fold(
        &self,
        client: &impl GenericClient,
        stream: &str,
        mut folding: Folding<D::State>,
        until: Until,
    ) -> Result<Folding<D::State>, EventStoreError> {
        loop {
            let page = self.page(client, stream, folding.stream.version).await?;
            let last = i64::try_from(page.len()).is_ok_and(|length| length < PAGE);
            for Read { recorded, at } in page {
                if until.is_past(recorded.version, at) {
                    return Ok(folding);
                }
                folding.check.observe(stream, recorded.version, recorded.event_id)?;
                folding.stream = folding.stream.evolve::<D>(&recorded.event);
            }
            if last {
                return Ok(folding);
            }
        }
    }

    async fn page(
        &self,
        client: &impl GenericClient,
        stream: &str,
        after: Version,
    ) -> Result<Vec<Read<D::Event>>, EventStoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {}
              WHERE aggregatetype = $1 AND aggregateid = $2 AND revision > $3
              ORDER BY revision LIMIT {PAGE}",
            self.events
        );
        let rows = client.query(&sql, &[&self.aggregate_type, &stream, &after.0]).await;
        let rows = rows.map_err(|cause| self.failed("reading a stream", cause))?;
        rows.iter().map(|row| self.read_row(stream, row)).collect()
    }

    /// Reads what [`COLUMNS`] selects.
    pub(super) fn read_row(
        &self,
        stream: &str,
        row: &Row,
    ) -> Result<Read<D::Event>, EventStoreError> {
        let (version, event_id) = (Version(row.get(0)), row.get::<_, Uuid>(1));
        let read = || -> Result<Recorded<D::Event>, EventError> {
            let unfit = |schema, cause| {
                let event_type = row.get::<_, String>(2);
                EventError::Data { event_type, version, schema, cause }
            };
            let envelope: EventEnvelope = serde_json::from_slice(row.get::<_, &[u8]>(3))
                .map_err(|cause| unfit(0, cause.into()))?;
            if envelope.version != version || envelope.event_id != event_id {
                let (other, id) = (envelope.version, envelope.event_id);
                let cause = format!("its payload is that of version {other}, event {id}");
                return Err(unfit(envelope.schema, cause.into()));
            }
            self.upcasters.read(envelope)
        };
        let recorded =
            read().map_err(|cause| EventStoreError::Event { stream: stream.to_owned(), cause })?;
        Ok(Read { recorded, at: Timestamp(row.get(4)) })
    }
}
