//! The restoring thread: one consumer without a group, all jobs at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tidemill_core::record::{Offset, RawRecord, TopicPartition};

use super::{RestoreJob, StateRestoreListener, StoreRestore};
use crate::Error;
use crate::client::seam::{Connector, Consume, ReadPartition};
use crate::client::{ClientConfig, Fetched, Severity, Waker};
use crate::storage::seam::Restore;
use crate::world::{ConsumerOf, MessageOf, ReaderOf, World};

/// The longest wait for records before the thread looks at its jobs again.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// Records taken from one partition at a time.
const READ_RECORDS: usize = 10_000;
/// From this many offsets on, compaction and the write-ahead log cost more than they save.
const BULK_RECORDS: i64 = 100_000;

/// Bounds and patience.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RestoreLimits {
    pub(crate) batch_bytes_max: usize,
    pub(crate) stalled_after: Duration,
}

/// The way to the restoring thread, for a worker. The thread ends when the last one is gone.
pub(crate) struct RestoreHandle<W: World> {
    jobs: Option<mpsc::Sender<RestoreJob<W>>>,
    waker: Arc<Waker>,
    restored: Arc<AtomicU64>,
}

impl<W: World> Clone for RestoreHandle<W> {
    fn clone(&self) -> Self {
        let (jobs, waker) = (self.jobs.clone(), Arc::clone(&self.waker));
        Self { jobs, waker, restored: Arc::clone(&self.restored) }
    }
}

impl<W: World> RestoreHandle<W> {
    /// Hands a job over.
    pub(crate) fn restore(&self, job: RestoreJob<W>) -> Result<(), Error> {
        let jobs = self.jobs.as_ref().expect("taken by the drop only");
        let gone = |_| Error::Thread("the restoring thread is gone, see the log".to_owned());
        jobs.send(job).map_err(gone)?;
        self.waker.wake();
        Ok(())
    }

    /// Has the thread look at its jobs now, e.g. because one was cancelled.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// Returns how many changelog records were applied since the start.
    pub(crate) fn restored(&self) -> u64 {
        self.restored.load(Ordering::Relaxed)
    }
}

impl<W: World> Drop for RestoreHandle<W> {
    fn drop(&mut self) {
        self.jobs = None;
        self.waker.wake();
    }
}

/// A job with its readers, one for each store that is not done.
struct Active<W: World> {
    job: RestoreJob<W>,
    readers: Vec<(usize, ReaderOf<W>)>,
    progress_at: Instant,
    warned: bool,
}

/// The restoring thread before and while it runs.
pub(crate) struct Restoring<W: World> {
    world: W,
    consumer: ConsumerOf<W>,
    incoming: mpsc::Receiver<RestoreJob<W>>,
    waker: Arc<Waker>,
    active: Vec<Active<W>>,
    limits: RestoreLimits,
    listener: Arc<dyn StateRestoreListener>,
    restored: Arc<AtomicU64>,
}

impl<W: World> Restoring<W> {
    /// Makes the consumer. The handle is the way to what [`Restoring::run`] will do.
    pub(crate) fn new(
        world: W,
        config: &ClientConfig,
        limits: RestoreLimits,
        listener: Arc<dyn StateRestoreListener>,
    ) -> Result<(Self, RestoreHandle<W>), Error> {
        let waker = Arc::new(Waker::default());
        let consumer = world
            .client()
            .consumer(config, Arc::clone(&waker))
            .map_err(|cause| Error::client("could not make the restore consumer", cause))?;
        let (jobs, incoming) = mpsc::channel();
        let restored = Arc::new(AtomicU64::new(0));
        let handle = RestoreHandle {
            jobs: Some(jobs),
            waker: Arc::clone(&waker),
            restored: Arc::clone(&restored),
        };
        let active = Vec::new();
        let restoring =
            Self { world, consumer, incoming, waker, active, limits, listener, restored };
        Ok((restoring, handle))
    }

