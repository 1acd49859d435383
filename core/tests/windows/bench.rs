//! A windowed aggregation in a task that commits, restarts and aborts when it is told to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use tidemill_core::dsl::{
    EmitStrategy, Grouped, KTable, Materialized, SessionWindows, SlidingWindows, StreamsBuilder,
    TimeWindows, Windowed,
};
use tidemill_core::errors::Handlers;
use tidemill_core::record::{OwnedRecord, Timestamp};
use tidemill_core::serdes::{Serde, SharedSerde, optional, string};
use tidemill_core::store::{MemoryStorage, TaskStorage};
use tidemill_core::task::{ProcessorMetadata, Task, TaskIdle};
use tidemill_core::topology::{Consumed, Produced, Topology};
use tidemill_core::window::{SessionWindowedSerde, TimeWindowedSerde};

use crate::support::{Recorder, config, proof, record, start, storage};

/// A window of a key: key, start, end.
pub(crate) type Key = (String, i64, i64);
/// Which records are in a window, by their numbers.
pub(crate) type Records = BTreeSet<usize>;
pub(crate) type Windows = BTreeMap<Key, Records>;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Size, advance, grace.
    Time(u64, u64, u64),
    /// Difference, grace.
    Sliding(u64, u64),
    /// Gap, grace.
    Session(u64, u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) kind: Kind,
    pub(crate) caching: bool,
    pub(crate) emit: EmitStrategy,
    /// Milliseconds between two looks for closed windows.
    pub(crate) interval: u64,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A record of this key, so much later than the one before, after so much wall-clock time.
    Record(String, i64, i64),
    Commit,
    /// After a commit.
    Restart,
    /// Everything since the last commit is done again.
    Abort,
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn joined(_: &String, record: String, all: String) -> String {
    if all.is_empty() { record } else { format!("{all},{record}") }
}

fn table(builder: &StreamsBuilder, options: Options) -> KTable<Windowed<String>, String> {
    let stored = Materialized::as_("windows").with_value_serde(string());
    let stored = if options.caching { stored } else { stored.with_caching_disabled() };
    let grouped = builder
        .stream("in", Consumed::with(string(), string()))
        .group_by_key(Grouped::with(string(), string()));
    let emit = options.emit;
    match options.kind {
        Kind::Time(size, advance, grace) => {
            let windows = TimeWindows::of_size_and_grace(millis(size), millis(grace));
            let windows = grouped.windowed_by(windows.advance_by(millis(advance)));
            windows.emit_strategy(emit).aggregate(String::new, joined, stored)
        }
        Kind::Sliding(difference, grace) => {
            let windows =
                SlidingWindows::of_time_difference_and_grace(millis(difference), millis(grace));
            let windows = grouped.windowed_by(windows).emit_strategy(emit);
            windows.aggregate(String::new, joined, stored)
        }
        Kind::Session(gap, grace) => {
            let windows = SessionWindows::of_inactivity_gap_and_grace(millis(gap), millis(grace));
            let windows = grouped.windowed_by(windows).emit_strategy(emit);
            let merge = |key: &String, all, other| joined(key, other, all);
            windows.aggregate(String::new, joined, merge, stored)
        }
    }
}

fn key_serde(kind: Kind) -> SharedSerde<Windowed<String>> {
    match kind {
        Kind::Time(size, ..) | Kind::Sliding(size, _) => {
            std::sync::Arc::new(TimeWindowedSerde::new(string(), size as i64))
        }
        Kind::Session(..) => std::sync::Arc::new(SessionWindowedSerde::new(string())),
    }
}

/// The task, what it read, and what it committed.
pub(crate) struct Bench {
    options: Options,
    topology: Topology,
    storage: Rc<RefCell<MemoryStorage>>,
    pub(crate) metadata: ProcessorMetadata,
    task: Task<OwnedRecord>,
    sent: Recorder,
    inputs: Vec<(OwnedRecord, Timestamp)>,
    now: i64,
    /// Windows with their records, `None` for a tombstone, in the order of the commits.
    pub(crate) committed: Vec<(Key, Option<Records>)>,
}

