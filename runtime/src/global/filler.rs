//! Filling the global stores: read, process, store; first all that was there, then what comes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidemill_core::errors::{Handlers, TaskError};
use tidemill_core::record::{Offset, RawRecord, TaskId, TopicPartition};
use tidemill_core::store::TaskStorage;
use tidemill_core::task::{NothingSent, Task, TaskConfig, TaskIdle};

use super::Globals;
use super::opening::{Opened, open};
use crate::Error;
use crate::client::seam::{Connector, Consume, ReadPartition};
use crate::client::{Fetched, Severity, Waker};
use crate::restore::StateRestoreListener;
use crate::storage::seam::{Database, Directory};
use crate::worker::{Shared, client_config};
use crate::world::{ConsumerOf, DbOf, MessageOf, ReaderOf, World};

/// Records that are processed before group events and a stop are looked at again.
const TURN_RECORDS: usize = 500;
/// What is read is stored at most so often: a batch has its price, and what tasks keep of the
/// stores is good until the next one.
const STORE_INTERVAL: Duration = Duration::from_millis(10);
/// How long closing the consumer may take at a stop.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A partition of a global store's topic.
struct Input<R> {
    partition: TopicPartition,
    store: String,
    reader: R,
    /// The high watermark at the start (INV-4).
    target: Offset,
    /// Records read since the last batch, and since the start.
    unstored: u64,
    read: u64,
}

/// Fills the global stores of a process.
pub(crate) struct Filler<W: World> {
    shared: Arc<Shared<W>>,
    globals: Arc<Globals<W>>,
    listener: Arc<dyn StateRestoreListener>,
    consumer: ConsumerOf<W>,
    db: DbOf<W>,
    task: Task<MessageOf<W>>,
    /// For each queue of the task.
    inputs: Vec<Input<ReaderOf<W>>>,
    /// Everything that was there at the start is stored.
    filled: bool,
    /// Bytes of the records that were read since the last batch.
    unstored_bytes: usize,
    stored_at: Instant,
    progress_at: Instant,
    warned: bool,
}

impl<W: World> Filler<W> {
    /// Opens the stores and begins to read where they are.
    pub(crate) fn new(
        shared: &Arc<Shared<W>>,
        globals: &Arc<Globals<W>>,
        listener: Arc<dyn StateRestoreListener>,
        waker: Arc<Waker>,
    ) -> Result<Self, Error> {
        let Shared { world, config, topology, plan, handlers, directory, .. } = &**shared;
        let sub = topology.global_topology().ok_or_else(|| {
            Error::Thread("there are no global stores to fill, please report it".to_owned())
        })?;
        let Opened { db, starts, targets } = open(shared, &sub, &plan.globals)?;
        let process = directory.process_id();
        let mut consumer = world
            .client()
            .consumer(&client_config(&config.global_properties(process)), waker)
            .map_err(|cause| Error::client("could not make the global consumer", cause))?;
        let storage: Rc<RefCell<dyn TaskStorage>> = Rc::new(RefCell::new(db.storage()?));
        let task_config = TaskConfig {
            task_id: TaskId::GLOBAL,
            application_id: config.application_id.clone(),
            // as in Kafka Streams: what fills the stores may not pass over an error of its own
            handlers: Handlers {
                deserialization: Arc::clone(&handlers.deserialization),
                ..Handlers::default()
            },
            task_idle: TaskIdle::Never,
            store_cache_bytes_max: config.restore_batch_max.as_usize(),
            emit_interval: config.emit_interval,
            globals: None,
        };
        let (now, nothing) = (world.wall_clock(), &mut NothingSent);
        let mut task = Task::global(topology, &plan.globals, task_config, storage, nothing, now)?;
        let assigned: Vec<_> =
            starts.iter().map(|(partition, start)| (partition.clone(), start.offset)).collect();
        let readers = consumer
            .assign(&assigned)
            .map_err(|cause| Error::client("could not read the topics of global stores", cause))?;
        let mut readers: BTreeMap<TopicPartition, ReaderOf<W>> =
            readers.into_iter().map(|reader| (reader.topic_partition().clone(), reader)).collect();
        let stores: BTreeMap<&str, &str> =
            sub.source_topics.iter().map(|(topic, _)| topic.name()).zip(names(&sub)).collect();
        let partitions: Vec<TopicPartition> = task.inputs().cloned().collect();
        let mut inputs = Vec::with_capacity(partitions.len());
        for (queue, partition) in partitions.into_iter().enumerate() {
            let start = starts.get(&partition).expect("INV-4: each partition has a start");
            task.resume(queue, *start);
            let target = targets.get(&partition).copied().expect("INV-4: and a target");
            let reader = readers.remove(&partition).expect("and one reader");
            let store = stores.get(&*partition.topic).copied().unwrap_or_default().to_owned();
            tracing::info!(%partition, store, position = %start.offset, %target, "filling");
            listener.on_restore_start(&partition, &store, start.offset, target);
            inputs.push(Input { partition, store, reader, target, unstored: 0, read: 0 });
        }
        let (shared, globals) = (Arc::clone(shared), Arc::clone(globals));
        let now = shared.world.monotonic();
        Ok(Self {
            shared,
            globals,
            listener,
            consumer,
            db,
            task,
            inputs,
            filled: false,
            unstored_bytes: 0,
            stored_at: now,
            progress_at: now,
            warned: false,
        })
    }