    /// Restores until every handle is gone. What the restoring thread runs.
    pub(crate) fn run(&mut self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.restore_all())) {
            // a bug here must not leave the workers waiting for an answer
            drop(self.world.caught(panic));
            self.give_up();
        }
    }

    fn restore_all(&mut self) {
        loop {
            loop {
                match self.incoming.try_recv() {
                    Ok(job) => self.begin(job),
                    Err(mpsc::TryRecvError::Empty) => break,
                    // every handle is gone: the application is closed
                    Err(mpsc::TryRecvError::Disconnected) => return self.give_up(),
                }
            }
            while self.consumer.poll_event(Duration::ZERO).is_some() {}
            let mut moved = false;
            for index in (0..self.active.len()).rev() {
                moved |= self.turn(index);
            }
            if !moved {
                self.world.wait(&self.waker, IDLE_WAIT);
            }
        }
    }

    fn begin(&mut self, mut job: RestoreJob<W>) {
        for store in &job.stores {
            let StoreRestore { store, changelog, position, target, .. } = store;
            tracing::info!(%changelog, store, %position, %target, "restoring");
            self.listener.on_restore_start(changelog, store, *position, *target);
        }
        let wanted: Vec<(usize, (TopicPartition, Offset))> = job
            .stores
            .iter()
            .enumerate()
            .filter(|(_, store)| !store.is_done())
            .map(|(index, store)| (index, (store.changelog.clone(), store.position)))
            .collect();
        let starts: Vec<_> = wanted.iter().map(|(_, start)| start.clone()).collect();
        let gap: i64 = job.stores.iter().map(|store| store.target.0 - store.position.0).sum();
        let bulk = if gap >= BULK_RECORDS { job.storage.begin_bulk() } else { Ok(()) };
        if let Err(error) = bulk {
            return job.finish(Some(error.into()));
        }
        match self.consumer.assign_more(&starts) {
            Ok(readers) => {
                let readers = wanted.into_iter().map(|(index, _)| index).zip(readers).collect();
                self.active.push(Active {
                    job,
                    readers,
                    progress_at: self.world.monotonic(),
                    warned: false,
                });
            }
            Err(cause) => {
                let doing = format!("could not read the changelogs of task {}", job.task);
                job.finish(Some(Error::client(doing, cause)));
            }
        }
    }

    /// Gives one job a turn; returns whether anything moved.
    fn turn(&mut self, index: usize) -> bool {
        let cancelled = self.active[index].job.is_cancelled();
        let stepped = if cancelled { Ok(false) } else { self.step(index) };
        let done = self.active[index].readers.is_empty();
        match stepped {
            Ok(moved) if !done && !cancelled => {
                self.watch(index, moved);
                moved
            }
            outcome => {
                let Active { job, readers, .. } = self.active.swap_remove(index);
                self.release(readers);
                for store in &job.stores {
                    let StoreRestore { store, changelog, restored, .. } = store;
                    if cancelled || outcome.is_err() {
                        self.listener.on_restore_suspended(changelog, store, *restored);
                    } else {
                        tracing::info!(%changelog, store, restored, "restored");
                        self.listener.on_restore_end(changelog, store, *restored);
                    }
                }
                job.finish(outcome.err());
                true
            }
        }
    }

    /// Reads and applies what there is for one job.
    fn step(&mut self, index: usize) -> Result<bool, Error> {
        let mut moved = false;
        let active = &mut self.active[index];
        let mut finished = Vec::new();
        for (slot, (store_index, reader)) in active.readers.iter_mut().enumerate() {
            let store = &mut active.job.stores[*store_index];
            let taken = Taken::read(reader, store.target)?;
            if taken.records.is_empty() && taken.position.is_none() {
                continue;
            }
            moved = true;
            let mut batch = Vec::new();
            let mut bytes = 0;
            let last = taken.records.len();
            for (number, record) in taken.records.into_iter().enumerate() {
                bytes += record.size_bytes();
                let next = record.offset().next();
                batch.push(record);
                if bytes >= self.limits.batch_bytes_max || number + 1 == last {
                    // the record that reached the bound is in it
                    let before = bytes - batch.last().map_or(0, RawRecord::size_bytes);
                    let bound = self.limits.batch_bytes_max;
                    self.world.show_held("bytes of a restore batch", || (before, bound));
                    apply(&mut active.job.storage, store, &batch, next)?;
                    self.restored.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    let StoreRestore { changelog, store, .. } = &*store;
                    self.listener.on_batch_restored(changelog, store, next, batch.len() as u64);
                    batch.clear();
                    bytes = 0;
                }
            }
            if let Some(end) = taken.position.filter(|end| *end > store.position) {
                let none: [MessageOf<W>; 0] = [];
                apply(&mut active.job.storage, store, &none, end)?;
            }
            if store.is_done() {
                finished.push(slot);
            }
        }
        let done: Vec<_> =
            finished.into_iter().rev().map(|slot| active.readers.swap_remove(slot)).collect();
        self.release(done);
        Ok(moved)
    }

    /// Names a partition that makes no progress: most likely an open transaction below the target.
    fn watch(&mut self, index: usize, moved: bool) {
        let now = self.world.monotonic();
        let active = &mut self.active[index];
        if moved {
            active.progress_at = now;
            active.warned = false;
            return;
        }
        if active.warned || now - active.progress_at < self.limits.stalled_after {
            return;
        }
        active.warned = true;
        for (store_index, _) in &active.readers {
            let StoreRestore { changelog, position, target, .. } = &active.job.stores[*store_index];
            tracing::warn!(
                %changelog, %position, %target,
                "restoring makes no progress: a transaction below the target may be open, or \
                 records below it may have been deleted"
            );
        }
    }

    fn release(&mut self, readers: Vec<(usize, ReaderOf<W>)>) {
        if readers.is_empty() {
            return;
        }
        let partitions: Vec<TopicPartition> =
            readers.iter().map(|(_, reader)| reader.topic_partition().clone()).collect();
        drop(readers);
        if let Err(error) = self.consumer.unassign_some(&partitions) {
            tracing::warn!(%error, "could not stop reading changelogs");
        }
    }

    fn give_up(&mut self) {
        for active in self.active.drain(..) {
            drop(active.readers);
            let stopped = Error::Thread("restoring was stopped".to_owned());
            active.job.finish(Some(stopped));
        }
        if let Err(error) = self.consumer.close(Duration::from_secs(5)) {
            tracing::warn!(%error, "could not close the restore consumer");
        }
    }
}