impl Bench {
    pub(crate) fn new(options: Options) -> Self {
        let builder = StreamsBuilder::new();
        let changes = table(&builder, options).to_stream();
        changes.to("out", Produced::with(key_serde(options.kind), optional(string())));
        let topology = builder.build().unwrap();
        let (storage, mut sent) = (storage(), Recorder::default());
        let task = Self::task(&topology, options, &storage, &mut sent);
        Self {
            options,
            topology,
            storage,
            metadata: ProcessorMetadata::new(),
            task,
            sent,
            inputs: Vec::new(),
            now: 0,
            committed: Vec::new(),
        }
    }

    fn task(
        topology: &Topology,
        options: Options,
        storage: &Rc<RefCell<MemoryStorage>>,
        sent: &mut Recorder,
    ) -> Task<OwnedRecord> {
        let mut config = config(TaskIdle::Never, Handlers::default());
        config.emit_interval = millis(options.interval);
        let mut task = Task::new(topology, config, storage.clone(), sent, Timestamp(0)).unwrap();
        let position = storage.borrow().checkpoint().inputs.values().next().copied();
        task.resume(0, position.unwrap_or(start(0, -1)));
        task
    }

    /// Takes a step; records are numbered from 0.
    pub(crate) fn take(&mut self, step: &Step) {
        match step {
            Step::Record(key, later, waited) => {
                let last = self.inputs.last().map_or(0, |(last, _)| last.timestamp.0);
                self.now += waited;
                let number = self.inputs.len();
                let at = (last + later).max(0);
                let record = record(number as i64, at, key, &number.to_string());
                self.inputs.push((record, Timestamp(self.now)));
                self.process(number);
            }
            Step::Commit => self.commit(),
            Step::Restart => {
                self.commit();
                self.reopen();
            }
            Step::Abort => {
                // as if the commit had failed after the flush
                self.task.prepare_commit(&mut self.sent, Timestamp(self.now)).unwrap();
                self.storage.borrow_mut().discard();
                self.reopen();
                let checkpoint = self.storage.borrow().checkpoint().clone();
                let first = checkpoint.inputs.values().next().map_or(0, |input| input.offset.0);
                (first as usize..self.inputs.len()).for_each(|number| self.process(number));
            }
        }
    }

    fn process(&mut self, number: usize) {
        let (record, now) = self.inputs[number].clone();
        self.task.enqueue(0, record);
        assert!(self.task.process(&mut self.sent, now).unwrap());
    }

    fn reopen(&mut self) {
        self.sent = Recorder::default();
        self.task = Self::task(&self.topology, self.options, &self.storage, &mut self.sent);
        self.task.restore_processor_metadata(&self.metadata);
    }

    pub(crate) fn commit(&mut self) {
        let plan = self.task.prepare_commit(&mut self.sent, Timestamp(self.now)).unwrap();
        self.metadata.clone_from(&plan.processor_metadata);
        self.task.complete_commit(plan, BTreeMap::new(), proof()).unwrap();
        let serde = key_serde(self.options.kind);
        for (_, _, sent) in std::mem::take(&mut self.sent.sent) {
            let key = serde.deserialize("out", sent.key.as_deref()).unwrap();
            let records = |value: Vec<u8>| {
                let text = String::from_utf8(value).unwrap();
                text.split(',').map(|number| number.parse().unwrap()).collect()
            };
            let Windowed { key, window } = key;
            let key = (key, window.start.0, window.end.0);
            self.committed.push((key, sent.value.map(records)));
        }
    }

    /// The timestamps of the records, with their keys.
    pub(crate) fn records(&self) -> Vec<(String, i64)> {
        let key = |record: &OwnedRecord| String::from_utf8(record.key.clone().unwrap()).unwrap();
        self.inputs.iter().map(|(record, _)| (key(record), record.timestamp.0)).collect()
    }

    /// What somebody knows who read all that was committed.
    pub(crate) fn last(&self) -> Windows {
        let mut last = Windows::new();
        for (key, records) in &self.committed {
            match records {
                Some(records) => last.insert(key.clone(), records.clone()),
                None => last.remove(key),
            };
        }
        last
    }
}
