//! The loop of the test driver: process, punctuate, commit, feed back.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::error::list;
use super::globals::Globals;
use super::topics::{Queue, Topics};
use super::{DriverConfig, DriverError};
use crate::errors::TaskError;
use crate::record::{Offset, OwnedRecord, Partition, StreamTime, SubTopologyId, TaskId, Timestamp};
use crate::store::{
    Acknowledged, InputPosition, MemoryStorage, StoreCore, StoreError, StoreKind, VersionedCore,
};
use crate::task::{Task, TaskConfig};
use crate::topology::{SourcePartitions, Topology, TopologyError, check_name};

/// Whether records are taken.
enum Life {
    Running(Box<Task<OwnedRecord>>),
    /// With the text of the error.
    Stopped(String),
    Closed,
}

/// The kind of store that a handle is for.
pub(super) struct Expected {
    pub(super) name: &'static str,
    pub(super) fits: fn(StoreKind) -> bool,
}

pub(super) struct Engine {
    life: Life,
    globals: Option<Globals>,
    topics: Topics,
    wall_clock: Timestamp,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("wall_clock", &self.wall_clock).finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn new(topology: &Topology, config: DriverConfig) -> Result<Self, DriverError> {
        check_name(&config.application_id)?;
        let sub_topology = topology.collapsed();
        if sub_topology.source_topics.is_empty() {
            return Err(TopologyError::Empty.into());
        }
        let globals = Globals::new(topology, &config)?;
        let mut topics = Topics::default();
        for spec in &sub_topology.stores {
            topics.add_store(spec, &config.application_id);
        }
        let wall_clock = config.initial_wall_clock_time;
        let task_config = TaskConfig {
            task_id: TaskId::new(SubTopologyId(0), Partition(0)),
            application_id: config.application_id,
            handlers: config.handlers,
            task_idle: config.task_idle,
            emit_interval: Duration::ZERO,
            store_cache_bytes_max: config.store_cache_bytes_max,
            globals: globals.as_ref().map(Globals::storage),
        };
        let storage = Rc::new(RefCell::new(MemoryStorage::new()));
        let mut task = Task::instantiate(
            topology,
            (&sub_topology, SourcePartitions::One(Partition(0))),
            task_config,
            storage,
            &mut topics,
            wall_clock,
        )?;
        let sources: Vec<String> = task.inputs().map(|input| input.topic.to_string()).collect();
        let start = InputPosition { offset: Offset::ZERO, partition_time: StreamTime::UNKNOWN };
        for (queue, name) in sources.iter().enumerate() {
            topics.add_source(name, Queue::Task(queue));
            task.resume(queue, start);
            task.end_of_partition(queue, Offset::ZERO);
        }
        for (queue, name) in globals.iter().flat_map(Globals::topics).enumerate() {
            topics.add_source(&name, Queue::Global(queue));
        }
        let mut engine = Self { life: Life::Running(Box::new(task)), globals, topics, wall_clock };
        // what `init` sent
        engine.run()?;
        Ok(engine)
    }

    pub(super) fn wall_clock(&self) -> Timestamp {
        self.wall_clock
    }

    pub(super) fn task(&self) -> Result<&Task<OwnedRecord>, DriverError> {
        match &self.life {
            Life::Running(task) => Ok(task),
            Life::Stopped(error) => Err(DriverError::Stopped(error.clone())),
            Life::Closed => Err(DriverError::Closed),
        }
    }

    /// Finds the queue of a source topic.
    pub(super) fn input(&self, name: &str) -> Result<Queue, DriverError> {
        self.task()?;
        let found = self.topics.sources().find(|(topic, _)| *topic == name);
        found.map(|(_, queue)| queue).ok_or_else(|| DriverError::UnknownInputTopic {
            topic: name.to_owned(),
            known: list(self.topics.sources().map(|(topic, _)| topic)),
        })
    }

    /// Adds a record to a queue and processes all that can be processed.
    pub(super) fn pipe(&mut self, queue: Queue, record: OwnedRecord) -> Result<(), DriverError> {
        self.task()?;
        let record = self.topics.append_input(queue, record);
        self.enqueue(queue, record)?;
        self.run()
    }

    pub(super) fn advance_wall_clock_time(&mut self, by: Duration) -> Result<(), DriverError> {
        self.task()?;
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.wall_clock = Timestamp(self.wall_clock.0.saturating_add(millis));
        self.update_globals()?;
        self.turn(|task, topics, now| task.punctuate_wall_clock_time(topics, now).map(drop))?;
        self.commit()?;
        self.run()
    }

    fn run(&mut self) -> Result<(), DriverError> {
        // a test may have written to one by a handle
        self.update_globals()?;
        self.commit()?;
        loop {
            let mut worked = false;
            self.turn(|task, topics, now| {
                worked = task.process(topics, now)?;
                // heads that a handler dropped are work too
                worked |= task.commit_needed();
                task.punctuate_stream_time(topics, now).map(drop)
            })?;
            if !worked {
                return Ok(());
            }
            self.commit()?;
        }
    }

