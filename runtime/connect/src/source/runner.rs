//! Configuring, starting and stopping a relay.

use std::fmt;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tidemill::client::{ClientConfig, ClientError};
use tokio::sync::watch;

use super::run::Relay;
use super::status::Status;
use super::{BatchLimits, RelayError, RelayMetrics, RelayState, Stop, TransactionalSource};

/// How long batches are added to a transaction, if nobody says otherwise.
pub(crate) const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

/// How a relay talks to Kafka.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) relay: String,
    pub(super) positions_topic: String,
    pub(super) kafka: ClientConfig,
    pub(super) replication_factor: i16,
    pub(super) transaction_timeout: Duration,
    pub(super) position_timeout: Duration,
    pub(super) commit_interval: Duration,
    pub(super) limits: BatchLimits,
}

impl Options {
    pub(super) fn new(relay: &str, kafka: ClientConfig, positions_topic: &str) -> Self {
        Self {
            relay: relay.to_owned(),
            positions_topic: positions_topic.to_owned(),
            kafka,
            replication_factor: -1,
            transaction_timeout: Duration::from_secs(10),
            position_timeout: Duration::from_secs(120),
            commit_interval: COMMIT_INTERVAL,
            limits: BatchLimits::default(),
        }
    }

    pub(super) fn kafka_error(&self, doing: &str, cause: ClientError) -> RelayError {
        RelayError::Kafka { relay: self.relay.clone(), doing: doing.to_owned(), cause }
    }

    pub(super) fn superseded(&self, cause: ClientError) -> RelayError {
        RelayError::Superseded { relay: self.relay.clone(), cause }
    }

    pub(super) fn check(&self) -> Result<(), RelayError> {
        let refused = |text: &str| Err(RelayError::Configuration(text.to_owned()));
        if self.relay.is_empty() || self.positions_topic.is_empty() {
            return refused("the relay and its positions topic need a name");
        }
        let id = self.kafka.get("transactional.id");
        if id.is_some_and(|id| id != self.relay) {
            return refused("transactional.id is the relay's name: leave it out");
        }
        if self.limits.records == 0 || self.limits.bytes == 0 {
            return refused("a batch must have room for a record");
        }
        if self.transaction_timeout < Duration::from_secs(1) {
            return refused("a transaction needs a second at least");
        }
        if self.commit_interval > self.transaction_timeout / 2 {
            return refused("the commit interval must be at most half the transaction timeout");
        }
        Ok(())
    }
}

/// Takes a source's records into Kafka, each once: see the [module's page](super).
///
/// # Examples
/// ```no_run
/// # use tidemill_connect::source::{RelayError, TransactionalSource};
/// # fn run(source: impl TransactionalSource) -> Result<(), RelayError> {
/// use tidemill::client::ClientConfig;
/// use tidemill_connect::source::SourceRunner;
///
/// let mut kafka = ClientConfig::new();
/// kafka.set("bootstrap.servers", "localhost:9092");
/// let relay = SourceRunner::new("order-service", source, kafka, "order-service-positions");
/// let handle = relay.spawn()?;
/// // .. and when the service ends:
/// handle.stop();
/// handle.wait()?;
/// # Ok(())
/// # }
/// ```
pub struct SourceRunner<S> {
    options: Options,
    source: S,
}

impl<S: TransactionalSource> SourceRunner<S> {
    /// Makes a relay. Its name is its transactional id and the key of its position: two that run
    /// with the same name at the same time fence each other, and the newer one goes on.
    ///
    /// The positions topic may be shared by all relays of an application; it is created if it is
    /// missing. `kafka` are the options of all clients, by librdkafka's names.
    #[must_use]
    pub fn new(relay: &str, source: S, kafka: ClientConfig, positions_topic: &str) -> Self {
        Self { options: Options::new(relay, kafka, positions_topic), source }
    }