/// What one read brought.
struct Taken<M> {
    records: Vec<M>,
    /// The end of the partition, if it was reached.
    position: Option<Offset>,
}

impl<M> Taken<M> {
    fn read(reader: &mut impl ReadPartition<Message = M>, target: Offset) -> Result<Self, Error> {
        let mut taken = Self { records: Vec::new(), position: None };
        let mut failed = None;
        reader.read(READ_RECORDS, &mut |fetched| match fetched {
            Fetched::Record(record) => taken.records.push(record),
            Fetched::EndOfPartition(end) => taken.position = Some(end),
            Fetched::Failed(error) if error.severity == Severity::Retry => {
                tracing::warn!(%error, "could not read a changelog; trying again");
            }
            Fetched::Failed(error) => failed = Some(error),
        });
        match failed {
            None => Ok(taken),
            Some(cause) => {
                let partition = reader.topic_partition();
                let doing = format!("could not restore from {partition} up to offset {target}");
                Err(Error::client(doing, cause))
            }
        }
    }
}

/// Applies records in offset order and moves the position in the same batch (INV-3).
fn apply(
    storage: &mut impl Restore,
    store: &mut StoreRestore,
    records: &[impl RawRecord],
    next: Offset,
) -> Result<(), Error> {
    assert!(
        next > store.position,
        "INV-2: restoring {} went back from {} to {next}",
        store.changelog,
        store.position,
    );
    let keyed = records.iter().filter_map(|record| {
        let Some(key) = record.key() else {
            let (changelog, offset) = (&store.changelog, record.offset());
            tracing::warn!(%changelog, %offset, "skipped a changelog record without key");
            return None;
        };
        Some((key, record.value(), record.timestamp().0))
    });
    storage.apply(store.index, keyed, next)?;
    store.position = next;
    store.restored += records.len() as u64;
    Ok(())
}
