//! SIGTERM and SIGINT as a flag that every loop looks at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tidemill::BoxError;
use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Listens from now on, on a thread of its own.
pub(crate) fn listen() -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        ASKED.store(true, Ordering::Release);
    })?;
    Ok(())
}

/// Returns true once the program was asked to end.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Acquire)
}

/// Fails once the program was asked to end.
pub(crate) fn check() -> Result<(), BoxError> {
    if is_asked() { Err("interrupted".into()) } else { Ok(()) }
}
