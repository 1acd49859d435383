//! Being asked to stop: the programs must not leave their worker processes behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill::BoxError;
use tokio::signal::unix::{SignalKind, signal};

/// Whether SIGINT or SIGTERM came.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Catches both signals from now on.
    ///
    /// # Errors
    /// If the thread or the handlers can't be made.
    pub fn catch() -> Result<Self, BoxError> {
        let interrupt = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut terminate, mut interrupted) = {
            let _entered = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        let flag = interrupt.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupted.recv() => {}
                }
            });
            flag.0.store(true, Ordering::Release);
        })?;
        Ok(interrupt)
    }

    /// Returns an error once a signal came.
    ///
    /// # Errors
    /// Then.
    pub fn check(&self) -> Result<(), BoxError> {
        if self.0.load(Ordering::Acquire) { Err("interrupted".into()) } else { Ok(()) }
    }
}
