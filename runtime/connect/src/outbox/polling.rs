//! The Polling Publisher: what is visible now and was not visible in the last snapshot.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Config, Row};
use uuid::Uuid;

use super::gauges::{COUNTED_MAX, Gauges, OutboxLag};
use super::position::{NOTHING, OutboxPosition};
use super::relay::OutboxSource;
use super::route::Topics;
use super::row::OutboxRow;
use super::session::{Opening, Session, failed, in_time};
use super::settings::{Cleanup, Poison, RelaySettings};
use super::{Outbox, OutboxError};
use crate::source::{BatchLimits, SourceBatch, SourceError, SourceRecord, TransactionalSource};

/// Between two looks that find nothing: doubled each time.
const IDLE_MIN: Duration = Duration::from_millis(5);
const IDLE_MAX: Duration = Duration::from_millis(250);
/// A connection that says nothing for so long is dead.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A backlog is counted that often.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// Forces what was written into the server's log onto its disk, by a commit of our own.
const FLUSH: &str = "BEGIN; SET LOCAL synchronous_commit = local;
                     SELECT pg_logical_emit_message(true, 'tidemill', ''); COMMIT";

/// Reads an outbox by the difference of two snapshots; see the [module's page](super).
///
/// Given to a [`MessageRelay`](super::MessageRelay). Needs to read the outbox and to write its
/// tables of relays and dead events; no other right.
pub struct PollingOutbox {
    config: Config,
    outbox: Outbox,
    settings: Option<RelaySettings>,
    timeline: Option<i32>,
    gauges: Arc<Gauges>,
    topics: Topics,
    session: Option<Session>,
    idle: Duration,
    counted: Option<Instant>,
}

impl PollingOutbox {
    /// Names the database, of which only a primary will do, and the outbox in it.
    #[must_use]
    pub fn new(config: Config, outbox: Outbox) -> Self {
        let topics = Topics::new(outbox.route.clone());
        Self {
            config,
            outbox,
            settings: None,
            timeline: None,
            gauges: Arc::default(),
            topics,
            session: None,
            idle: IDLE_MIN,
            counted: None,
        }
    }

    /// Accepts that the server is on this timeline now, after a standby was promoted. Right only if
    /// the standby had every transaction that was committed: it was synchronous, or the old primary
    /// was stopped in order.
    #[must_use]
    pub fn accept_timeline(mut self, timeline: i32) -> Self {
        self.timeline = Some(timeline);
        self
    }

    /// One look at the outbox.
    async fn look(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<Option<SourceBatch<OutboxPosition>>, SourceError> {
        let Some(session) = &mut self.session else {
            return Err(SourceError::Unavailable("the outbox is not open".into()));
        };
        if let Some(batch) = session.revive(limits, &mut self.topics).await? {
            return Ok(Some(batch));
        }
        let rows = match &session.position.target {
            None => session.difference(limits).await?,
            Some(target) => session.page(&target.clone(), limits).await?,
        };
        let Some(rows) = rows else { return Ok(None) };
        let records = session.records(&rows, &mut self.topics).await?;
        if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
            session.cleaner.sent(rows.len(), (first.get(0), last.get(0)), &session.position);
        }
        self.gauges.dead(session.dead.rows);
        if session.position.target.is_none() {
            self.gauges.backlog(0, Duration::ZERO);
        } else if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT_INTERVAL) {
            self.counted = Some(Instant::now());
            let rows = session.count(&self.outbox).await?;
            let oldest = records.first().map_or(SystemTime::UNIX_EPOCH, |record| {
                let millis = u64::try_from(record.timestamp.0).unwrap_or_default();
                SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
            });
            self.gauges.backlog(rows, oldest.elapsed().unwrap_or_default());
        }
        Ok(Some(SourceBatch { records, position: Some(session.position.clone()) }))
    }

    /// Waits until there may be more, at most that long.
    async fn rest(&mut self, most: Duration) {
        let pause = self.idle.min(most);
        self.idle = (self.idle * 2).min(IDLE_MAX);
        match self.session.as_ref().and_then(|session| session.listener.as_ref()) {
            // an error means that nothing was heard
            Some(listener) => drop(timeout(pause, listener.heard()).await),
            None => sleep(pause).await,
        }
    }
}

