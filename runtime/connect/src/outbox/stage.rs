//! Staging: events buffered beside the business writes, inserted right before the commit.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_postgres::types::{Json, Type};
use tokio_postgres::{Client, GenericClient, Transaction};
use uuid::Uuid;

use super::partitions;
use super::route::Route;
use super::schema::{EVENT_BYTES_MAX, Tables};
use super::{OutboxError, OutboxEvent};
use crate::postgres::TableName;

/// Inserts one event into the outbox `outbox`: event id, aggregate type, aggregate id, event type,
/// revision, payload, headers. For other clients of PostgreSQL; execute it **last** in the
/// transaction, after the business writes took their locks, or the order of an aggregate is lost.
pub const INSERT_SQL: &str = "INSERT INTO \"outbox\" \
    (event_id, aggregatetype, aggregateid, type, revision, payload, headers) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// What a transaction may have staged when it commits.
const STAGED_BYTES_MAX: usize = 64 << 20;

/// An outbox: which table, and which topics.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(super) tables: Tables,
    pub(super) route: Route,
    pub(super) partition_period: Option<Duration>,
    pub(super) notify: bool,
    staged_bytes_max: usize,
    insert: String,
}

impl Outbox {
    /// Names the table: `outbox`, or `shop.outbox`.
    ///
    /// Topics are `outbox.event.<aggregate type>` unless
    /// [`topic_by_aggregate_type`](Self::topic_by_aggregate_type) says otherwise.
    ///
    /// # Errors
    /// If the name is none, or too long for the tables beside it.
    pub fn new(table: &str) -> Result<Self, OutboxError> {
        let tables = Tables::new(TableName::new(table)?)?;
        let insert = format!(
            "INSERT INTO {} (event_id, aggregatetype, aggregateid, type, revision, payload, headers)
             SELECT event_id, aggregatetype, aggregateid, type, revision, payload, headers
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[],
                         $7::jsonb[])
                  WITH ORDINALITY AS staged (event_id, aggregatetype, aggregateid, type, revision,
                                             payload, headers, number)
             ORDER BY number",
            tables.outbox
        );
        Ok(Self {
            tables,
            route: Route::new("outbox.event.{aggregatetype}")?,
            partition_period: None,
            notify: false,
            staged_bytes_max: STAGED_BYTES_MAX,
            insert,
        })
    }

    /// Sets the topic's name, with `{aggregatetype}` where the aggregate's type goes, or without
    /// it for one topic. Staging and relay must have the same.
    ///
    /// # Errors
    /// If that can't be a topic's name.
    pub fn topic_by_aggregate_type(mut self, template: &str) -> Result<Self, OutboxError> {
        self.route = Route::new(template)?;
        Ok(self)
    }

    /// Has the table made with partitions by time of creation, of this length, which are dropped
    /// as a whole: see [`Cleanup::DropPartitions`](super::Cleanup::DropPartitions). A
    /// transaction whose partition was not made yet can't stage, so see that a relay runs.
    ///
    /// # Errors
    /// If the period is shorter than a minute.
    pub fn partitioned(mut self, period: Duration) -> Result<Self, OutboxError> {
        if period < Duration::from_secs(60) {
            let text = "a partition is a minute long at least".to_owned();
            return Err(OutboxError::Configuration(text));
        }
        self.partition_period = Some(period);
        Ok(self)
    }

    /// Has each commit wake the relay, which finds events within milliseconds anyway. Off unless
    /// set: `NOTIFY` makes all commits of the database cluster that notify queue up.
    #[must_use]
    pub fn notify(mut self) -> Self {
        self.notify = true;
        self
    }

    /// Sets how much a transaction may stage: 64 MiB if not set.
    #[must_use]
    pub fn staged_bytes_max(mut self, bytes: usize) -> Self {
        self.staged_bytes_max = bytes;
        self
    }

    /// Returns the name of the table.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.tables.outbox
    }

    /// Returns the table that events are put aside into which can't be published.
    #[must_use]
    pub fn dead_letter_table(&self) -> &TableName {
        &self.tables.dead
    }

    /// Returns the channel that commits notify if they do.
    pub(super) fn channel(&self) -> String {
        let name = self.tables.outbox.to_string();
        // longer names are cut by PostgreSQL, differently for LISTEN and pg_notify
        format!("tidemill_{:x}", Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_u128())
    }

    /// Returns the statements that make the tables, for a migration tool.
    #[must_use]
    pub fn ddl(&self) -> String {
        self.tables.ddl(self.partition_period.is_some())
    }

    /// Makes the tables unless they are there. Any number of processes may do it at once.
    ///
    /// # Errors
    /// If PostgreSQL refuses, or the tables are of another version.
    pub async fn ensure_schema(&self, client: &mut Client) -> Result<(), OutboxError> {
        self.tables.ensure(client, self.partition_period.is_some()).await?;
        if let Some(period) = self.partition_period {
            let made = partitions::make_ahead(client, &self.tables, period).await;
            made.map_err(OutboxError::postgres("make partitions of the outbox"))?;
        }
        Ok(())
    }

    /// Begins a transaction that events can be staged in.
    ///
    /// # Errors
    /// If PostgreSQL refuses or can't be reached.
    pub async fn begin<'a>(
        &'a self,
        client: &'a mut Client,
    ) -> Result<OutboxTransaction<'a>, OutboxError> {
        let transaction =
            client.transaction().await.map_err(OutboxError::postgres("begin a transaction"))?;
        Ok(self.join(transaction))
    }

    /// Has events staged in a transaction that began already, e.g. with an isolation level.
    #[must_use]
    pub fn join<'a>(&'a self, transaction: Transaction<'a>) -> OutboxTransaction<'a> {
        OutboxTransaction { transaction, outbox: self, staged: Vec::new(), bytes: 0 }
    }

    /// Inserts events at once, in this order. Call it **last** in a transaction of your own.
    ///
    /// # Errors
    /// If an event can't be published, or PostgreSQL refuses.
    pub async fn insert(
        &self,
        client: &impl GenericClient,
        events: &[OutboxEvent],
    ) -> Result<(), OutboxError> {
        if events.is_empty() {
            return Ok(());
        }
        for event in events {
            self.check(event)?;
        }
        let failed = || OutboxError::postgres(format!("insert into {}", self.tables.outbox));
        let ids: Vec<Uuid> = events.iter().map(|event| event.event_id).collect();
        let texts = |of: fn(&OutboxEvent) -> &str| events.iter().map(of).collect::<Vec<&str>>();
        let aggregate_types = texts(|event| &event.aggregate_type);
        let aggregate_ids = texts(|event| &event.aggregate_id);
        let types = texts(|event| &event.event_type);
        let revisions: Vec<Option<i64>> = events.iter().map(|event| event.revision).collect();
        let payloads: Vec<Option<&[u8]>> =
            events.iter().map(|event| event.payload.as_deref()).collect();
        let headers: Vec<Option<Json<&Map<String, Value>>>> = events
            .iter()
            .map(|event| (!event.headers.is_empty()).then_some(Json(&event.headers)))
            .collect();
        client
            .execute_typed(
                &self.insert,
                &[
                    (&ids, Type::UUID_ARRAY),
                    (&aggregate_types, Type::TEXT_ARRAY),
                    (&aggregate_ids, Type::TEXT_ARRAY),
                    (&types, Type::TEXT_ARRAY),
                    (&revisions, Type::INT8_ARRAY),
                    (&payloads, Type::BYTEA_ARRAY),
                    (&headers, Type::JSONB_ARRAY),
                ],
            )
            .await
            .map_err(failed())?;
        if self.notify {
            client
                .execute_typed("SELECT pg_notify($1, '')", &[(&self.channel(), Type::TEXT)])
                .await
                .map_err(failed())?;
        }
        Ok(())
    }

    fn check(&self, event: &OutboxEvent) -> Result<(), OutboxError> {
        let topic = self.route.topic(&event.aggregate_type).map(drop);
        topic.and_then(|()| event.check(EVENT_BYTES_MAX)).map_err(|why| event.refused(why))
    }
}

