//! The Message Relay: an outbox, a source that reads it, and the loop that publishes.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tidemill::client::ClientConfig;

use super::settings::{Cleanup, MissingPosition, Poison, RelaySettings, Shard};
use super::{OutboxError, OutboxLag};
use crate::source::{
    BatchLimits, COMMIT_INTERVAL, RelayError, RelayHandle, SourceRunner, Stop, TransactionalSource,
};

/// A way to read an outbox.
pub trait OutboxSource: TransactionalSource {
    /// Told once, before anything else, on behalf of which relay it works, and how.
    ///
    /// # Errors
    /// If it can't do what is asked.
    fn configure(&mut self, settings: RelaySettings) -> Result<(), OutboxError>;

    /// Returns how far behind it is, at any time.
    fn lag(&self) -> Arc<dyn Fn() -> OutboxLag + Send + Sync>;
}

/// Publishes what transactions staged in an outbox, each event once: see the
/// [module's page](super).
///
/// # Examples
/// ```no_run
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use tidemill::client::ClientConfig;
/// use tidemill_connect::outbox::{Cleanup, MessageRelay, Outbox, PollingOutbox};
///
/// let outbox = Outbox::new("outbox")?.topic_by_aggregate_type("shop.{aggregatetype}")?;
/// let mut kafka = ClientConfig::new();
/// kafka.set("bootstrap.servers", "localhost:9092");
/// let relay = MessageRelay::builder("order-service")
///     .source(PollingOutbox::new("host=localhost dbname=shop".parse()?, outbox))
///     .kafka(kafka)
///     .positions_topic("order-service-relay-positions")
///     .cleanup(Cleanup::DeleteAfterPublish { batch: 5_000 })
///     .build()?;
/// let handle = relay.spawn()?;
/// println!("{:?}", handle.lag());
/// handle.stop();
/// handle.wait()?;
/// # Ok(())
/// # }
/// ```
pub struct MessageRelay<S> {
    runner: SourceRunner<S>,
    lag: Arc<dyn Fn() -> OutboxLag + Send + Sync>,
}

impl MessageRelay<()> {
    /// Begins to configure a relay. Its name is its transactional id and the key of its position:
    /// it stays the same over restarts, and no other relay has it.
    #[must_use]
    pub fn builder(relay: &str) -> MessageRelayBuilder<()> {
        MessageRelayBuilder {
            settings: RelaySettings {
                relay: relay.to_owned(),
                cleanup: Cleanup::default(),
                poison: Poison::default(),
                missing_position: MissingPosition::default(),
                shard: Shard::ALL,
            },
            source: (),
            kafka: None,
            positions_topic: None,
            replication_factor: -1,
            transaction_timeout: Duration::from_secs(10),
            commit_interval: COMMIT_INTERVAL,
            limits: BatchLimits::default(),
        }
    }
}

impl<S: OutboxSource> MessageRelay<S> {
    /// Starts the relay on a thread of its own.
    ///
    /// # Errors
    /// If an option is wrong, or there is no thread to be had.
    pub fn spawn(self) -> Result<MessageRelayHandle, RelayError> {
        Ok(MessageRelayHandle { handle: self.runner.spawn()?, lag: self.lag })
    }

    /// Runs the relay until somebody asks it to stop, or it has to.
    ///
    /// # Errors
    /// Why it stopped, if nobody asked it to.
    pub fn run_until(self, stop: &Stop) -> Result<(), RelayError> {
        self.runner.run_until(stop)
    }
}

impl<S> fmt::Debug for MessageRelay<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageRelay").field("runner", &self.runner).finish_non_exhaustive()
    }
}

/// Configures a [`MessageRelay`].
pub struct MessageRelayBuilder<S> {
    settings: RelaySettings,
    source: S,
    kafka: Option<ClientConfig>,
    positions_topic: Option<String>,
    replication_factor: i16,
    transaction_timeout: Duration,
    commit_interval: Duration,
    limits: BatchLimits,
}

impl MessageRelayBuilder<()> {
    /// Sets what reads the outbox. Required.
    #[must_use]
    pub fn source<S: OutboxSource>(self, source: S) -> MessageRelayBuilder<S> {
        MessageRelayBuilder {
            settings: self.settings,
            source,
            kafka: self.kafka,
            positions_topic: self.positions_topic,
            replication_factor: self.replication_factor,
            transaction_timeout: self.transaction_timeout,
            commit_interval: self.commit_interval,
            limits: self.limits,
        }
    }
}

