//! A task by itself, with everything it sends recorded: for tests below the test driver.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tidemill_core::BoxError;
use tidemill_core::errors::Handlers;
use tidemill_core::processor::{Collector, Outgoing, Processor, ProcessorContext};
use tidemill_core::processor::{SendError, SinkTopic};
use tidemill_core::record::{
    Headers, Offset, OwnedRecord, Partition, Record, StreamTime, SubTopologyId, TaskId, Timestamp,
};
use tidemill_core::store::{Acknowledged, InputPosition, MemoryStorage, StoreIndex};
use tidemill_core::task::{Task, TaskConfig, TaskIdle};
use tidemill_core::topology::Topology;
use tidemill_core::transaction::{Command, Input, Transaction};

pub(crate) const PARTITIONS: u32 = 4;
pub(crate) const NOW: Timestamp = Timestamp(0);

/// What a task sent: topic, partition and record.
pub(crate) type Sent = (String, Option<Partition>, OwnedRecord);

/// A collector that records. The topic `missing` does not exist; `full` refuses records, `down`
/// takes no records at all.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    topics: Vec<String>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) logged: Vec<(StoreIndex, OwnedRecord)>,
}

impl Recorder {
    pub(crate) fn values(&self, topic: &str) -> Vec<String> {
        let sent = self.sent.iter().filter(|(to, ..)| to == topic);
        let value = |r: &OwnedRecord| String::from_utf8(r.value.clone().unwrap_or_default());
        sent.map(|(_, _, record)| value(record).expect("the tests send text")).collect()
    }
}

impl Collector for Recorder {
    fn resolve(&mut self, topic: &str) -> Result<SinkTopic, SendError> {
        if topic == "missing" {
            return Err(SendError::Rejected("no such topic".into()));
        }
        if topic == "unreachable" {
            return Err(SendError::Failed("no broker".into()));
        }
        let index = u32::try_from(self.topics.len()).expect("a few topics");
        self.topics.push(topic.to_owned());
        Ok(SinkTopic { index, partitions: PARTITIONS })
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), SendError> {
        let topic = self.topics[record.topic.index as usize].clone();
        match &*topic {
            "full" => return Err(SendError::Rejected("too large".into())),
            "down" => return Err(SendError::Failed("no producer".into())),
            _ => {}
        }
        let owned = OwnedRecord {
            offset: Offset(self.sent.len() as i64),
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.clone(),
        };
        self.sent.push((topic, record.partition, owned));
        Ok(())
    }

    fn log(
        &mut self,
        store: StoreIndex,
        key: &[u8],
        value: Option<&[u8]>,
        timestamp: Timestamp,
        headers: &Headers,
    ) -> Result<(), SendError> {
        let mut record = record(self.logged.len() as i64, timestamp.0, "", "");
        record.key = Some(key.to_vec());
        record.value = value.map(<[u8]>::to_vec);
        record.headers = headers.clone();
        self.logged.push((store, record));
        Ok(())
    }
}

/// A task and what it needs.
pub(crate) struct Fixture {
    pub(crate) task: Task<OwnedRecord>,
    pub(crate) sent: Recorder,
    pub(crate) storage: Rc<RefCell<MemoryStorage>>,
}

impl Fixture {
    pub(crate) fn new(topology: &Topology) -> Self {
        Self::with(topology, TaskIdle::Never, Handlers::default())
    }

    pub(crate) fn with(topology: &Topology, task_idle: TaskIdle, handlers: Handlers) -> Self {
        Self::on(topology, storage(), task_idle, handlers)
    }

    /// A task on a storage that may have contents, with every input resumed at offset 0.
    pub(crate) fn on(
        topology: &Topology,
        storage: Rc<RefCell<MemoryStorage>>,
        task_idle: TaskIdle,
        handlers: Handlers,
    ) -> Self {
        let mut sent = Recorder::default();
        let config = config(task_idle, handlers);
        let mut task = Task::new(topology, config, storage.clone(), &mut sent, NOW)
            .expect("the topology is right");
        let inputs = task.inputs().count();
        for queue in 0..inputs {
            task.resume(queue, start(0, -1));
        }
        Self { task, sent, storage }
    }

    pub(crate) fn process(&mut self, wall_clock: i64) -> bool {
        self.task.process(&mut self.sent, Timestamp(wall_clock)).expect("no record is bad")
    }

    pub(crate) fn process_all(&mut self) -> usize {
        std::iter::repeat_with(|| self.process(0)).take_while(|done| *done).count()
    }

    /// Commits; returns the committed offset of each input.
    pub(crate) fn commit(&mut self) -> Vec<i64> {
        let plan = self.task.prepare_commit(&mut self.sent, NOW).expect("nothing is bad");
        let offsets = plan.inputs.values().map(|position| position.offset.0).collect();
        self.task.complete_commit(plan, Default::default(), proof()).expect("memory holds");
        offsets
    }
}

pub(crate) fn storage() -> Rc<RefCell<MemoryStorage>> {
    Rc::new(RefCell::new(MemoryStorage::new()))
}

pub(crate) fn config(task_idle: TaskIdle, handlers: Handlers) -> TaskConfig {
    TaskConfig {
        task_id: TaskId::new(SubTopologyId(0), Partition(0)),
        application_id: "app".to_owned(),
        handlers,
        task_idle,
        emit_interval: Duration::ZERO,
        store_cache_bytes_max: 1 << 20,
        globals: None,
    }
}

pub(crate) fn start(offset: i64, partition_time: i64) -> InputPosition {
    let partition_time = StreamTime::from_millis(partition_time);
    InputPosition { offset: Offset(offset), partition_time }
}

pub(crate) fn record(offset: i64, timestamp: i64, key: &str, value: &str) -> OwnedRecord {
    OwnedRecord {
        offset: Offset(offset),
        timestamp: Timestamp(timestamp),
        key: Some(key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        headers: Headers::new(),
    }
}

/// The proof of a commit, from the commit protocol itself.
pub(crate) fn proof() -> Acknowledged {
    let mut transaction = Transaction::new();
    for input in [Input::Work, Input::CommitDue, Input::Done, Input::Done] {
        transaction.step(input);
    }
    match transaction.step(Input::Done) {
        Command::Publish(acknowledgements) => acknowledgements.for_task(),
        other => panic!("{other:?} instead of Publish"),
    }
}

/// Forwards what it gets; what it does besides depends on the value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass;

impl Processor<String, String, String, String> for Pass {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        match &*record.value {
            "bad" => Err("bad value".into()),
            "panic" => panic!("value was panic"),
            "astray" => context.forward_to("nobody", record),
            _ => context.forward(record),
        }
    }
}
