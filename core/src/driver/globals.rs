//! The global stores of a test: filled by a task of their own, read by the topology's.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{DriverConfig, DriverError};
use crate::errors::{Handlers, LogAndContinue};
use crate::record::{Offset, OwnedRecord, StreamTime, TaskId, Timestamp};
use crate::store::{
    ErasedStore, GlobalStorage, InputPosition, KeyRange, MemoryStorage, Order, StoreError,
    StoreIndex, StoredEntry, TaskStorage,
};
use crate::task::{NothingSent, Task, TaskConfig};
use crate::topology::Topology;

/// The task that fills the global stores, and what it stored.
pub(super) struct Globals {
    task: Task<OwnedRecord>,
    stored: Rc<Stored>,
}

impl Globals {
    /// Makes the task; `None` if the topology has no global store.
    pub(super) fn new(
        topology: &Topology,
        config: &DriverConfig,
    ) -> Result<Option<Self>, DriverError> {
        let Some(sub_topology) = topology.global_topology() else { return Ok(None) };
        let stored = Rc::new(Stored::default());
        let topics = sub_topology.source_topics.iter();
        let partitions: BTreeMap<String, u32> =
            topics.map(|(topic, _)| (topic.resolve(&config.application_id), 1)).collect();
        let task_config = TaskConfig {
            task_id: TaskId::GLOBAL,
            application_id: config.application_id.clone(),
            // as Kafka Streams' driver does, whatever is configured
            handlers: Handlers { deserialization: Arc::new(LogAndContinue), ..Handlers::default() },
            task_idle: config.task_idle,
            emit_interval: Duration::ZERO,
            store_cache_bytes_max: config.store_cache_bytes_max,
            globals: None,
        };
        let contents: Rc<RefCell<dyn TaskStorage>> = stored.contents.clone();
        let now = config.initial_wall_clock_time;
        let mut task =
            Task::global(topology, &partitions, task_config, contents, &mut NothingSent, now)?;
        let start = InputPosition { offset: Offset::ZERO, partition_time: StreamTime::UNKNOWN };
        for queue in 0..partitions.len() {
            task.resume(queue, start);
            task.end_of_partition(queue, Offset::ZERO);
        }
        Ok(Some(Self { task, stored }))
    }

    /// Returns the topics, in the order of the queues.
    pub(super) fn topics(&self) -> impl Iterator<Item = String> {
        self.task.inputs().map(|input| input.topic.to_string())
    }

    /// Returns what the topology's task reads.
    pub(super) fn storage(&self) -> Rc<dyn GlobalStorage> {
        self.stored.clone()
    }

    pub(super) fn store(&self, name: &str) -> Option<&dyn ErasedStore> {
        self.task.store(name)
    }

    pub(super) fn store_names(&self) -> impl Iterator<Item = &str> {
        self.task.stores().map(|store| &*store.name)
    }

    pub(super) fn enqueue(&mut self, queue: usize, record: OwnedRecord) {
        let end = record.offset.next();
        self.task.enqueue(queue, record);
        self.task.end_of_partition(queue, end);
    }

    /// Takes all records, then stores what they, or a test by a handle, have written.
    pub(super) fn update(&mut self, now: Timestamp) -> Result<(), DriverError> {
        let task = &mut self.task;
        loop {
            let worked = task.process(&mut NothingSent, now)?;
            if !worked && task.punctuate(&mut NothingSent, now)? == 0 {
                break;
            }
        }
        if task.commit_needed() || task.store_bytes().1 > 0 {
            let plan = task.prepare_commit(&mut NothingSent, now)?;
            task.publish_global(plan)?;
            self.stored.version.set(self.stored.version.get() + 1);
        }
        Ok(())
    }

    pub(super) fn close(self) {
        self.task.close();
    }
}

/// The contents of the global stores.
#[derive(Default)]
struct Stored {
    contents: Rc<RefCell<MemoryStorage>>,
    version: Cell<u64>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("version", &self.version.get()).finish_non_exhaustive()
    }
}

impl GlobalStorage for Stored {
    fn get(
        &self,
        store: StoreIndex,
        key: &[u8],
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, StoreError> {
        self.contents.borrow().get(store, key, visit)
    }

    fn scan(
        &self,
        store: StoreIndex,
        range: KeyRange<'_>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.contents.borrow().scan(store, range, order, limit)
    }

    fn approximate_len(&self, store: StoreIndex) -> u64 {
        self.contents.borrow().approximate_len(store)
    }

    fn version(&self) -> u64 {
        self.version.get()
    }
}
