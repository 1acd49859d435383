//! Running until the process is asked to stop.

use std::time::Duration;

use super::{CloseOptions, State, Tidemill};
use crate::Error;

/// How long a stop by a signal may take. A second signal ends the process at once.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

impl Tidemill {
    /// Starts the application and runs it until SIGTERM, SIGINT or an error; then stops cleanly.
    ///
    /// # Errors
    /// What [`Tidemill::start`] refuses, or what a worker failed with.
    pub async fn run(self) -> Result<(), Error> {
        self.run_until(interrupted()).await
    }

    /// As [`Tidemill::run`], until `stop` resolves instead of until a signal.
    ///
    /// # Errors
    /// As [`Tidemill::run`].
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let died = |error| Error::Thread(format!("the starting thread died: {error}"));
        let started = tokio::task::spawn_blocking(move || {
            let started = self.start();
            (self, started)
        });
        let (mut app, started) = started.await.map_err(died)?;
        started?;
        let mut state = app.state.subscribe();
        let failing = state.wait_for(|state| matches!(state, State::PendingError | State::Error));
        tokio::select! {
            () = stop => tracing::info!("asked to stop"),
            _ = failing => tracing::error!("a worker failed, stopping"),
        }
        let closing = tokio::task::spawn_blocking(move || {
            let stopped = app.close_with(CloseOptions::leave_group(), STOP_TIMEOUT);
            (app.take_error(), stopped)
        });
        match closing.await.map_err(died)? {
            (Some(error), _) => Err(error),
            (None, true) => Ok(()),
            (None, false) => Err(Error::Thread(format!(
                "the workers did not stop within {STOP_TIMEOUT:?}; what was not committed will be \
                 processed again"
            ))),
        }
    }
}

/// Resolves at the first SIGTERM or SIGINT.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            // a second one means: at once
            tokio::spawn(async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::warn!("asked to stop again: ending at once");
                std::process::exit(130);
            });
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "can't listen to signals: stop the process by SIGKILL");
            std::future::pending().await
        }
    }
}
