//! Starting, watching and stopping an application.
//!
//! ```text
//!   Tidemill -- worker threads (num.stream.threads): one consumer and one producer each
//!            -- one restoring thread
//!            -- one thread that fills the global stores, if there are any: before anything else
//!            -- one housekeeping thread: purges repartition topics, deletes abandoned state
//! ```

mod fences;
mod global_loop;
mod housekeeping;
mod process;
mod run;
mod state;
mod threads;
mod worker_loop;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidemill_core::errors::{
    DeadLetterQueue, DeserializationExceptionHandler, Handlers, LogAndContinue, LogAndFail,
    ProcessingExceptionHandler, ProductionExceptionHandler,
};
use tidemill_core::topology::Topology;

use crate::Error;
use crate::config::{Config, ExceptionPolicy};
use crate::restore::StateRestoreListener;
use crate::storage::{RocksDisk, SharedRocks};
use crate::world::SystemWorld;

#[cfg(feature = "simulation")]
pub(crate) use process::Control;
pub(crate) use process::{Application, Process};
pub(crate) use state::StateCell;
use state::StateListener;
use threads::Threads;

pub use state::State;

/// What becomes of the application when a worker fails with an error that no handler absorbed
/// (KIP-671).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamThreadExceptionResponse {
    /// Start a new worker in its place. A record that fails again fails the new one too.
    ReplaceThread,
    /// Stop all workers of this process; the state becomes [`State::Error`]. The default.
    ShutdownClient,
}

/// How to close.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CloseOptions {
    stay_in_group: bool,
}

impl CloseOptions {
    /// Leaves the group: the partitions go to other processes at once. The default.
    #[must_use]
    pub fn leave_group() -> Self {
        Self { stay_in_group: false }
    }

    /// Stays a member of the group, for a restart within `session.timeout.ms`: nobody else takes
    /// the partitions meanwhile. Has an effect with static membership only.
    #[must_use]
    pub fn stay_in_group() -> Self {
        Self { stay_in_group: true }
    }
}

/// Counts since the start, over all workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Source records processed, aborted work included.
    pub records: u64,
    /// Records dropped by handlers or by an operator's own rules.
    pub dropped: u64,
    /// Records that a deduplication ignored: they were here before, or are older than one that was.
    pub ignored: u64,
    /// Commits acknowledged.
    pub commits: u64,
    /// Transactions aborted.
    pub aborts: u64,
    /// Producers replaced.
    pub rebuilds: u64,
    /// Tasks that had to be restored.
    pub restores: u64,
    /// Tasks whose local state was current, so that they ran at once.
    pub resumes: u64,
    /// Changelog records applied by restoring.
    pub restored_records: u64,
}

type UncaughtHandler = Arc<dyn Fn(&Error) -> StreamThreadExceptionResponse + Send + Sync>;

/// An application: a topology that runs.
///
/// ```no_run
/// # use tidemill::{Config, Tidemill, topology::Topology};
/// # async fn example(topology: Topology) -> Result<(), tidemill::Error> {
/// let config = Config::new("balances", "localhost:9092").with_state_dir("/var/lib/balances");
/// Tidemill::new(topology, config)?.run().await
/// # }
/// ```
pub struct Tidemill {
    application: Application,
    started: bool,
    state_listener: Option<StateListener>,
    state: Arc<StateCell>,
    threads: Option<Threads>,
}

