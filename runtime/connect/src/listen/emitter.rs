//! Emits events: durable before the answer.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use tidemill::client::{ClientConfig, ClientError};
use tidemill::failpoint;
use tidemill::record::{Offset, TopicPartition};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::event::Event;
use super::producer::{Rounds, Sending};

/// Events that wait for the producer's thread; more wait in their callers.
const WAITING_MAX: usize = 1024;
/// How long the producer tries, unless the configuration says otherwise.
const DELIVERY_TIMEOUT_MS: &str = "30000";

/// Where an event is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its partition.
    pub partition: TopicPartition,
    /// Its offset. After a connection was lost on the way the broker does not tell it; it is then
    /// the offset of a later record.
    pub offset: Offset,
}

/// An event was not emitted, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// It may be in the log or not. Emit it again **with the same event id**: consumers apply it
    /// once.
    #[error("event {event_id} may or may not be in topic {topic}: emit it again with the same id")]
    Unknown {
        /// Its id.
        event_id: Uuid,
        /// The topic.
        topic: String,
        /// Why nobody knows.
        #[source]
        source: ClientError,
    },
    /// It is not in the log, and was not sent. The same may succeed later.
    #[error("event {event_id} was not sent to topic {topic}")]
    NotSent {
        /// Its id.
        event_id: Uuid,
        /// The topic.
        topic: String,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// It can't be sent at all.
    #[error("event {event_id} can't be sent to topic {topic}: {why}")]
    Refused {
        /// Its id.
        event_id: Uuid,
        /// The topic.
        topic: String,
        /// Why not.
        why: String,
    },
    /// The emitter's thread ended.
    #[error("the emitter of topic {topic} ended before event {event_id} was answered")]
    Gone {
        /// Its id.
        event_id: Uuid,
        /// The topic.
        topic: String,
    },
}

/// Emits events of one type to one topic. Cheap to clone; clones share the producer, and calls at
/// the same time share its requests.
///
/// The key is the event's, and there is no way to give another one:
///
/// ```compile_fail
/// # async fn example<E: tidemill_connect::listen::Event>(
/// #     emitter: tidemill_connect::listen::Emitter<E>, event: E,
/// # ) {
/// emitter.emit(&event, "another key").await;
/// # }
/// ```
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
/// use tidemill::client::ClientConfig;
/// use tidemill_connect::listen::{Emitter, Event};
/// use uuid::Uuid;
///
/// #[derive(Serialize, Deserialize)]
/// struct OrderPlaced { event_id: Uuid, order: String, cents: i64 }
///
/// impl Event for OrderPlaced {
///     const TYPE: &'static str = "OrderPlaced";
///     fn event_id(&self) -> Uuid { self.event_id }
///     fn key(&self) -> String { self.order.clone() }
/// }
///
/// # async fn example(placed: OrderPlaced) -> Result<(), Box<dyn std::error::Error>> {
/// let mut kafka = ClientConfig::new();
/// kafka.set("bootstrap.servers", "localhost:9092");
/// let emitter = Emitter::new(&kafka, "orders")?;
/// let receipt = emitter.emit(&placed).await?;
/// # Ok(())
/// # }
/// ```
pub struct Emitter<E> {
    topic: String,
    requests: mpsc::Sender<Sending>,
    event: PhantomData<fn(E)>,
}

impl<E: Event> Emitter<E> {
    /// Makes an emitter with an idempotent producer and `acks=all`; `kafka` needs
    /// `bootstrap.servers`. It connects in the background.
    ///
    /// # Errors
    /// If an option is not valid.
    pub fn new(kafka: &ClientConfig, topic: &str) -> Result<Self, ClientError> {
        let mut config = kafka.clone();
        if config.get("message.timeout.ms").is_none() {
            config.set("message.timeout.ms", DELIVERY_TIMEOUT_MS);
        }
        config.set("acks", "all").set("enable.idempotence", "true");
        let timeout = config.get("message.timeout.ms").and_then(|text| text.parse().ok());
        let timeout = Duration::from_millis(timeout.unwrap_or(30_000));
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        let rounds = Rounds::new(config, topic, timeout)?;
        let thread = std::thread::Builder::new().name(format!("emitter-{topic}"));
        thread.spawn(move || rounds.run(waiting)).map_err(|error| ClientError {
            operation: "start the emitter's thread",
            code: -1,
            name: "THREAD".to_owned(),
            message: error.to_string(),
            severity: tidemill::client::Severity::Fatal,
            timed_out: false,
        })?;
        Ok(Self { topic: topic.to_owned(), requests, event: PhantomData })
    }

    /// Sends an event and waits until it is durable. A caller that gives up waiting does not take
    /// it back.
    ///
    /// # Errors
    /// See [`EmitError`]: whatever it is, the same event may be emitted again.
    pub async fn emit(&self, event: &E) -> Result<Receipt, EmitError> {
        let event_id = event.event_id();
        let value = serde_json::to_vec(event).map_err(|error| EmitError::Refused {
            event_id,
            topic: self.topic.clone(),
            why: error.to_string(),
        })?;
        failpoint::pass("LY1A");
        let gone = || EmitError::Gone { event_id, topic: self.topic.clone() };
        let (tell, answer) = oneshot::channel();
        let sending = Sending { event_id, kind: E::TYPE, key: event.key(), value, tell };
        self.requests.send(sending).await.map_err(|_| gone())?;
        let answer = answer.await.map_err(|_| gone())?;
        failpoint::pass("LY1B");
        answer
    }
}

impl<E> Clone for Emitter<E> {
    fn clone(&self) -> Self {
        let (topic, requests) = (self.topic.clone(), self.requests.clone());
        Self { topic, requests, event: PhantomData }
    }
}

impl<E> fmt::Debug for Emitter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter").field("topic", &self.topic).finish_non_exhaustive()
    }
}