impl<S> MessageRelayBuilder<S> {
    /// Sets the options of all Kafka clients, by librdkafka's names. Required.
    #[must_use]
    pub fn kafka(mut self, config: ClientConfig) -> Self {
        self.kafka = Some(config);
        self
    }

    /// Sets the topic of the positions, which all relays of an application may share. It is created
    /// if it is missing. Required.
    #[must_use]
    pub fn positions_topic(mut self, name: &str) -> Self {
        self.positions_topic = Some(name.to_owned());
        self
    }

    /// Sets the replicas of a positions topic that is created; the broker's default if not set.
    #[must_use]
    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = replicas;
        self
    }

    /// Sets what becomes of published rows: deleted 5000 at a time if not set.
    #[must_use]
    pub fn cleanup(mut self, cleanup: Cleanup) -> Self {
        self.settings.cleanup = cleanup;
        self
    }

    /// Sets what becomes of an event that can't be sent: the relay stops if not set.
    #[must_use]
    pub fn on_poison(mut self, poison: Poison) -> Self {
        self.settings.poison = poison;
        self
    }

    /// Sets what happens if the position is gone: the relay stops if not set.
    #[must_use]
    pub fn on_missing_position(mut self, missing: MissingPosition) -> Self {
        self.settings.missing_position = missing;
        self
    }

    /// Makes it one of several relays that share the outbox, from 0 on: each has a name of its own
    /// and publishes the aggregates of its shard, in their order. One relay does for most.
    #[must_use]
    pub fn shard(mut self, index: u32, of: u32) -> Self {
        self.settings.shard = Shard { index, of };
        self
    }

    /// Sets how much is published at once: 1000 events or 1 MiB if not set.
    #[must_use]
    pub fn batch(mut self, limits: BatchLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how long a Kafka transaction may be open: 10 s if not set.
    #[must_use]
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.transaction_timeout = timeout;
        self
    }

    /// Sets how long batches are added to one transaction while there is a backlog: 100 ms if not
    /// set, see [`SourceRunner::commit_interval`].
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }
}

impl<S: OutboxSource> MessageRelayBuilder<S> {
    /// Makes the relay; nothing is connected yet.
    ///
    /// # Errors
    /// If something required is missing, or options contradict each other.
    pub fn build(mut self) -> Result<MessageRelay<S>, OutboxError> {
        let missing = |what: &str| OutboxError::Configuration(format!("{what} is not set"));
        let kafka = self.kafka.ok_or_else(|| missing("kafka"))?;
        let positions = self.positions_topic.ok_or_else(|| missing("positions_topic"))?;
        let Shard { index, of } = self.settings.shard;
        if of == 0 || index >= of || i32::try_from(of).is_err() {
            let text = format!("there is no shard {index} of {of}");
            return Err(OutboxError::Configuration(text));
        }
        if matches!(self.settings.cleanup, Cleanup::DeleteAfterPublish { batch: 0 }) {
            let text = "rows are deleted 0 at a time".to_owned();
            return Err(OutboxError::Configuration(text));
        }
        let relay = self.settings.relay.clone();
        self.source.configure(self.settings)?;
        let lag = self.source.lag();
        let runner = SourceRunner::new(&relay, self.source, kafka, &positions)
            .replication_factor(self.replication_factor)
            .transaction_timeout(self.transaction_timeout)
            .commit_interval(self.commit_interval)
            .batch(self.limits);
        Ok(MessageRelay { runner, lag })
    }
}

impl<S> fmt::Debug for MessageRelayBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageRelayBuilder")
            .field("settings", &self.settings)
            .field("positions_topic", &self.positions_topic)
            .finish_non_exhaustive()
    }
}

/// A relay that runs: a [`RelayHandle`] that knows the outbox too. Dropping it asks the relay to
/// stop, without waiting for it.
#[must_use = "the relay stops when its handle is dropped"]
pub struct MessageRelayHandle {
    handle: RelayHandle,
    lag: Arc<dyn Fn() -> OutboxLag + Send + Sync>,
}

impl MessageRelayHandle {
    /// Returns how far behind publishing is, as it was measured last.
    #[must_use]
    pub fn lag(&self) -> OutboxLag {
        (self.lag)()
    }

    /// Waits until the relay has ended, without asking it to.
    ///
    /// # Errors
    /// Why it stopped, if nobody asked it to.
    pub fn wait(self) -> Result<(), RelayError> {
        self.handle.wait()
    }
}

impl Deref for MessageRelayHandle {
    type Target = RelayHandle;

    fn deref(&self) -> &RelayHandle {
        &self.handle
    }
}

impl fmt::Debug for MessageRelayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
