//! Applications in the process of the test: everything that their interface shows can be asked.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::record::{Offset, TopicPartition};
use tidemill::topology::Topology;
use tidemill::{
    Config, Error, Metrics, State, StateRestoreListener, StreamThreadExceptionResponse, Tidemill,
};

use super::ledger::Spec;
use super::{PATIENCE, until};

/// What the restore listener was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restored {
    Start(String, Offset, Offset),
    Batch(String, Offset, u64),
    End(String, u64),
    Suspended(String),
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Restored>>>);

impl Events {
    fn push(&self, event: Restored) {
        self.0.lock().unwrap().push(event);
    }
}

impl StateRestoreListener for Events {
    fn on_restore_start(&self, _: &TopicPartition, store: &str, start: Offset, end: Offset) {
        self.push(Restored::Start(store.to_owned(), start, end));
    }

    fn on_batch_restored(&self, _: &TopicPartition, store: &str, position: Offset, records: u64) {
        self.push(Restored::Batch(store.to_owned(), position, records));
    }

    fn on_restore_end(&self, _: &TopicPartition, store: &str, records: u64) {
        self.push(Restored::End(store.to_owned(), records));
    }

    fn on_restore_suspended(&self, _: &TopicPartition, store: &str, _: u64) {
        self.push(Restored::Suspended(store.to_owned()));
    }
}

/// An application that runs; it is closed with the test.
pub(crate) struct Running {
    app: Tidemill,
    states: Arc<Mutex<Vec<(State, State)>>>,
    restores: Events,
}

impl Running {
    pub(crate) fn start(spec: &Spec) -> Self {
        Self::try_start(spec).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_start(spec: &Spec) -> Result<Self, Error> {
        let replace = spec.replace;
        Self::run(spec.topology(), spec.config(), |app| {
            app.with_uncaught_exception_handler(move |_| {
                if replace {
                    StreamThreadExceptionResponse::ReplaceThread
                } else {
                    StreamThreadExceptionResponse::ShutdownClient
                }
            })
        })
    }

    /// Starts a topology; `change` may set handlers.
    pub(crate) fn run(
        topology: Topology,
        config: Config,
        change: impl FnOnce(Tidemill) -> Tidemill,
    ) -> Result<Self, Error> {
        // RUST_LOG=info shows what all applications of the test binary say
        if let Ok(filter) = std::env::var("RUST_LOG") {
            let _ = tracing_subscriber::fmt().with_env_filter(filter).try_init();
        }
        let (states, restores) = (Arc::new(Mutex::new(Vec::new())), Events::default());
        let seen = Arc::clone(&states);
        let app = Tidemill::new(topology, config)?
            .with_global_state_restore_listener(restores.clone())
            .with_state_listener(move |new, old| seen.lock().unwrap().push((old, new)));
        let mut running = Self { app: change(app), states, restores };
        running.app.start()?;
        Ok(running)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.app.metrics()
    }

    pub(crate) fn state(&self) -> State {
        self.app.state()
    }

    /// Every change of the state so far, as (old, new).
    pub(crate) fn states(&self) -> Vec<(State, State)> {
        self.states.lock().unwrap().clone()
    }

    pub(crate) fn restores(&self) -> Vec<Restored> {
        self.restores.0.lock().unwrap().clone()
    }

    pub(crate) fn until_running(&self) {
        self.until_state(State::Running);
    }

    pub(crate) fn until_state(&self, state: State) {
        until(&format!("state {state}"), || (self.state() == state).then_some(()));
    }

    /// Waits for a worker to fail, closes the application and returns why.
    pub(crate) fn until_failed(mut self) -> Error {
        until("a failure", || {
            matches!(self.state(), State::PendingError | State::Error).then_some(())
        });
        assert!(self.app.close(PATIENCE), "the workers did not stop");
        assert_eq!(self.state(), State::Error);
        self.app.take_error().expect("an application that failed has an error")
    }

    /// Closes the application, which has to end well.
    pub(crate) fn close(self) -> Metrics {
        self.close_with(tidemill::CloseOptions::leave_group())
    }

    pub(crate) fn close_with(mut self, options: tidemill::CloseOptions) -> Metrics {
        assert!(self.app.close_with(options, PATIENCE), "the workers did not stop");
        if let Some(error) = self.app.take_error() {
            panic!("{error}");
        }
        assert_eq!(self.state(), State::NotRunning);
        self.metrics()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.app.close(Duration::from_secs(20));
    }
}

/// Copies a directory with all that is in it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