    /// Commits, and puts into the queues what was written to source topics.
    fn commit(&mut self) -> Result<(), DriverError> {
        let mut plan = None;
        self.turn(|task, topics, now| {
            plan = Some(task.prepare_commit(topics, now)?);
            Ok(())
        })?;
        let Some(plan) = plan else { return Ok(()) };
        let fed = self.topics.commit();
        let ends = self.topics.changelog_ends();
        if let Life::Running(task) = &mut self.life {
            task.complete_commit(plan, ends, Acknowledged::by_broker())?;
        }
        for (queue, record) in fed {
            self.enqueue(queue, record)?;
        }
        Ok(())
    }

    fn enqueue(&mut self, queue: Queue, record: OwnedRecord) -> Result<(), DriverError> {
        match (queue, &mut self.life, &mut self.globals) {
            (Queue::Task(queue), Life::Running(task), _) => {
                let end = record.offset.next();
                task.enqueue(queue, record);
                task.end_of_partition(queue, end);
            }
            (Queue::Global(queue), Life::Running(_), Some(globals)) => {
                globals.enqueue(queue, record);
                self.update_globals()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Stores what there is for the global stores.
    fn update_globals(&mut self) -> Result<(), DriverError> {
        let Some(globals) = &mut self.globals else { return Ok(()) };
        let updated = globals.update(self.wall_clock);
        if let Err(error) = &updated {
            self.topics.abort();
            self.end(Life::Stopped(error.to_string()));
        }
        updated
    }

    /// Lets the task do something. After an error the transaction and the task are gone.
    fn turn(
        &mut self,
        work: impl FnOnce(&mut Task<OwnedRecord>, &mut Topics, Timestamp) -> Result<(), TaskError>,
    ) -> Result<(), DriverError> {
        let Life::Running(task) = &mut self.life else { return self.task().map(drop) };
        match work(task, &mut self.topics, self.wall_clock) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.topics.abort();
                self.end(Life::Stopped(error.to_string()));
                Err(error.into())
            }
        }
    }

    pub(super) fn store<K: 'static, V: 'static>(
        &self,
        name: &str,
        kind: Option<Expected>,
    ) -> Result<Rc<RefCell<StoreCore<K, V>>>, DriverError> {
        let global = || self.globals.as_ref().and_then(|globals| globals.store(name));
        let found = self.task()?.store(name).or_else(global);
        let found = found.ok_or_else(|| self.unknown_store(name))?;
        let wrong =
            |actual, expected| StoreError::WrongType { store: name.to_owned(), actual, expected };
        if let Some(Expected { name, fits }) = kind
            && !fits(found.spec().kind)
        {
            return Err(wrong(found.spec().kind.name(), name).into());
        }
        let handle: Rc<dyn Any> = found.handle();
        let types = std::any::type_name::<(K, V)>();
        handle.downcast().map_err(|_| wrong(found.type_name(), types).into())
    }

    pub(super) fn versions<K: 'static, V: 'static>(
        &self,
        name: &str,
    ) -> Result<Rc<RefCell<VersionedCore<K, V>>>, DriverError> {
        let found = self.task()?.store(name).ok_or_else(|| self.unknown_store(name))?;
        let handle: Rc<dyn Any> = found.handle();
        handle.downcast().map_err(|_| {
            let (store, expected) = (name.to_owned(), "versioned key-value store of these types");
            StoreError::WrongType { store, actual: found.type_name(), expected }.into()
        })
    }

    pub(super) fn store_names(&self) -> Vec<String> {
        let globals = self.globals.iter().flat_map(Globals::store_names);
        self.topics.store_names().chain(globals).map(str::to_owned).collect()
    }

    pub(super) fn changelog(&self, store: &str) -> Result<Vec<OwnedRecord>, DriverError> {
        let records = self.topics.changelog(store).ok_or_else(|| self.unknown_store(store))?;
        Ok(records.to_vec())
    }

    fn unknown_store(&self, name: &str) -> DriverError {
        let known = self.store_names();
        let known = list(known.iter().map(String::as_str));
        DriverError::UnknownStore { store: name.to_owned(), known }
    }

    pub(super) fn produced_topic_names(&self) -> Vec<String> {
        self.topics.produced().map(str::to_owned).collect()
    }

    /// Takes the oldest unread record of a topic.
    pub(super) fn read(&mut self, name: &str) -> Result<OwnedRecord, DriverError> {
        let next = self.topics.read(name).ok_or_else(|| DriverError::UnknownOutputTopic {
            topic: name.to_owned(),
            known: list(self.topics.produced()),
        })?;
        next.ok_or_else(|| DriverError::EmptyTopic(name.to_owned()))
    }

    pub(super) fn unread(&self, name: &str) -> usize {
        self.topics.unread(name)
    }

    pub(super) fn close(&mut self) {
        if matches!(self.life, Life::Running(_)) {
            self.end(Life::Closed);
        }
    }

    fn end(&mut self, life: Life) {
        if let Life::Running(task) = std::mem::replace(&mut self.life, life) {
            task.close();
        }
        if let Some(globals) = self.globals.take() {
            globals.close();
        }
    }
}
