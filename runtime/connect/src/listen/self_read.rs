//! The consumer of one's own events: offsets against redelivery, event ids against resends.

use std::fmt;
use std::marker::PhantomData;

use tidemill::client::ClientConfig;
use tokio_postgres::{Client, Config, Transaction};

use super::event::Event;
use crate::inbox::Inbox;
use crate::sink::postgres::{HandlerFuture, PostgresTarget, PostgresWriter};
use crate::sink::{Applied, PostgresSink, Sink, SinkRecord};

/// A consumer of events: the emitting service's own, or anybody's.
///
/// ```no_run
/// # use serde::{Deserialize, Serialize};
/// # use uuid::Uuid;
/// # use tidemill_connect::listen::{Event, SelfRead};
/// # #[derive(Serialize, Deserialize)]
/// # struct OrderPlaced { event_id: Uuid, order: String, cents: i64 }
/// # impl Event for OrderPlaced {
/// #     const TYPE: &'static str = "OrderPlaced";
/// #     fn event_id(&self) -> Uuid { self.event_id }
/// #     fn key(&self) -> String { self.order.clone() }
/// # }
/// # async fn example(
/// #     kafka: &tidemill::client::ClientConfig, database: &tokio_postgres::Config,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// SelfRead::<OrderPlaced>::new(kafka, database, "order-service", "orders")
///     .apply(|tx, placed| Box::pin(async move {
///         tx.execute(
///             "INSERT INTO orders (id, cents) VALUES ($1, $2)",
///             &[&placed.order, &placed.cents],
///         ).await?;
///         Ok(())
///     }))
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a consumer does nothing before it is told what to apply and spawned"]
pub struct SelfRead<E> {
    sink: PostgresSink,
    consumer: String,
    inbox: Inbox,
    event: PhantomData<fn(E)>,
}

impl<E: Event> SelfRead<E> {
    /// Names the consumer (its group, its offsets, its part of the inbox) and the topic.
    pub fn new(kafka: &ClientConfig, database: &Config, consumer: &str, topic: &str) -> Self {
        Self {
            sink: PostgresSink::new(kafka, database, consumer).topics([topic]),
            consumer: consumer.to_owned(),
            inbox: Inbox::default(),
            event: PhantomData,
        }
    }

    /// Remembers the events in another inbox than the table `inbox`.
    pub fn inbox(mut self, inbox: Inbox) -> Self {
        self.inbox = inbox;
        self
    }

    /// Changes settings of the sink that carries it: tables, limits, isolation.
    pub fn settings(mut self, change: impl FnOnce(PostgresSink) -> PostgresSink) -> Self {
        self.sink = change(self.sink);
        self
    }

    /// Applies each event once, with this handler, in the transaction that moves the offset and
    /// notes the event id. As with [`PostgresSink::with`], it must do nothing but work on the
    /// database.
    pub fn apply<H>(self, handler: H) -> Sink<PostgresTarget<SelfReadWriter<E, H>>>
    where
        H: EventHandler<E>,
    {
        let (consumer, inbox) = (self.consumer, self.inbox);
        self.sink.writer(SelfReadWriter { consumer, inbox, handler, event: PhantomData })
    }
}

impl<E> fmt::Debug for SelfRead<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfRead").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}

/// What is done with an event: any function of this shape.
pub trait EventHandler<E>:
    for<'a> Fn(&'a Transaction<'a>, &'a E) -> HandlerFuture<'a> + Send + Sync + 'static
{
}

impl<E, H> EventHandler<E> for H where
    H: for<'a> Fn(&'a Transaction<'a>, &'a E) -> HandlerFuture<'a> + Send + Sync + 'static
{
}

/// Applies events that are not in the inbox. Made by [`SelfRead::apply`].
pub struct SelfReadWriter<E, H> {
    consumer: String,
    inbox: Inbox,
    handler: H,
    event: PhantomData<fn(E)>,
}

impl<E: Event, H: EventHandler<E>> PostgresWriter for SelfReadWriter<E, H> {
    async fn prepare(&mut self, client: &Client) -> Result<(), tidemill::BoxError> {
        Ok(self.inbox.ensure_schema(client).await?)
    }

    async fn write(
        &self,
        tx: &Transaction<'_>,
        records: &[&SinkRecord],
    ) -> Result<Applied, tidemill::BoxError> {
        let events: Vec<E> = records
            .iter()
            .map(|record| record.json().map_err(|error| format!("{}: {error}", record.place())))
            .collect::<Result<_, _>>()?;
        let ids = events.iter().map(Event::event_id);
        let mut fresh = self.inbox.first_times(tx, &self.consumer, ids).await?;
        let mut ignored = 0;
        for event in &events {
            if fresh.remove(&event.event_id()) {
                (self.handler)(tx, event).await?;
            } else {
                ignored += 1;
            }
        }
        Ok(Applied { ignored })
    }
}

impl<E, H> fmt::Debug for SelfReadWriter<E, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfReadWriter").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}