    /// Returns whether everything that was there at the start is stored, and may be read.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled
    }

    /// One round; returns whether there may be more to do at once.
    pub(crate) fn turn(&mut self) -> Result<bool, Error> {
        while self.consumer.poll_event(Duration::ZERO).is_some() {}
        let read = self.read()?;
        let processed = self.process()?;
        let now = self.shared.world.monotonic();
        let full = self.unstored_bytes >= self.batch_bytes_max();
        if (full && !processed)
            || (self.task.commit_needed() && now - self.stored_at >= STORE_INTERVAL)
        {
            self.store()?;
        }
        if !self.filled {
            self.look_if_filled(read || processed)?;
        }
        Ok(read || processed)
    }

    /// Returns how long there is nothing to do unless a record arrives.
    pub(crate) fn until_next(&self) -> Duration {
        let poll = self.shared.config.poll;
        if self.task.commit_needed() { STORE_INTERVAL.min(poll) } else { poll }
    }

    fn batch_bytes_max(&self) -> usize {
        self.shared.config.restore_batch_max.as_usize()
    }

    /// Moves records from the client's queues to the task's, up to the bound (INV-11).
    fn read(&mut self) -> Result<bool, Error> {
        let records_max = self.shared.config.buffered_records_per_partition;
        let bytes_max = self.batch_bytes_max();
        let Self { task, inputs, unstored_bytes, .. } = self;
        let mut any = false;
        let mut failed = None;
        for (queue, input) in inputs.iter_mut().enumerate() {
            let (records, _) = task.buffered(queue);
            if records > records_max / 2 || *unstored_bytes >= bytes_max {
                continue;
            }
            let Input { reader, unstored, .. } = input;
            any |= 0 < reader.read(records_max - records, &mut |fetched| match fetched {
                Fetched::Record(record) => {
                    *unstored += 1;
                    *unstored_bytes += record.size_bytes();
                    task.enqueue(queue, record);
                }
                Fetched::EndOfPartition(end) => task.end_of_partition(queue, end),
                Fetched::Failed(error) if error.severity == Severity::Retry => {
                    tracing::warn!(%error, "could not read; trying again");
                }
                Fetched::Failed(error) => failed = Some(error),
            });
            if let Some(cause) = failed.take() {
                return Err(unreadable(&input.partition, cause));
            }
        }
        Ok(any)
    }

    /// Processes some records; returns whether there were any.
    fn process(&mut self) -> Result<bool, TaskError> {
        let now = self.shared.world.wall_clock();
        let mut any = false;
        for _ in 0..TURN_RECORDS {
            if !self.task.process(&mut NothingSent, now)? {
                break;
            }
            any = true;
        }
        self.task.punctuate(&mut NothingSent, now)?;
        Ok(any)
    }

    /// Stores what was processed, with the positions, in one batch.
    fn store(&mut self) -> Result<(), Error> {
        let now = self.shared.world.wall_clock();
        let plan = self.task.prepare_commit(&mut NothingSent, now)?;
        self.task.publish_global(plan)?;
        self.globals.note_write();
        self.stored_at = self.shared.world.monotonic();
        // what is still in a queue counts for the next batch
        self.unstored_bytes = (0..self.inputs.len()).map(|queue| self.task.buffered(queue).1).sum();
        for (queue, input) in self.inputs.iter_mut().enumerate() {
            let records = std::mem::take(&mut input.unstored);
            input.read += records;
            if !self.filled && records > 0 {
                let position = self.task.position(queue).unwrap_or(Offset::ZERO);
                let Input { partition, store, .. } = &*input;
                self.listener.on_batch_restored(partition, store, position, records);
            }
        }
        Ok(())
    }

    /// Opens the stores for reading as soon as they hold all that was there at the start.
    fn look_if_filled(&mut self, moved: bool) -> Result<(), Error> {
        if let Some(queue) = self.behind() {
            let Input { partition, target, .. } = &self.inputs[queue];
            let (partition, target) = (partition.clone(), *target);
            self.watch(moved, &partition, target);
            return Ok(());
        }
        if self.task.commit_needed() {
            self.store()?;
        }
        assert_eq!(
            self.behind(),
            None,
            "INV-4: the global stores are read before they reached their targets",
        );
        self.filled = true;
        for Input { partition, store, read, .. } in &self.inputs {
            tracing::info!(%partition, store, records = read, "filled");
            self.listener.on_restore_end(partition, store, *read);
        }
        self.globals.open(self.db.clone());
        Ok(())
    }

    /// Returns a queue that is not where its partition ended at the start.
    fn behind(&self) -> Option<usize> {
        let reached = |queue: usize| self.task.position(queue) >= Some(self.inputs[queue].target);
        (0..self.inputs.len()).find(|queue| !reached(*queue))
    }

    /// Names a partition that makes no progress: most likely an open transaction below the target.
    fn watch(&mut self, moved: bool, partition: &TopicPartition, target: Offset) {
        let now = self.shared.world.monotonic();
        if moved {
            self.progress_at = now;
            self.warned = false;
        } else if !self.warned && now - self.progress_at >= self.shared.config.restore_stalled_after
        {
            tracing::warn!(
                %partition,
                %target,
                "no progress in filling a global store: is a transaction open on its topic?"
            );
            self.warned = true;
        }
    }

    /// Stores what was processed and closes everything.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        if self.task.commit_needed() {
            self.store()?;
        }
        self.task.close();
        if let Err(error) = self.db.flush() {
            tracing::warn!(%error, "could not flush the global stores; the log on disk has them");
        }
        if let Err(error) = self.consumer.close(CLOSE_TIMEOUT) {
            tracing::warn!(%error, "could not close the global consumer");
        }
        Ok(())
    }
}

/// The stores' names, in the order of their topics.
fn names(sub: &tidemill_core::topology::SubTopology) -> impl Iterator<Item = &str> {
    sub.stores.iter().map(|store| &*store.name)
}

fn unreadable(partition: &TopicPartition, cause: crate::client::ClientError) -> Error {
    if cause.is_offset_out_of_range() {
        return Error::Position {
            partition: partition.clone(),
            problem:
                "records were deleted before the global store had them, or the topic was made \
                      anew: restart the process, which builds the store anew"
                    .to_owned(),
        };
    }
    Error::client(format!("could not read {partition}"), cause)
}
