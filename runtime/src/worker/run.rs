//! The loop of a worker.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::record::TaskId;

use crate::Error;
use crate::client::seam::{Consume, Produce, ReadPartition};
use crate::client::{Fetched, Severity};
use crate::config::limits;
use crate::storage::seam::Database;
use crate::world::World;

use super::slot::{Running, Slot};
use super::status::count;
use super::{Shared, Worker, WorkerState};

/// Records that a task processes before the next one gets its turn.
const TURN_RECORDS: usize = 500;
/// How often storage that another worker still holds is asked for.
const WAITING_RETRY: Duration = Duration::from_millis(20);
/// How long closing the consumer may take at a stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

impl<W: World> Worker<W> {
    /// Works until it is told to stop.
    ///
    /// # Errors
    /// If something failed that neither a retry nor a rebuild mends. The open transaction is
    /// aborted.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        let outcome = loop {
            if self.stop.is_requested() {
                break Ok(());
            }
            match self.turn() {
                Ok(true) => {}
                Ok(false) => {
                    let wait = self.until_next();
                    self.shared.world.wait(&self.waker, wait);
                }
                Err(error) => match self.recover(error) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
            }
        };
        self.close(outcome)
    }

    /// One round; returns whether there may be more to do at once.
    fn turn(&mut self) -> Result<bool, Error> {
        while let Some(event) = self.consumer.poll_event(Duration::ZERO) {
            self.on_group_event(event)?;
        }
        self.reopen_if_needed()?;
        self.take_restored()?;
        self.open_waiting()?;
        let read = self.read()?;
        self.shared.world.pass("S0");
        let processed = self.process()?;
        self.outbox.producer.poll(Duration::ZERO);
        if self.commit_is_due() {
            let settled = self.commit_if_needed()?;
            self.settle(settled)?;
        }
        Ok(read || processed)
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (TaskId, &Running<W>)> {
        self.slots.iter().filter_map(|(task, slot)| match slot {
            Slot::Running(running) => Some((*task, &**running)),
            Slot::Waiting | Slot::Restoring { .. } => None,
        })
    }

    /// Moves records from the client's queues to the tasks' queues, up to the bound (INV-11).
    fn read(&mut self) -> Result<bool, Error> {
        let records_max = self.shared.config.buffered_records_per_partition;
        let partitions = self.assignment.len().max(1);
        let bytes_max = self.shared.config.input_buffer_max.as_usize() / 2 / partitions;
        let mut any = false;
        let mut failed = None;
        for slot in self.slots.values_mut() {
            let Slot::Running(running) = slot else { continue };
            let Running { task, readers, .. } = &mut **running;
            for (queue, reader) in readers.iter_mut().enumerate() {
                let (records, bytes) = task.buffered(queue);
                // half empty before more is read: few calls, and never an empty queue
                if records > records_max / 2 || bytes >= bytes_max {
                    continue;
                }
                any |= 0 < reader.read(records_max - records, &mut |fetched| match fetched {
                    Fetched::Record(record) => task.enqueue(queue, record),
                    Fetched::EndOfPartition(end) => task.end_of_partition(queue, end),
                    Fetched::Failed(error) if error.severity == Severity::Retry => {
                        tracing::warn!(%error, "could not read; trying again");
                    }
                    Fetched::Failed(error) => failed = Some(error),
                });
                if let Some(cause) = failed.take() {
                    let doing = format!("could not read {}", reader.topic_partition());
                    return Err(Error::client(doing, cause));
                }
            }
        }
        Ok(any)
    }

    /// Has each task process some records and run its punctuations.
    fn process(&mut self) -> Result<bool, Error> {
        if !self.has_work() {
            return Ok(false);
        }
        self.begin_work()?;
        self.show_held();
        let shared = Arc::clone(&self.shared);
        let now = shared.world.wall_clock();
        let mut any = false;
        for slot in self.slots.values_mut() {
            let Slot::Running(running) = slot else { continue };
            let Running { task, changelogs, counted, .. } = &mut **running;
            let mut collector = self.outbox.of_task(&shared, changelogs);
            for _ in 0..TURN_RECORDS {
                if !task.process(&mut collector, now)? {
                    break;
                }
                any = true;
            }
            any |= task.punctuate(&mut collector, now)? > 0;
            let (processed, dropped) = task.counts();
            count(&self.status.records, processed - counted.0);
            count(&self.status.dropped, dropped - counted.1);
            count(&self.status.ignored, task.ignored() - counted.2);
            *counted = (processed, dropped, task.ignored());
        }
        Ok(any)
    }

    /// Returns whether a task holds records or has a punctuation that is due.
    fn has_work(&self) -> bool {
        let now = self.shared.world.wall_clock();
        self.running().any(|(_, running)| {
            let queues = 0..running.readers.len();
            queues.into_iter().any(|queue| running.task.buffered(queue).0 > 0)
                || running.task.next_punctuation().is_some_and(|due| due <= now)
        })
    }

    /// Shows what is held before records are processed (INV-11).
    fn show_held(&self) {
        let Shared { world, config, .. } = &*self.shared;
        let buffered = |(_, running): (TaskId, &Running<W>)| -> Vec<(usize, usize)> {
            (0..running.readers.len()).map(|queue| running.task.buffered(queue)).collect()
        };
        world.show_held("records in the buffer of a partition", || {
            let held = self.running().flat_map(buffered).map(|(records, _)| records).max();
            (held.unwrap_or(0), config.buffered_records_per_partition)
        });
        world.show_held("bytes in the buffer of a partition", || {
            let held = self.running().flat_map(buffered).map(|(_, bytes)| bytes).max();
            // one read may add all that the client's queue has room for
            let share = config.input_buffer_max.as_usize() / 2 / self.assignment.len().max(1);
            (held.unwrap_or(0), share + share.max(limits::PARTITION_QUEUE_MIN.as_usize()))
        });
        world.show_held("bytes that only a commit frees", || {
            let held = self.running().map(|(_, running)| running.task.store_bytes().1).sum();
            (held, config.statestore_cache_per_worker().as_usize() / 2)
        });
    }

    fn since_commit(&self) -> Duration {
        self.shared.world.monotonic() - self.last_commit
    }

    /// A commit is due when the interval is over, a processor asked for one, or the writes that
    /// only a commit frees reach their bound (INV-11).
    fn commit_is_due(&self) -> bool {
        if self.since_commit() >= self.shared.config.effective_commit_interval() {
            return true;
        }
        let bytes_max = self.shared.config.statestore_cache_per_worker().as_usize() / 2;
        let mut dirty = 0;
        self.running().any(|(_, running)| {
            dirty += running.task.store_bytes().1;
            dirty >= bytes_max || running.task.commit_requested()
        })
    }

    /// Returns how long there is nothing to do unless somebody wakes the worker.
    fn until_next(&self) -> Duration {
        let mut wait = self.shared.config.poll;
        let now = self.shared.world.wall_clock();
        for (_, running) in self.running() {
            if let Some(due) = running.task.next_punctuation() {
                let millis = u64::try_from(due.0.saturating_sub(now.0)).unwrap_or(0);
                wait = wait.min(Duration::from_millis(millis));
            }
            if running.task.commit_needed() {
                let interval = self.shared.config.effective_commit_interval();
                wait = wait.min(interval.saturating_sub(self.since_commit()));
            }
        }
        if self.slots.values().any(|slot| matches!(slot, Slot::Waiting)) {
            wait = wait.min(WAITING_RETRY);
        }
        wait
    }

    /// After an error of a turn: aborts, and goes on from what is committed if the error is of a
    /// kind that passes.
    fn recover(&mut self, error: Error) -> Result<(), Error> {
        let error = self.refused_record().unwrap_or(error);
        let severity = error.severity();
        if severity == Severity::Fatal {
            // whatever comes of the abort, the first error is the one to report
            if let Err(second) = self.abort() {
                tracing::warn!(error = %second, "could not abort; the broker will, in time");
            }
            return Err(error);
        }
        tracing::warn!(
            worker = self.identity.worker, %error, ?severity,
            "rolling back to what is committed"
        );
        let settled = if severity == Severity::Fenced {
            self.transaction.step(tidemill_core::transaction::Input::Failed(severity));
            super::commit::Settled::Fenced
        } else {
            self.abort()?
        };
        self.settle(settled)
    }

    /// Stops: commits what is done unless something failed, and gives everything up but the place
    /// in the group, which a worker that comes back takes again.
    fn close(mut self, outcome: Result<(), Error>) -> Result<(), Error> {
        let began = self.shared.world.monotonic();
        let outcome = outcome.and_then(|()| {
            let settled = self.commit_if_needed()?;
            tracing::info!(worker = self.identity.worker, ?settled, "stopping");
            Ok(())
        });
        self.close_tasks();
        for (task, db) in std::mem::take(&mut self.kept) {
            if let Err(error) = db.flush() {
                tracing::warn!(%task, %error, "could not flush; the log on disk has it");
            }
        }
        if let Err(error) = self.consumer.close(CLOSE_TIMEOUT) {
            tracing::warn!(%error, "could not close the consumer");
        }
        let took = self.shared.world.monotonic() - began;
        tracing::info!(worker = self.identity.worker, ?took, "stopped");
        if outcome.is_ok() {
            self.status.set(WorkerState::Stopped);
        }
        outcome
    }
}
