//! The threads of an application.

use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::process::{Control, Process};
use crate::Error;
use crate::clock::monotonic;
use crate::worker::WorkerStatus;
use crate::world::SystemWorld;

/// All threads of a started application. If it is dropped without a stop they end by themselves.
pub(super) struct Threads {
    control: Control<SystemWorld>,
    workers: Vec<JoinHandle<()>>,
    /// One message for each worker thread that ended.
    ended: mpsc::Receiver<()>,
    running: usize,
    others: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn start(process: Process<SystemWorld>) -> Result<Self, Error> {
        let Process { workers, global, mut restoring, housekeeping, control } = process;
        let (end, ended) = mpsc::channel();
        let (running, joins) = (workers.len(), Vec::with_capacity(workers.len()));
        let mut threads = Self { control, workers: joins, ended, running, others: Vec::new() };
        let restoring = spawn("tidemill-restore".to_owned(), move || restoring.run())?;
        threads.others.push(restoring);
        if let Some(global) = global {
            threads.others.push(spawn("tidemill-global".to_owned(), move || global.run())?);
        }
        for worker in workers {
            let end = end.clone();
            let name = format!("tidemill-worker-{}", worker.number());
            let body = move || {
                worker.run();
                // nobody waits any more if the application was dropped
                let _ = end.send(());
            };
            threads.workers.push(spawn(name, body)?);
        }
        let housekeeping = spawn("tidemill-housekeeping".to_owned(), move || housekeeping.run())?;
        threads.others.push(housekeeping);
        Ok(threads)
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = &WorkerStatus> {
        self.control.statuses()
    }

    pub(super) fn restored_records(&self) -> u64 {
        self.control.restored_records()
    }

    /// Asks all threads to stop and waits for them; returns whether all did in time.
    pub(super) fn stop(&mut self, stay_in_group: bool, timeout: Duration) -> bool {
        let deadline = monotonic() + timeout;
        self.control.stop_workers(stay_in_group);
        while self.running > 0 {
            let left = deadline.saturating_duration_since(monotonic());
            if self.ended.recv_timeout(left).is_err() {
                return false;
            }
            self.running -= 1;
        }
        self.workers.drain(..).for_each(|thread| drop(thread.join()));
        self.control.stop_the_rest();
        self.others.drain(..).for_each(|thread| drop(thread.join()));
        true
    }

    pub(super) fn take_error(&self) -> Option<Error> {
        self.control.take_error()
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let failed = |error| Error::Thread(format!("could not start thread {name}: {error}"));
    Builder::new().name(name.clone()).spawn(body).map_err(failed)
}