/// A transaction of PostgreSQL that events are staged in. It is one by `Deref`; dropped without
/// [`commit`](Self::commit) it rolls back, and its events never were.
///
/// Events are kept in memory until the commit: only then, after the business writes took their
/// locks, do they draw their place in the order. So a savepoint that is rolled back does not take
/// staged events back.
pub struct OutboxTransaction<'a> {
    transaction: Transaction<'a>,
    outbox: &'a Outbox,
    staged: Vec<OutboxEvent>,
    bytes: usize,
}

impl OutboxTransaction<'_> {
    /// Stages an event, to be published if and only if this transaction commits.
    ///
    /// # Errors
    /// If it can't be published: too large, no topic for its aggregate's type, a reserved header.
    /// The transaction can go on without it.
    pub fn stage(&mut self, event: OutboxEvent) -> Result<(), OutboxError> {
        self.outbox.check(&event)?;
        let bytes = self.bytes + event.size();
        if bytes > self.outbox.staged_bytes_max {
            let limit = self.outbox.staged_bytes_max;
            return Err(event.refused(format!("the transaction has staged {limit} bytes already")));
        }
        self.bytes = bytes;
        self.staged.push(event);
        Ok(())
    }

    /// Returns how many events are staged.
    #[must_use]
    pub fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Inserts the events and commits.
    ///
    /// # Errors
    /// If PostgreSQL refuses; all is rolled back then. Where the connection was lost in the commit
    /// itself the outcome is unknown, as always.
    pub async fn commit(self) -> Result<(), OutboxError> {
        self.outbox.insert(&self.transaction, &self.staged).await?;
        self.transaction.commit().await.map_err(OutboxError::postgres("commit"))
    }

    /// Rolls back; dropping does the same.
    ///
    /// # Errors
    /// If the connection is lost; PostgreSQL rolls back then.
    pub async fn rollback(self) -> Result<(), OutboxError> {
        self.transaction.rollback().await.map_err(OutboxError::postgres("roll back"))
    }
}

impl<'a> Deref for OutboxTransaction<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

impl<'a> DerefMut for OutboxTransaction<'a> {
    fn deref_mut(&mut self) -> &mut Transaction<'a> {
        &mut self.transaction
    }
}

impl fmt::Debug for OutboxTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransaction")
            .field("table", &self.outbox.tables.outbox)
            .field("staged", &self.staged.len())
            .finish_non_exhaustive()
    }
}