impl Session {
    /// The difference between the base and now; `None` if there is none.
    async fn difference(&mut self, limits: &BatchLimits) -> Result<Option<Vec<Row>>, SourceError> {
        let (count, bytes) = sizes(limits);
        let mut rows = self
            .client
            .query(&self.statements.first, &[&self.position.base, &count, &bytes])
            .await
            .map_err(failed)?;
        // the row without an id first, then by id
        rows.sort_by_key(|row| row.get::<_, Option<i64>>(0));
        let snapshot = rows.remove(0);
        let (now, inserted, flushed): (&str, i64, i64) =
            (snapshot.get(10), snapshot.get(11), snapshot.get(12));
        let found: i64 = snapshot.get(9);
        if found == 0 {
            // nothing between the two: the later one is as good, and cheaper to compare with
            now.clone_into(&mut self.position.base);
            self.caught_up = true;
            return Ok(None);
        }
        if flushed < inserted {
            wait_until_durable(&self.client, inserted).await?;
        }
        self.position.lsn = inserted.cast_unsigned();
        if found > count {
            let lowest = match &*self.position.base {
                // all rows there are
                NOTHING => 1,
                base => self.lowest(base).await?,
            };
            self.position.last_id = lowest - 1;
            return self.page(now, limits).await;
        }
        self.advance(&rows, limits, now);
        Ok(Some(rows))
    }

    async fn lowest(&self, base: &str) -> Result<i64, SourceError> {
        let row = self.client.query_one(&self.statements.lowest, &[&base]).await;
        Ok(row.map_err(failed)?.get::<_, Option<i64>>(0).unwrap_or(1))
    }

    /// The next page between base and target.
    async fn page(
        &mut self,
        target: &str,
        limits: &BatchLimits,
    ) -> Result<Option<Vec<Row>>, SourceError> {
        let (count, bytes) = sizes(limits);
        let position = &self.position;
        let mut rows = self
            .client
            .query(
                &self.statements.page,
                &[&position.base, &target, &position.last_id, &count, &bytes],
            )
            .await
            .map_err(failed)?;
        rows.sort_by_key(|row| row.get::<_, i64>(0));
        self.advance(&rows, limits, target);
        Ok(Some(rows))
    }

    /// Moves the position behind these rows of the difference up to `target`.
    fn advance(&mut self, rows: &[Row], limits: &BatchLimits, target: &str) {
        let (count, bytes) = sizes(limits);
        let last = rows.last().filter(|last| {
            let full = i64::try_from(rows.len()).is_ok_and(|len| len >= count);
            full || last.get::<_, i64>(9) >= bytes
        });
        let position = &mut self.position;
        if let Some(last) = last {
            position.target = Some(target.to_owned());
            position.last_id = last.get(0);
        } else {
            position.base = target.to_owned();
            position.target = None;
            position.last_id = 0;
            self.caught_up = true;
        }
    }

    /// Makes records of rows, and parks those whose aggregate has dead events.
    async fn records(
        &mut self,
        rows: &[Row],
        topics: &mut Topics,
    ) -> Result<Vec<SourceRecord>, SourceError> {
        let mut records = Vec::with_capacity(rows.len());
        let mut parked = Vec::new();
        for row in rows {
            let row = OutboxRow::read(row).map_err(failed)?;
            if self.dead.blocks(&row) {
                parked.push(row.id);
            } else {
                records.push(row.record(topics));
            }
        }
        if !parked.is_empty() {
            self.dead.park(&mut self.client, &parked).await?;
        }
        Ok(records)
    }

    /// Publishes dead events that an operator asked for. Only between two differences, and after a
    /// whole one was read in this session: then no row that is parked lies ahead of the position,
    /// to be published a second time.
    async fn revive(
        &mut self,
        limits: &BatchLimits,
        topics: &mut Topics,
    ) -> Result<Option<SourceBatch<OutboxPosition>>, SourceError> {
        if self.dead.is_empty() || !self.caught_up || self.position.target.is_some() {
            return Ok(None);
        }
        let reading = match self.dead.reading {
            Some(reading) => reading,
            None => match self.dead.ticket(&mut self.client, self.position.ticket).await? {
                Some(ticket) => (ticket, 0),
                None => return Ok(None),
            },
        };
        // these may be large, and there is no hurry
        let count = i64::try_from(limits.records.min(32)).unwrap_or(i64::MAX);
        let rows = self.dead.read(&self.client, reading, count).await?;
        let mut records = Vec::with_capacity(rows.len());
        for row in &rows {
            let row = OutboxRow::read(row).map_err(failed)?;
            self.dead.revived(&row);
            records.push(row.record(topics));
        }
        let full = i64::try_from(rows.len()).is_ok_and(|len| len >= count);
        if let Some(last) = rows.last().filter(|_| full) {
            // all of them in one transaction: there is no position in the middle
            self.dead.reading = Some((reading.0, last.get(0)));
            return Ok(Some(SourceBatch { records, position: None }));
        }
        self.dead.reading = None;
        self.position.ticket = reading.0;
        Ok(Some(SourceBatch { records, position: Some(self.position.clone()) }))
    }

