//! The table as a source of an events topic: the outbox that it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidemill::record::{Headers, Timestamp};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Config, Error, Row};
use uuid::Uuid;

use super::projection::BEGINNING;
use super::{EventStoreError, PgEventStore};
use crate::event_sourcing::Decider;
use crate::event_sourcing::event::{HEADER_ID, HEADER_REVISION, HEADER_TYPE};
use crate::postgres::{Connection, connect, identify, is_transient};
use crate::source::{BatchLimits, SourceBatch, SourceError, SourceRecord, TransactionalSource};

/// Between two looks that found nothing.
const IDLE: Duration = Duration::from_millis(20);
/// How long the server may take to write its log after it was asked to.
const DURABLE: Duration = Duration::from_secs(10);
const DURABLE_POLL: Duration = Duration::from_millis(5);
/// A commit that is on disk when it is answered, and with it all of the log before.
const FLUSH: &str = "BEGIN; SET LOCAL synchronous_commit = local;
                     SELECT pg_logical_emit_message(true, 'tidemill', ''); COMMIT";

/// Publishes the events of a store into a topic, each once, in the order of each stream's versions:
/// the source of a [`SourceRunner`](crate::source::SourceRunner). Rows are kept.
///
/// Keys are the streams' ids, values and headers those of a topic of
/// [`event_sourced`](crate::event_sourcing::EventSourcing::event_sourced), so that
/// [`folded_events`](crate::event_sourcing::EventSourcing::folded_events) and
/// [`EventLog`](crate::event_sourcing::EventLog) read it.
///
/// Reads by the difference of two snapshots of the database, as a
/// [`Projector`](super::Projector) does; the position is in Kafka, in the transaction of the
/// records. It stops, rather than lose or repeat events, if the position is missing although events
/// were published, or if the server is another one, was restored from a backup, or was promoted.
pub struct EventTableSource<D> {
    config: Config,
    store: PgEventStore<D>,
    topic: Arc<str>,
    timeline: Option<i32>,
    session: Option<Session>,
}

struct Session {
    client: Connection,
    position: EventTablePosition,
    /// The server is told once that events were published.
    told: bool,
}

/// How far the table was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventTablePosition {
    system_identifier: String,
    timeline: i32,
    /// What is visible in it was published.
    base: String,
    /// What is visible in it is being published, by id.
    target: Option<String>,
    last_id: i64,
}

impl<D> fmt::Debug for EventTableSource<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the configuration may hold a password
        f.debug_struct("EventTableSource")
            .field("store", &self.store)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl<D: Decider> EventTableSource<D> {
    /// Publishes a store's events into a topic.
    #[must_use]
    pub fn new(config: Config, store: PgEventStore<D>, topic: &str) -> Self {
        Self { config, store, topic: topic.into(), timeline: None, session: None }
    }

    /// Accepts that the server is on this timeline now, after a standby was promoted. Right only if
    /// the standby had every transaction that was committed.
    #[must_use]
    pub fn accept_timeline(mut self, timeline: i32) -> Self {
        self.timeline = Some(timeline);
        self
    }

    /// Under which name the store remembers that it was published into the topic.
    fn mark(&self) -> String {
        format!("topic {}", self.topic)
    }

    async fn begin(
        &self,
        client: &Connection,
        cluster: String,
        timeline: i32,
    ) -> Result<EventTablePosition, SourceError> {
        let sql = format!("SELECT 1 FROM {} WHERE name = $1", self.store.projections);
        if client.query_opt(&sql, &[&self.mark()]).await.map_err(lost)?.is_some() {
            return Err(SourceError::Refused {
                what: format!(
                    "events of {} were published into {}, but the position is missing",
                    self.store.events, self.topic
                ),
                remedy: format!(
                    "restore the positions topic, or publish into a new topic; to have all events \
                     in {} again, delete the row {:?} of {}",
                    self.topic,
                    self.mark(),
                    self.store.projections
                ),
            });
        }
        let base = BEGINNING.to_owned();
        let system_identifier = cluster;
        Ok(EventTablePosition { system_identifier, timeline, base, target: None, last_id: 0 })
    }

    /// Fails unless the position is one of this server's.
    async fn check(
        &self,
        client: &Connection,
        position: &EventTablePosition,
        (cluster, timeline): (&str, i32),
    ) -> Result<(), SourceError> {
        let refused = |what: String, remedy: &str| {
            Err(SourceError::Refused { what, remedy: remedy.to_owned() })
        };
        let of = &position.system_identifier;
        if of != cluster {
            let what = format!("the position is of cluster {of}, the server is {cluster}");
            return refused(what, "publish into a new topic");
        }
        if position.timeline != timeline && self.timeline != Some(timeline) {
            let of = position.timeline;
            let what = format!("the position is of timeline {of}, the server is on {timeline}");
            return refused(what, "accept_timeline() if the promoted standby had everything");
        }
        let sql = "SELECT pg_snapshot_xmax(coalesce($1, $2)::text::pg_snapshot)
                        > pg_snapshot_xmax(pg_current_snapshot())";
        let seen = client.query_one(sql, &[&position.target, &position.base]).await;
        if seen.map_err(lost)?.get(0) {
            let what = "the server is behind the position: it was restored from a backup";
            return refused(what.to_owned(), "publish into a new topic");
        }
        Ok(())
    }

    async fn look(
        &self,
        session: &mut Session,
        limits: &BatchLimits,
    ) -> Result<Option<SourceBatch<EventTablePosition>>, SourceError> {
        let Session { client, position, .. } = session;
        let now: String = match &position.target {
            Some(target) => target.clone(),
            None => {
                let sql = "SELECT pg_current_snapshot()::text";
                client.query_one(sql, &[]).await.map_err(lost)?.get(0)
            }
        };
        let sql = format!(
            "SELECT id, aggregateid, event_id, type, revision, payload,
                    (extract(epoch FROM created_at) * 1000)::bigint
               FROM {}
              WHERE xid >= pg_snapshot_xmin($1::text::pg_snapshot)
                AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
                AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
                AND id > $3 AND aggregatetype = $4
              ORDER BY id LIMIT $5",
            self.store.events
        );
        let most = i64::try_from(limits.records).unwrap_or(i64::MAX);
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&position.base, &now, &position.last_id, &self.store.aggregate_type, &most];
        let rows = client.query(&sql, &parameters).await.map_err(lost)?;
        let (mut records, mut bytes, mut last) = (Vec::new(), 0, position.last_id);
        for row in &rows {
            let record = self.record(row);
            bytes += record.value.as_ref().map_or(0, Bytes::len);
            if bytes > limits.bytes && !records.is_empty() {
                break;
            }
            records.push(record);
            last = row.get(0);
        }
        let whole = records.len() == rows.len() && rows.len() < limits.records;
        if whole && records.is_empty() && position.target.is_none() {
            return Ok(None);
        }
        wait_until_durable(client).await?;
        if whole {
            (position.base, position.target, position.last_id) = (now, None, 0);
        } else {
            (position.target, position.last_id) = (Some(now), last);
        }
        Ok(Some(SourceBatch { records, position: Some(position.clone()) }))
    }

    fn record(&self, row: &Row) -> SourceRecord {
        let mut headers = Headers::new();
        for (name, value) in [
            (HEADER_ID, row.get::<_, Uuid>(2).to_string()),
            (HEADER_TYPE, row.get(3)),
            (HEADER_REVISION, row.get::<_, i64>(4).to_string()),
        ] {
            headers.add(name, Some(value.into_bytes()));
        }
        SourceRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            key: Some(Bytes::from(row.get::<_, String>(1))),
            value: Some(Bytes::from(row.get::<_, Vec<u8>>(5))),
            timestamp: Timestamp(row.get(6)),
            headers,
        }
    }
}