impl fmt::Debug for Tidemill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tidemill")
            .field("config", &self.application.config)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Tidemill {
    /// Makes an application of a topology. Nothing is started or connected yet.
    ///
    /// # Errors
    /// If the configuration breaks rules (all are listed), or the topology has no source.
    pub fn new(topology: Topology, config: Config) -> Result<Self, Error> {
        Ok(Self {
            application: Application::new(topology, config)?,
            started: false,
            state_listener: None,
            state: StateCell::new(None),
            threads: None,
        })
    }

    /// Decides on records that can't be read, instead of `deserialization.exception.handler`.
    #[must_use]
    pub fn with_deserialization_exception_handler(
        mut self,
        handler: impl DeserializationExceptionHandler + 'static,
    ) -> Self {
        self.application.handlers.deserialization = Arc::new(handler);
        self
    }

    /// Decides on errors of processors, instead of `processing.exception.handler`.
    #[must_use]
    pub fn with_processing_exception_handler(
        mut self,
        handler: impl ProcessingExceptionHandler + 'static,
    ) -> Self {
        self.application.handlers.processing = Arc::new(handler);
        self
    }

    /// Decides on records that can't be sent, instead of `production.exception.handler`.
    #[must_use]
    pub fn with_production_exception_handler(
        mut self,
        handler: impl ProductionExceptionHandler + 'static,
    ) -> Self {
        self.application.handlers.production = Arc::new(handler);
        self
    }

    /// Decides what becomes of the application when a worker fails.
    #[must_use]
    pub fn with_uncaught_exception_handler(
        mut self,
        handler: impl Fn(&Error) -> StreamThreadExceptionResponse + Send + Sync + 'static,
    ) -> Self {
        self.application.uncaught = Arc::new(handler);
        self
    }

    /// Is told about every change of the state: the new one and the old one. Called on the thread
    /// that made the change, so it should be quick.
    #[must_use]
    pub fn with_state_listener(
        mut self,
        listener: impl Fn(State, State) + Send + Sync + 'static,
    ) -> Self {
        self.state_listener = Some(Box::new(listener));
        self
    }

    /// Is told about the progress of restoring.
    #[must_use]
    pub fn with_global_state_restore_listener(
        mut self,
        listener: impl StateRestoreListener + 'static,
    ) -> Self {
        self.application.restore_listener = Arc::new(listener);
        self
    }

    /// Returns where the application stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Locks the state directory, checks and creates topics, and starts the threads.
    ///
    /// Blocks while the broker is asked, for at most 30 s or `task.timeout.ms`.
    ///
    /// # Errors
    /// If it was started before, another process has the state directory, the broker can't be
    /// reached, or topics are missing or do not fit.
    pub fn start(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.started, true) {
            return Err(Error::Thread("the application was already started".to_owned()));
        }
        self.state = StateCell::new(self.state_listener.take());
        let begun = self.begin();
        if begun.is_err() {
            self.state.set(State::PendingError);
            self.state.set(State::Error);
        }
        begun
    }

    fn begin(&mut self) -> Result<(), Error> {
        let config = &self.application.config;
        let jobs = u32::try_from(config.effective_rocksdb_background_jobs()).unwrap_or(2);
        let rocks = SharedRocks::new(
            config.rocksdb_block_cache.as_usize(),
            config.rocksdb_write_buffer.as_usize(),
            NonZeroU32::new(jobs).unwrap_or(NonZeroU32::MIN),
        )?;
        let world = SystemWorld::new(RocksDisk::new(rocks));
        let process = Process::prepare(world, &self.application, &self.state)?;
        self.threads = Some(Threads::start(process)?);
        Ok(())
    }

    /// Stops: commits what was processed, closes the stores and leaves the group.
    ///
    /// Returns whether everything had stopped within `timeout`.
    pub fn close(&mut self, timeout: Duration) -> bool {
        self.close_with(CloseOptions::leave_group(), timeout)
    }

    /// As [`Tidemill::close`], with options.
    pub fn close_with(&mut self, options: CloseOptions, timeout: Duration) -> bool {
        self.state.set(State::PendingShutdown);
        let Some(threads) = &mut self.threads else {
            self.state.set(State::NotRunning);
            return true;
        };
        let stopped = threads.stop(options.stay_in_group, timeout);
        if stopped {
            let failed = matches!(self.state.get(), State::PendingError | State::Error);
            self.state.set(if failed { State::Error } else { State::NotRunning });
        }
        stopped
    }

    /// Returns the error of the first worker that failed, once.
    pub fn take_error(&mut self) -> Option<Error> {
        self.threads.as_ref().and_then(Threads::take_error)
    }

    /// Returns counts since the start.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let Some(threads) = &self.threads else { return Metrics::default() };
        let sum = |pick: fn(&crate::worker::WorkerStatus) -> &std::sync::atomic::AtomicU64| {
            threads.statuses().map(|status| pick(status).load(Ordering::Relaxed)).sum()
        };
        Metrics {
            records: sum(|status| &status.records),
            dropped: sum(|status| &status.dropped),
            ignored: sum(|status| &status.ignored),
            commits: sum(|status| &status.commits),
            aborts: sum(|status| &status.aborts),
            rebuilds: sum(|status| &status.rebuilds),
            restores: sum(|status| &status.restores),
            resumes: sum(|status| &status.resumes),
            restored_records: threads.restored_records(),
        }
    }
}

/// The handlers that the configuration names.
fn handlers(config: &Config) -> Handlers {
    macro_rules! handler {
        ($policy:expr) => {
            match ($policy, &config.dead_letter_queue_topic) {
                (ExceptionPolicy::Continue, _) => Arc::new(LogAndContinue),
                (ExceptionPolicy::DeadLetterQueue, Some(topic)) => {
                    Arc::new(DeadLetterQueue(topic.clone()))
                }
                // a dead letter queue without a topic does not pass the validation
                (ExceptionPolicy::Fail | ExceptionPolicy::DeadLetterQueue, _) => {
                    Arc::new(LogAndFail)
                }
            }
        };
    }
    Handlers {
        deserialization: handler!(config.deserialization_exception_handler),
        processing: handler!(config.processing_exception_handler),
        production: handler!(config.production_exception_handler),
    }
}
