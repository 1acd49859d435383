//! A service that is a participant: commands from Kafka into its database, replies back to Kafka.
//!
//! A command counts as read only after its reply is in Kafka, and it is in Kafka only after the
//! answer is committed in the database. Killed in between, the service reads the command again and
//! repeats the answer that it remembers; the orchestrator ignores what it has heard before. So the
//! replies need no outbox: the remembered answers are it, and the unread commands its relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill::BoxError;
use tidemill::client::{ClientConfig, ClientError, Severity, Waker};
use tokio_postgres::{Config, Transaction};

use super::postgres::{ParticipantError, PgParticipant};
use super::session::Session;
use crate::saga::message::{Answer, Command};

/// The pause after a failure, doubled after each further one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How a service is run.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    pub(super) kafka: ClientConfig,
    pub(super) database: Config,
    pub(super) group: String,
    pub(super) topics: Vec<String>,
    pub(super) dead_letters: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) session_timeout: Duration,
}

impl ServiceOptions {
    /// Reads commands of one topic as a member of the consumer group. Several services of a group
    /// share the partitions.
    #[must_use]
    pub fn new(
        kafka: ClientConfig,
        database: Config,
        group: impl Into<String>,
        topic: impl Into<String>,
    ) -> Self {
        Self {
            kafka,
            database,
            group: group.into(),
            topics: vec![topic.into()],
            dead_letters: None,
            instance: None,
            session_timeout: Duration::from_secs(10),
        }
    }

    /// Makes it a static member of its group under this name (`group.instance.id`), different for
    /// each service of the group: started again, it has its partitions at once. Whoever starts a
    /// second one under the same name stops the first.
    #[must_use]
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Sets after which time without a sign of life its partitions go to others. Default: 10 s.
    #[must_use]
    pub fn session_timeout(mut self, time: Duration) -> Self {
        self.session_timeout = time;
        self
    }

    /// Reads a further topic.
    #[must_use]
    pub fn and(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Writes records that are no commands to this topic, and goes on. Without it they stop the
    /// service.
    #[must_use]
    pub fn dead_letters(mut self, topic: impl Into<String>) -> Self {
        self.dead_letters = Some(topic.into());
        self
    }
}

/// A service can't go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Kafka.
    #[error("participant {group}: {cause}")]
    Kafka {
        /// The consumer group.
        group: String,
        /// What the client says.
        #[source]
        cause: ClientError,
    },
    /// The database can't be reached.
    #[error("participant {group} could not connect to its database")]
    Connect {
        /// The consumer group.
        group: String,
        /// What it says.
        #[source]
        cause: tokio_postgres::Error,
    },
    /// A command was not handled.
    #[error("participant {group} stands at {at}")]
    Command {
        /// The consumer group.
        group: String,
        /// Topic, partition and offset.
        at: String,
        /// Why.
        #[source]
        cause: Box<ParticipantError>,
    },
    /// A record that is no command.
    #[error(
        "participant {group}: {at} is no command: {why}; set a topic for dead letters to go on \
         without it"
    )]
    Poison {
        /// The consumer group.
        group: String,
        /// Topic, partition and offset.
        at: String,
        /// What is wrong.
        why: String,
    },
    /// The system has no thread or runtime for it.
    #[error("the participant's thread could not be run: {0}")]
    Thread(String),
}

impl ServiceError {
    /// Whether the service tries again by itself. What a participant's effect says is tried again:
    /// an answer would have said that it was refused.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Kafka { cause, .. } => {
                cause.severity != Severity::Fatal || cause.is_unknown_topic_or_partition()
            }
            Self::Connect { cause, .. } => crate::postgres::is_transient(cause),
            Self::Command { cause, .. } => {
                cause.is_retriable() || matches!(**cause, ParticipantError::Effect { .. })
            }
            Self::Poison { .. } | Self::Thread(_) => false,
        }
    }
}

/// Told to a service: to stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    requested: AtomicBool,
    pub(super) waker: Arc<Waker>,
}

impl Stop {
    pub(super) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }
}

/// A service that runs on a thread of its own. Dropping it stops it.
#[derive(Debug)]
pub struct ParticipantService {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<Result<(), ServiceError>>>,
}

impl ParticipantService {
    /// Makes the participant's table if it is not there, and begins to handle commands. Failures
    /// that time heals are logged, and everything is opened again after a pause.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn start<E>(
        options: ServiceOptions,
        participant: PgParticipant,
        effect: E,
    ) -> Result<Self, ServiceError>
    where
        E: AsyncFn(&Transaction<'_>, &Command) -> Result<Answer, BoxError> + Send + 'static,
    {
        let stop = Arc::new(Stop::default());
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name(format!("saga-{}", options.group))
            .spawn(move || run(&options, &participant, &effect, &told))
            .map_err(|error| ServiceError::Thread(error.to_string()))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Whether it runs; if it does not, [`ParticipantService::stop`] tells why.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops after the commands that are being handled, and leaves the group.
    ///
    /// # Errors
    /// What had ended it before.
    pub fn stop(mut self) -> Result<(), ServiceError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), ServiceError> {
        self.stop.requested.store(true, Ordering::Release);
        self.stop.waker.wake();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let panicked = |_| Err(ServiceError::Thread("it panicked".to_owned()));
        thread.join().unwrap_or_else(panicked)
    }
}

impl Drop for ParticipantService {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(error = chain(&error), "a participant had ended");
        }
    }
}

fn run<E>(
    options: &ServiceOptions,
    participant: &PgParticipant,
    effect: &E,
    stop: &Arc<Stop>,
) -> Result<(), ServiceError>
where
    E: AsyncFn(&Transaction<'_>, &Command) -> Result<Answer, BoxError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ServiceError::Thread(error.to_string()))?;
    let mut pause = PAUSE;
    while !stop.is_requested() {
        let (mut handled, told) = (false, Arc::clone(stop));
        let ended = runtime.block_on(async {
            let mut session = Session::open(options, participant, told).await?;
            session.run(effect, &mut handled).await
        });
        match ended {
            Ok(()) => break,
            Err(error) if error.is_retriable() => {
                tracing::warn!(error = chain(&error), "a participant begins again");
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "a participant stops");
                return Err(error);
            }
        }
        pause = if handled { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
        stop.waker.wait(pause);
    }
    Ok(())
}

/// An error with what caused it.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
