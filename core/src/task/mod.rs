//! One sub-topology on one partition: its queues, nodes, stores and stream time.
//!
//! ```text
//!   enqueue --> PartitionQueue (one per source partition)
//!                    | the smallest head timestamp is next
//!                    v
//!   process --> SourcePort --> nodes --> Collector (sends)
//!                                |
//!                              stores (overlay)
//!   prepare_commit:  nodes forward what they hold back, stores log and stage   --> CommitPlan
//!   complete_commit: the storage takes the staged writes and the new positions
//! ```
//!
//! A task does no I/O of its own: records come in by [`Task::enqueue`], leave through the
//! [`Collector`], and the time is an argument. After an error the task must be dropped together
//! with the transaction and built anew from its storage (INV-5); nothing else undoes what it did.

mod commit;
mod global;
mod guard;
mod metadata;
mod queue;
#[cfg(test)]
mod tests;
mod turns;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::errors::{Handlers, TaskError, TaskErrorKind};
use crate::processor::{
    Collector, Current, Lifecycle, PunctuationQueue, PunctuationType, TaskContext, TaskShared,
};
use crate::record::{Offset, Origin, RawRecord, StreamTime, TaskId, Timestamp, TopicPartition};
use crate::store::{
    ErasedStore, GlobalStorage, InputPosition, SharedStorage, StoreIndex, StoreSpec, TaskStorage,
};
use crate::topology::{Assembly, SourcePartitions, StoreEnv, SubTopology, Topology, TopologyError};

pub use commit::CommitPlan;
pub use global::NothingSent;
use guard::{caught, guarded, panicked};
pub use metadata::{
    CommitMetadata, ProcessorMetadata, decode_commit_metadata, encode_commit_metadata,
};
use queue::{Loaded, PartitionQueue};
use turns::Turns;

/// How long to wait for an empty partition before records of the others are processed out of order
/// (`max.task.idle.ms`, KIP-353 and KIP-695).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskIdle {
    /// Never wait (-1).
    Never,
    /// Wait for data that is on the broker, and then this long for new data (0 or more).
    CaughtUpAnd(Duration),
}

/// What a task needs to know besides its topology.
#[derive(Debug, Clone)]
pub struct TaskConfig {
    /// Which task.
    pub task_id: TaskId,
    /// The application's id: prefix of internal topics.
    pub application_id: String,
    /// Who decides on bad records.
    pub handlers: Handlers,
    /// How long to wait for an empty partition.
    pub task_idle: TaskIdle,
    /// How often, in wall-clock time, final results are looked for: by an aggregation for windows
    /// that have closed, by a left or outer join of streams for records without a match.
    pub emit_interval: Duration,
    /// Bytes that each store may hold between commits as a read cache.
    pub store_cache_bytes_max: usize,
    /// The contents of the global stores; `None` if the topology has none.
    pub globals: Option<Rc<dyn GlobalStorage>>,
}

/// A task that runs. Generic over whoever holds the source records' bytes.
pub struct Task<R> {
    config: TaskConfig,
    shared: TaskShared,
    queues: Vec<PartitionQueue<R>>,
    turns: Turns,
    /// Queues with a record that is not read yet, and so without a turn, in the order in which
    /// they got it.
    arrived: Vec<usize>,
    /// In topological order, with their number in the topology.
    nodes: Vec<(usize, Rc<RefCell<dyn Lifecycle>>)>,
    stores: Vec<Rc<dyn ErasedStore>>,
    storage: SharedStorage,
    node_names: Vec<String>,
    /// Something happened since the last commit that a commit has to make permanent.
    commit_needed: bool,
    processed: u64,
    /// An error ended a turn: what was done can only be rolled back.
    failed: bool,
}

impl<R> fmt::Debug for Task<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.config.task_id).finish_non_exhaustive()
    }
}

