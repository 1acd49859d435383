//! What both sides have in common: records in memory, a collector that counts, a task.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidemill_core::BoxError;
use tidemill_core::errors::Handlers;
use tidemill_core::processor::{Collector, Outgoing, SendError, SinkTopic};
use tidemill_core::record::{
    Headers, Offset, Partition, RawRecord, StreamTime, SubTopologyId, TaskId, Timestamp,
};
use tidemill_core::store::{Acknowledged, InputPosition, MemoryStorage, StoreIndex};
use tidemill_core::task::{Task, TaskConfig, TaskIdle};
use tidemill_core::topology::Topology;
use tidemill_core::transaction::{Command, Input, Transaction};

/// Records between two commits.
pub(crate) const COMMIT_EACH: usize = 10_000;
/// Records that a worker takes at a time.
const BATCH: usize = 500;
/// Bytes that a store may keep between commits: everything.
const CACHE_BYTES: usize = 1 << 30;
const PARTITIONS: u32 = 8;
const NOW: Timestamp = Timestamp(0);

/// A record whose bytes somebody else keeps, as the client's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub(crate) queue: usize,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: &'static [u8],
    pub(crate) value: &'static [u8],
}

impl RawRecord for Message {
    fn offset(&self) -> Offset {
        Offset(self.offset)
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp(self.timestamp)
    }

    fn key(&self) -> Option<&[u8]> {
        Some(self.key)
    }

    fn value(&self) -> Option<&[u8]> {
        Some(self.value)
    }

    fn headers(&self) -> Headers {
        Headers::new()
    }
}

/// Counts what is sent, so that none of it can be left out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) outputs: u64,
    pub(crate) logged: u64,
    pub(crate) bytes: u64,
}

impl Sent {
    fn add(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        self.bytes += black_box(key).map_or(0, |key| key.len() as u64);
        self.bytes += black_box(value).map_or(0, |value| value.len() as u64);
    }
}

impl Collector for Sent {
    fn resolve(&mut self, _: &str) -> Result<SinkTopic, SendError> {
        Ok(SinkTopic { index: 0, partitions: PARTITIONS })
    }

    fn send(&mut self, record: Outgoing<'_>) -> Result<(), SendError> {
        self.outputs += 1;
        black_box(record.partition);
        self.add(record.key, record.value);
        Ok(())
    }

    fn log(
        &mut self,
        _: StoreIndex,
        key: &[u8],
        value: Option<&[u8]>,
        _: Timestamp,
        _: &Headers,
    ) -> Result<(), SendError> {
        self.logged += 1;
        self.add(Some(key), value);
        Ok(())
    }
}

/// Measures the time that this thread ran, where the system tells it: not what others took.
struct Watch {
    wall: Instant,
    ran: Option<u64>,
}

impl Watch {
    fn start() -> Self {
        Self { wall: Instant::now(), ran: ran_ns() }
    }

    fn elapsed(&self) -> Duration {
        match (self.ran, ran_ns()) {
            (Some(before), Some(now)) => Duration::from_nanos(now - before),
            _ => self.wall.elapsed(),
        }
    }
}

fn ran_ns() -> Option<u64> {
    // lets the kernel bring its account up to date
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// How a run went.
pub(crate) struct Outcome {
    pub(crate) sent: Sent,
    pub(crate) took: Duration,
}

/// Runs a loop written by hand: `work` gets each record, `commit` is called in between.
pub(crate) fn by_hand<S>(
    input: &[Message],
    mut state: S,
    mut work: impl FnMut(&mut S, &mut dyn Collector, &Message),
    mut commit: impl FnMut(&mut S, &mut dyn Collector),
) -> Outcome {
    let mut sent = Sent::default();
    let start = Watch::start();
    for records in input.chunks(COMMIT_EACH) {
        for record in records {
            work(&mut state, &mut sent, record);
        }
        commit(&mut state, &mut sent);
    }
    Outcome { took: start.elapsed(), sent }
}

/// Runs a topology, as a worker does.
pub(crate) fn tidemill(topology: &Topology, input: &[Message]) -> Outcome {
    run(topology, input).expect("the topology runs")
}

fn run(topology: &Topology, input: &[Message]) -> Result<Outcome, BoxError> {
    let mut sent = Sent::default();
    let config = TaskConfig {
        task_id: TaskId::new(SubTopologyId(0), Partition(0)),
        application_id: "bench".to_owned(),
        handlers: Handlers::default(),
        task_idle: TaskIdle::Never,
        store_cache_bytes_max: CACHE_BYTES,
        globals: None,
        emit_interval: Duration::from_secs(1),
    };
    let storage = Rc::new(RefCell::new(MemoryStorage::new()));
    let mut task = Task::new(topology, config, storage, &mut sent, NOW)?;
    let start = InputPosition { offset: Offset(0), partition_time: StreamTime::from_millis(-1) };
    for queue in 0..task.inputs().count() {
        task.resume(queue, start);
    }
    let start = Watch::start();
    for records in input.chunks(COMMIT_EACH) {
        for batch in records.chunks(BATCH) {
            for record in batch {
                task.enqueue(record.queue, *record);
            }
            while task.process(&mut sent, NOW)? {}
        }
        let plan = task.prepare_commit(&mut sent, NOW)?;
        task.complete_commit(plan, BTreeMap::new(), proof())?;
    }
    Ok(Outcome { took: start.elapsed(), sent })
}

/// The proof of a commit, from the protocol itself.
fn proof() -> Acknowledged {
    let mut transaction = Transaction::new();
    for input in [Input::Work, Input::CommitDue, Input::Done, Input::Done] {
        transaction.step(input);
    }
    match transaction.step(Input::Done) {
        Command::Publish(acknowledgements) => acknowledgements.for_task(),
        other => panic!("{other:?} instead of Publish"),
    }
}