    /// Sets the replicas of a positions topic that is created; the broker's default if not set.
    #[must_use]
    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.options.replication_factor = replicas;
        self
    }

    /// Sets how long a transaction may be open: 10 s if not set. Readers of the topics wait for a
    /// relay that died for so long at most, unless it is back before.
    #[must_use]
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.options.transaction_timeout = timeout;
        self
    }

    /// Sets how long the reading of the position may wait for open transactions of other relays in
    /// the positions topic: 2 minutes if not set. It begins again after that.
    #[must_use]
    pub fn position_timeout(mut self, timeout: Duration) -> Self {
        self.options.position_timeout = timeout;
        self
    }

    /// Sets how long batches are added to one transaction while much comes at a time, as from a
    /// backlog: 100 ms if not set, as Kafka Streams commits under exactly-once. Zero commits each
    /// batch on its own. Less than a quarter of a full batch is always committed at once.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.options.commit_interval = interval;
        self
    }

    /// Sets how much may be read and sent at once.
    #[must_use]
    pub fn batch(mut self, limits: BatchLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Starts the relay on a thread of its own.
    ///
    /// # Errors
    /// If an option is wrong, or there is no thread to be had. All that concerns Kafka or the
    /// source is told by [`RelayHandle::wait`].
    pub fn spawn(self) -> Result<RelayHandle, RelayError> {
        self.spawn_with(Stop::new())
    }

    fn spawn_with(self, stop: Stop) -> Result<RelayHandle, RelayError> {
        self.options.check()?;
        let options = Arc::new(self.options);
        let status = Arc::new(Status::default());
        let relay = Relay::new(&options, self.source, &stop, &status)?;
        let (ending, ended) = watch::channel(false);
        let told = Arc::clone(&status);
        let body = move || {
            let outcome = relay.run();
            told.enter(RelayState::Ended);
            // nobody may be left to be told
            let _ = ending.send(true);
            outcome
        };
        let name = format!("relay-{}", options.relay);
        let thread = Builder::new().name(name).spawn(body).map_err(|cause| {
            RelayError::Resources { relay: options.relay.clone(), cause: cause.into() }
        })?;
        Ok(RelayHandle { relay: options.relay.clone(), stop, status, ended, thread: Some(thread) })
    }

    /// Runs the relay until somebody asks it to stop, or it has to: [`SourceRunner::spawn`] and
    /// [`RelayHandle::wait`] in one.
    ///
    /// # Errors
    /// Why it stopped, if nobody asked it to.
    pub fn run_until(self, stop: &Stop) -> Result<(), RelayError> {
        self.spawn_with(stop.clone())?.wait()
    }
}

impl<S> fmt::Debug for SourceRunner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceRunner").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A relay that runs. Dropping it asks the relay to stop, without waiting for it.
#[derive(Debug)]
#[must_use = "the relay stops when its handle is dropped"]
pub struct RelayHandle {
    relay: String,
    stop: Stop,
    status: Arc<Status>,
    ended: watch::Receiver<bool>,
    thread: Option<JoinHandle<Result<(), RelayError>>>,
}

impl RelayHandle {
    /// Returns the relay's name.
    #[must_use]
    pub fn relay(&self) -> &str {
        &self.relay
    }

    /// Returns what the relay did and where it stands.
    #[must_use]
    pub fn metrics(&self) -> RelayMetrics {
        self.status.read()
    }

    /// Asks the relay to finish the batch in hand and to stop. Returns at once.
    pub fn stop(&self) {
        self.stop.request();
    }

    /// Returns true if the relay ended, for whatever reason; [`RelayHandle::wait`] tells it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Completes when the relay has ended. On any runtime.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // an error means that the thread is gone
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Waits until the relay has ended, without asking it to.
    ///
    /// # Errors
    /// Why it stopped, if nobody asked it to.
    pub fn wait(mut self) -> Result<(), RelayError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| {
            let cause = "its thread ended by a panic, see the log".into();
            Err(RelayError::Resources { relay: self.relay.clone(), cause })
        })
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.stop.request();
    }
}