    /// Counts what is left of the difference that is being read.
    async fn count(&self, outbox: &Outbox) -> Result<u64, SourceError> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT FROM {} WHERE id > $1
                 AND NOT pg_visible_in_snapshot(xid, (SELECT $2::text::pg_snapshot))
                 LIMIT {COUNTED_MAX}) AS rest",
            outbox.tables.outbox
        );
        let position = &self.position;
        let row = self.client.query_one(&sql, &[&position.last_id, &position.base]).await;
        Ok(row.map_err(failed)?.get::<_, i64>(0).unsigned_abs())
    }
}

/// A commit may be visible before it is on the server's disk (`synchronous_commit=off`): a crash
/// of the server would take back what was published (OB17).
async fn wait_until_durable(client: &Client, inserted: i64) -> Result<(), SourceError> {
    for attempt in 0.. {
        let row = client
            .query_typed_one(
                "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint >= $1",
                &[(&inserted, tokio_postgres::types::Type::INT8)],
            )
            .await
            .map_err(failed)?;
        if row.get(0) {
            break;
        }
        // those who wait for their own commits flush for us; else we do
        if attempt > 0 {
            client.batch_execute(FLUSH).await.map_err(failed)?;
        }
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn sizes(limits: &BatchLimits) -> (i64, i64) {
    let size = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    (size(limits.records), size(limits.bytes))
}

impl TransactionalSource for PollingOutbox {
    type Position = OutboxPosition;

    async fn open(
        &mut self,
        committed: Option<&OutboxPosition>,
    ) -> Result<Option<OutboxPosition>, SourceError> {
        self.session = None;
        self.idle = IDLE_MIN;
        let Some(settings) = &self.settings else {
            let text = "a PollingOutbox is given to a MessageRelay, which names the relay";
            return Err(SourceError::Failed(text.into()));
        };
        let (config, outbox) = (&self.config, &self.outbox);
        let opening = Opening { config, outbox, settings, timeline: self.timeline };
        let session = in_time("open the outbox", ANSWER_MAX, opening.open(committed)).await?;
        self.gauges.dead(session.dead.rows);
        let position = session.position.clone();
        self.session = Some(session);
        Ok(Some(position))
    }

    async fn poll(
        &mut self,
        limits: &BatchLimits,
    ) -> Result<Option<SourceBatch<OutboxPosition>>, SourceError> {
        let deadline = Instant::now() + limits.wait;
        loop {
            let look = in_time("answer", ANSWER_MAX, self.look(limits)).await;
            if let Some(batch) = look? {
                self.idle = IDLE_MIN;
                return Ok(Some(batch));
            }
            if !limits.wait.is_zero() {
                self.tidy().await?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                self.rest(left).await;
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    async fn committed(&mut self, position: &OutboxPosition) -> Result<(), SourceError> {
        if let Some(session) = &mut self.session {
            session.cleaner.committed(position);
        }
        self.tidy().await
    }

    async fn rejected(&mut self, record: &SourceRecord, why: &str) -> Result<(), SourceError> {
        let dead_letter =
            self.settings.as_ref().is_some_and(|settings| settings.poison == Poison::DeadLetter);
        let id = record.headers.iter().find(|header| header.key == "id");
        let id = id.and_then(|header| header.value.as_deref());
        let id = id.and_then(|bytes| Uuid::try_parse_ascii(bytes).ok());
        let (true, Some(event), Some(session)) = (dead_letter, id, &mut self.session) else {
            return Err(SourceError::Failed(why.into()));
        };
        let bury = session.dead.bury(&mut session.client, event, why, &session.opened);
        in_time("put an event aside", ANSWER_MAX, bury).await
    }
}

impl PollingOutbox {
    async fn tidy(&mut self) -> Result<(), SourceError> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let work = session.cleaner.work(&mut session.client);
        in_time("clean up", ANSWER_MAX, work).await
    }
}

impl OutboxSource for PollingOutbox {
    fn configure(&mut self, settings: RelaySettings) -> Result<(), OutboxError> {
        let drops = matches!(settings.cleanup, Cleanup::DropPartitions { .. });
        if drops && self.outbox.partition_period.is_none() {
            let text = "Cleanup::DropPartitions needs an outbox with partitions";
            return Err(OutboxError::Configuration(text.to_owned()));
        }
        self.settings = Some(settings);
        Ok(())
    }

    fn lag(&self) -> Arc<dyn Fn() -> OutboxLag + Send + Sync> {
        let gauges = Arc::clone(&self.gauges);
        Arc::new(move || gauges.read())
    }
}

impl fmt::Debug for PollingOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollingOutbox")
            .field("outbox", &self.outbox.tables.outbox)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