impl<D: Decider> TransactionalSource for EventTableSource<D> {
    type Position = EventTablePosition;

    async fn open(
        &mut self,
        committed: Option<&EventTablePosition>,
    ) -> Result<Option<EventTablePosition>, SourceError> {
        self.session = None;
        let client = connect(&self.config).await.map_err(lost)?;
        let cluster = self.store.check_cluster(&*client).await.map_err(unfit)?;
        let (identity, _) = identify(&*client).await.map_err(lost)?;
        let timeline = identity.timeline;
        let position = match committed {
            Some(position) => {
                self.check(&client, position, (&cluster, timeline)).await?;
                EventTablePosition { timeline, ..position.clone() }
            }
            None => self.begin(&client, cluster, timeline).await?,
        };
        let told = false;
        self.session = Some(Session { client, position: position.clone(), told });
        Ok(Some(position))
    }

    async fn poll(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<Option<SourceBatch<EventTablePosition>>, SourceError> {
        let deadline = Instant::now() + limits.wait;
        let Some(mut session) = self.session.take() else {
            return Err(SourceError::Unavailable("the table is not open".into()));
        };
        loop {
            // an error leaves it closed: it is opened again
            let batch = self.look(&mut session, limits).await?;
            if batch.is_some() || Instant::now() >= deadline {
                self.session = Some(session);
                return Ok(batch);
            }
            sleep(IDLE.min(limits.wait)).await;
        }
    }

    async fn committed(&mut self, position: &EventTablePosition) -> Result<(), SourceError> {
        let mark = self.mark();
        let Some(session) = &mut self.session else { return Ok(()) };
        if session.told {
            return Ok(());
        }
        let sql = format!(
            "INSERT INTO {} (name, aggregatetype, base, last_id, applied, system_identifier)
             VALUES ($1, $2, $3::text::pg_snapshot, 0, 0, $4) ON CONFLICT DO NOTHING",
            self.store.projections
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&mark, &self.store.aggregate_type, &position.base, &position.system_identifier];
        session.client.execute(&sql, &parameters).await.map_err(lost)?;
        session.told = true;
        Ok(())
    }
}

/// With `synchronous_commit = off` a commit is visible before it is on disk: published then, it
/// would be an event of nothing after a crash of the server.
async fn wait_until_durable(client: &Connection) -> Result<(), SourceError> {
    let deadline = Instant::now() + DURABLE;
    let sql = "SELECT pg_current_wal_insert_lsn()::text";
    let written: String = client.query_one(sql, &[]).await.map_err(lost)?.get(0);
    let sql = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn";
    let mut asked = false;
    while !client.query_one(sql, &[&written]).await.map_err(lost)?.get::<_, bool>(0) {
        // By itself the server does not write what an open transaction left at the end of its log.
        if !std::mem::replace(&mut asked, true) {
            client.batch_execute(FLUSH).await.map_err(lost)?;
            continue;
        }
        if Instant::now() > deadline {
            let text = format!("the server's log is not on disk up to {written} after {DURABLE:?}");
            return Err(SourceError::Unavailable(text.into()));
        }
        sleep(DURABLE_POLL).await;
    }
    Ok(())
}

fn lost(error: Error) -> SourceError {
    if is_transient(&error) {
        SourceError::Unavailable(error.into())
    } else {
        SourceError::Failed(error.into())
    }
}

fn unfit(error: EventStoreError) -> SourceError {
    match error {
        EventStoreError::Refused { what, remedy, .. } => {
            SourceError::Refused { what, remedy: remedy.to_owned() }
        }
        EventStoreError::Postgres { cause, .. } => lost(cause),
        other => SourceError::Failed(other.into()),
    }
}