impl<R: RawRecord> Task<R> {
    /// Instantiates the nodes and stores of a task and initialises its processors.
    ///
    /// # Errors
    /// If a sink's topic does not exist or a processor's `init` fails.
    pub fn new(
        topology: &Topology,
        config: TaskConfig,
        storage: Rc<RefCell<dyn TaskStorage>>,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<Self, TopologyError> {
        let sub_topology = topology.sub_topology(config.task_id.sub_topology)?;
        let sub = (&sub_topology, SourcePartitions::One(config.task_id.partition));
        Self::instantiate(topology, sub, config, storage, collector, wall_clock)
    }

    /// As [`Task::new`], of a sub-topology at hand: the test driver runs a whole topology as one.
    pub(crate) fn instantiate(
        topology: &Topology,
        (sub_topology, partitions): (&SubTopology, SourcePartitions<'_>),
        config: TaskConfig,
        storage: Rc<RefCell<dyn TaskStorage>>,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<Self, TopologyError> {
        let now = Rc::new(Cell::new(wall_clock));
        let origin = Rc::new(Cell::new(Origin::NONE));
        let mut by_definition = BTreeMap::new();
        let mut stores = Vec::new();
        for (index, definition) in (0..).zip(&sub_topology.store_indices) {
            let store = (topology.stores()[*definition].factory)(StoreEnv {
                index: StoreIndex(index),
                application_id: config.application_id.clone(),
                storage: Rc::clone(&storage),
                now: Rc::clone(&now),
                origin: Rc::clone(&origin),
            });
            by_definition.insert(*definition, Rc::clone(&store));
            stores.push(store);
        }
        let connected = |node: &crate::topology::Node| {
            node.stores.iter().filter_map(|def| by_definition.get(def).cloned()).collect()
        };
        let mut shared = TaskShared {
            task_id: config.task_id,
            application_id: config.application_id.clone(),
            handlers: config.handlers.clone(),
            stream_time: StreamTime::UNKNOWN,
            now,
            origin,
            topics: Vec::new(),
            punctuations: PunctuationQueue::default(),
            out_of_order: false,
            commit_requested: false,
            dropped: 0,
            ignored: 0,
            emit_interval: config.emit_interval,
            processor_metadata: ProcessorMetadata::new(),
            shared: BTreeMap::new(),
            connected: topology.nodes().iter().map(connected).collect(),
            globals: global::readers(topology, &config),
        };
        let mut assembly = Assembly::new(topology, &config.application_id, partitions, collector);
        assembly.build(&sub_topology.nodes)?;
        let Assembly { nodes, ports, .. } = assembly;
        shared.topics = ports.iter().map(|(source, _)| Rc::from(&*source.topic)).collect();
        let queue = |(source, port)| PartitionQueue::new(source, port);
        let queues = ports.into_iter().map(queue).collect();
        let mut task = Self {
            shared,
            queues,
            turns: Turns::default(),
            arrived: Vec::new(),
            nodes,
            stores,
            storage,
            node_names: topology.nodes().iter().map(|node| node.name.clone()).collect(),
            commit_needed: false,
            processed: 0,
            failed: false,
            config,
        };
        task.init(collector, wall_clock).map_err(|error| TopologyError::Init(Box::new(error)))?;
        Ok(task)
    }

    fn init(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<(), TaskError> {
        let Self { shared, nodes, node_names, .. } = self;
        let mut task = TaskContext { shared, collector, current: None, wall_clock };
        for (index, node) in nodes {
            guarded(&mut task, &node_names[*index], |task| node.borrow_mut().init(task))?;
        }
        Ok(())
    }

    /// Returns the task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.config.task_id
    }

    /// Returns the source partitions, in the order of the queue numbers.
    pub fn inputs(&self) -> impl Iterator<Item = &TopicPartition> {
        self.queues.iter().map(|queue| &queue.source)
    }

    pub(crate) fn store(&self, name: &str) -> Option<&dyn ErasedStore> {
        self.stores.iter().find(|store| store.spec().name == name).map(|store| &**store)
    }

    /// Returns the specs of the stores, in the order of their [`StoreIndex`].
    pub fn stores(&self) -> impl Iterator<Item = &StoreSpec> {
        self.stores.iter().map(|store| store.spec())
    }

    /// Sets where a source partition starts: the committed position, or where the reset policy
    /// says. To be called for each queue before the first record.
    pub fn resume(&mut self, queue: usize, position: InputPosition) {
        let resumed = &mut self.queues[queue];
        resumed.position = Some(position.offset);
        resumed.partition_time = position.partition_time;
        if let Some(time) = position.partition_time.get() {
            self.shared.stream_time.advance(time);
        }
    }

    /// Hands back what the processors kept with the offsets of a source partition; the largest
    /// value of each key counts. To be called for each source partition, before the first record.
    pub fn restore_processor_metadata(&mut self, metadata: &ProcessorMetadata) {
        for (key, value) in metadata {
            let known = self.shared.processor_metadata.entry(key.clone()).or_insert(*value);
            *known = (*known).max(*value);
        }
    }

    /// Adds a record to a queue. Records of a queue come in the order of their offsets.
    ///
    /// # Panics
    /// If the record's offset is below the queue's position (INV-8).
    pub fn enqueue(&mut self, queue: usize, record: R) {
        if self.queues[queue].records.is_empty() {
            self.arrived.push(queue);
        }
        self.queues[queue].push(record);
    }

    /// Notes that the log of a source partition ends at `end` (the next offset to be written):
    /// there is nothing to wait for, and control records before it are passed (KAFKA-6607).
    pub fn end_of_partition(&mut self, queue: usize, end: Offset) {
        self.commit_needed |= self.queues[queue].reach_end(end);
    }

    /// Returns how many records a queue holds, and their bytes.
    #[must_use]
    pub fn buffered(&self, queue: usize) -> (usize, usize) {
        self.queues[queue].buffered()
    }

    /// Processes the next record, if there is one that may be processed now; returns whether it
    /// did.
    ///
    /// # Errors
    /// If no handler absorbed a failure; the transaction and the task are lost.
    ///
    /// # Panics
    /// If the task failed before (INV-5), as do [`Task::punctuate`] and [`Task::prepare_commit`].
    pub fn process(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<bool, TaskError> {
        self.turn(|task| task.process_next(collector, wall_clock))
    }

    fn process_next(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<bool, TaskError> {
        self.load_heads(collector, wall_clock)?;
        let Some(chosen) = self.choose(wall_clock) else { return Ok(false) };
        self.turns.take_first();
        let queue = &mut self.queues[chosen];
        let timestamp = queue.take_time();
        self.shared.stream_time.advance(timestamp);
        self.shared.now.set(timestamp);
        let PartitionQueue { source, records, port, .. } = queue;
        let raw = records.front().expect("a chosen queue has a head");
        // topics are numbered as the queues are
        let topic = chosen as u32;
        let (partition, offset) = (source.partition, raw.offset());
        self.shared.origin.set(Origin { topic, partition, offset });
        let current = Some(Current { topic: &source.topic, partition: source.partition, raw });
        let mut task = TaskContext { shared: &mut self.shared, collector, current, wall_clock };
        match caught(|| port.dispatch(&mut task)) {
            Ok(done) => done.map_err(|halt| *halt.0)?,
            Err(panic) => return Err(panicked(&task, port.node(), panic)),
        }
        queue.pop();
        if !queue.records.is_empty() {
            self.arrived.push(chosen);
        }
        self.processed += 1;
        self.commit_needed = true;
        Ok(true)
    }

    /// Reads the heads that were not read yet; drops those that the handler says to drop.
    fn load_heads(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<(), TaskError> {
        // taken and put back: no allocation
        let mut arrived = std::mem::take(&mut self.arrived);
        for number in arrived.drain(..) {
            let queue = &mut self.queues[number];
            loop {
                let failure = match caught(|| queue.load(wall_clock)) {
                    Ok(Loaded::Ready) => break,
                    Ok(Loaded::Failed(failure)) => Ok(failure),
                    Ok(Loaded::Skipped) => {
                        self.shared.dropped += 1;
                        queue.pop();
                        self.commit_needed = true;
                        continue;
                    }
                    Err(panic) => Err(panic),
                };
                let PartitionQueue { source, records, port, .. } = queue;
                let raw = records.front().expect("a head failed to load");
                let current =
                    Some(Current { topic: &source.topic, partition: source.partition, raw });
                let shared = &mut self.shared;
                let mut task =
                    TaskContext { shared, collector: &mut *collector, current, wall_clock };
                let panicked = |panic| panicked(&task, port.node(), panic);
                let failure = failure.map_err(panicked)?;
                let context = task.error_context(port.node());
                let handler = &task.shared.handlers.deserialization;
                let response = caught(|| handler.handle(&context, &*failure)).map_err(panicked)?;
                let kind = TaskErrorKind::Deserialization;
                task.respond(response, kind, port.node(), failure).map_err(|halt| *halt.0)?;
                queue.pop();
                self.commit_needed = true;
            }
            if let Some(head) = queue.head_timestamp() {
                self.turns.offer(head, number);
            }
        }
        self.arrived = arrived;
        Ok(())
    }

    /// Chooses the queue whose head has the smallest timestamp, if it is time to choose.
    fn choose(&mut self, wall_clock: Timestamp) -> Option<usize> {
        let chosen = self.turns.first()?;
        let TaskIdle::CaughtUpAnd(idle) = self.config.task_idle else { return Some(chosen) };
        let mut go = true;
        for queue in &mut self.queues {
            // not short-circuited: every empty queue's time has to run
            go &= queue.lets_others_go(wall_clock, idle);
        }
        go.then_some(chosen)
    }

    /// Runs the punctuations that are due; returns how many.
    ///
    /// # Errors
    /// As [`Task::process`].
    pub fn punctuate(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<usize, TaskError> {
        let fired = self.punctuate_stream_time(collector, wall_clock)?;
        Ok(fired + self.punctuate_wall_clock_time(collector, wall_clock)?)
    }

    pub(crate) fn punctuate_stream_time(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<usize, TaskError> {
        let Some(now) = self.shared.stream_time.get() else { return Ok(0) };
        self.turn(|task| task.run_due(PunctuationType::StreamTime, now, collector, wall_clock))
    }

    pub(crate) fn punctuate_wall_clock_time(
        &mut self,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<usize, TaskError> {
        let kind = PunctuationType::WallClockTime;
        self.turn(|task| task.run_due(kind, wall_clock, collector, wall_clock))
    }

    fn run_due(
        &mut self,
        kind: PunctuationType,
        now: Timestamp,
        collector: &mut dyn Collector,
        wall_clock: Timestamp,
    ) -> Result<usize, TaskError> {
        let mut fired = 0;
        while let Some((index, due)) = self.shared.punctuations.take_due(kind, now) {
            self.shared.now.set(now);
            self.shared.origin.set(Origin::NONE);
            let node = self.nodes.iter().find(|(number, _)| *number == index);
            let (_, node) = node.expect("only nodes of this task schedule its punctuations");
            let shared = &mut self.shared;
            let mut task =
                TaskContext { shared, collector: &mut *collector, current: None, wall_clock };
            let name = &self.node_names[index];
            guarded(&mut task, name, |task| node.borrow_mut().punctuate(task, due))?;
            fired += 1;
            self.commit_needed = true;
        }
        Ok(fired)
    }

    /// Returns when the next wall-clock punctuation is due.
    #[must_use]
    pub fn next_punctuation(&self) -> Option<Timestamp> {
        self.shared.punctuations.next_wall_clock()
    }

    /// Returns whether something is to be committed.
    #[must_use]
    pub fn commit_needed(&self) -> bool {
        self.commit_needed
    }

    /// Returns whether a processor asked for a commit.
    #[must_use]
    pub fn commit_requested(&self) -> bool {
        self.shared.commit_requested
    }

    /// Returns the bytes (estimated) that the stores hold in memory, and those of them that only a
    /// commit frees (INV-11).
    #[must_use]
    pub fn store_bytes(&self) -> (usize, usize) {
        self.stores
            .iter()
            .map(|store| store.held_bytes())
            .fold((0, 0), |(held, dirty), (h, d)| (held + h, dirty + d))
    }

    /// Returns how many records were processed and how many were dropped by handlers or by an
    /// operator's own rules; a write to a store whose entry had expired counts as dropped, too.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let expired: u64 = self.stores.iter().map(|store| store.expired()).sum();
        (self.processed, self.shared.dropped + expired)
    }

    /// Returns how many records a deduplication ignored: they were here before, or are older than
    /// one that was.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.shared.ignored
    }

    /// Returns the task's stream time.
    #[must_use]
    pub fn stream_time(&self) -> StreamTime {
        self.shared.stream_time
    }

    /// Closes the processors. Errors and panics are of no more interest.
    pub fn close(mut self) {
        for (_, node) in self.nodes.drain(..) {
            let _ = caught(|| node.borrow_mut().close());
        }
    }
}
