//! A producer: records out, with their acknowledged positions, in transactions.
//!
//! Its calls are those of [`crate::client::Producer`], and what they do is what librdkafka does
//! behind those: `sender` is its broker thread, `coordinator` its main thread, `state` the state
//! machine of its transactions.

mod batch;
mod calls;
mod coordinator;
mod offsets;
mod queue;
mod replies;
mod seam;
mod sender;
mod state;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tidemill_core::record::{Partition, TopicPartition};

use self::queue::{Queue, Queued};
use self::state::{State, Txn};
use super::Embedded;
use super::link::Link;
use super::options::{Options, Timing};
use super::records::Outbound;
use crate::client::error::{ClientError, Severity};
use crate::client::kafka::code;
use crate::client::kafka::delivery::DeliveryLog;
use crate::client::kafka::error::{self, Flag, Flagged, invalid};
use crate::client::types::{ClientConfig, Outgoing, PositionSlot, SendError, TopicHandle};
use crate::simulation::fiber::{ProcessId, Scheduler, Signal};

const SEND: &str = "send a record";
/// librdkafka's `_FENCED`: what every kind of fence becomes.
const FENCED: i32 = -144;
const INVALID_PRODUCER_EPOCH: i32 = 47;
const INVALID_TXN_STATE: i32 = 48;
const INVALID_PRODUCER_ID_MAPPING: i32 = 49;
const CONCURRENT_TRANSACTIONS: i32 = 51;
const UNKNOWN_PRODUCER_ID: i32 = 59;
const PRODUCER_FENCED: i32 = 90;
const COORDINATOR_LOAD_IN_PROGRESS: i32 = 14;
/// COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
const COORDINATOR_IS_ELSEWHERE: [i32; 2] = [15, 16];
/// TRANSACTIONAL_ID_AUTHORIZATION_FAILED, CLUSTER_AUTHORIZATION_FAILED
const UNAUTHORIZED: [i32; 2] = [53, 31];

/// A producer of the simulated broker.
pub(crate) struct Producer {
    core: Rc<Core>,
    topics: Vec<Rc<str>>,
    handles: BTreeMap<String, TopicHandle>,
    slots: BTreeMap<TopicPartition, PositionSlot>,
    id: u32,
}

/// What the application's calls and the fibers share.
struct Core {
    scheduler: Scheduler,
    process: ProcessId,
    settings: Settings,
    data: Link,
    /// The transaction coordinator.
    transactions: Link,
    log: DeliveryLog,
    /// Errors of connections that were not served yet.
    errors: Rc<RefCell<Vec<i32>>>,
    queue: RefCell<Queue>,
    /// Wakes the sender.
    work: Signal,
    reports: RefCell<VecDeque<Report>>,
    reported: Signal,
    txn: RefCell<Txn>,
    /// Wakes the coordinator's fiber.
    job: Signal,
    /// Wakes a transactional call.
    decided: Signal,
    has_coordinator: Cell<bool>,
    /// The group whose coordinator is known.
    group_coordinator: RefCell<Option<String>>,
}

/// What became of a record.
#[derive(Debug)]
struct Report {
    topic: Rc<str>,
    partition: i32,
    slot: Option<u32>,
    /// The offset, or the code.
    outcome: Result<i64, i32>,
    bytes: usize,
}

struct Settings {
    transactional_id: Option<String>,
    transaction_timeout: Duration,
    idempotent: bool,
    linger: Duration,
    batch_messages: usize,
    batch_bytes: usize,
    messages_max: usize,
    bytes_max: usize,
    message_bytes_max: usize,
    message_timeout: Duration,
    propagation: Duration,
    in_flight_max: usize,
    timing: Timing,
}

impl Settings {
    fn new(options: &Options) -> Self {
        let transactional_id = options.text("transactional.id");
        let transaction_timeout = options.millis("transaction.timeout.ms", 60_000);
        let limit = transactional_id.is_some().then_some(transaction_timeout);
        let idempotent = transactional_id.is_some() || options.flag("enable.idempotence");
        let message_timeout = options.millis("message.timeout.ms", 300_000);
        Self {
            idempotent,
            linger: options.millis("queue.buffering.max.ms", 5),
            batch_messages: options.count("batch.num.messages", 10_000).max(1),
            batch_bytes: options.count("batch.size", 1_000_000),
            messages_max: options.count("queue.buffering.max.messages", 100_000).max(1),
            bytes_max: options.count("queue.buffering.max.kbytes", 1_048_576) * 1024,
            message_bytes_max: options.count("message.max.bytes", 1_000_000),
            message_timeout: limit.map_or(message_timeout, |limit| message_timeout.min(limit)),
            propagation: options.millis("topic.metadata.propagation.max.ms", 30_000),
            in_flight_max: if idempotent { 5 } else { 1_000_000 },
            timing: options.timing(limit),
            transactional_id,
            transaction_timeout,
        }
    }
}

impl Producer {
    /// Makes a producer. It connects when it has something to ask.
    pub(super) fn new(embedded: &Embedded, config: &ClientConfig) -> Result<Self, ClientError> {
        let options = Options::new(config)?;
        let settings = Settings::new(&options);
        let errors = Rc::<RefCell<Vec<i32>>>::default();
        let link = || embedded.link(&options.client_id(), settings.timing, Rc::clone(&errors));
        let core = Rc::new(Core {
            scheduler: embedded.network().scheduler().clone(),
            process: embedded.process(),
            data: link(),
            transactions: link(),
            log: DeliveryLog::default(),
            errors: Rc::clone(&errors),
            queue: RefCell::default(),
            work: Signal::new("records to send"),
            reports: RefCell::default(),
            reported: Signal::new("delivery reports"),
            txn: RefCell::default(),
            job: Signal::new("a transactional request"),
            decided: Signal::new("a transaction's fate"),
            has_coordinator: Cell::new(false),
            group_coordinator: RefCell::default(),
            settings,
        });
        let of_sender = Rc::clone(&core);
        core.scheduler.spawn(core.process, "sender", move || sender::run(&of_sender));
        if core.settings.idempotent {
            if core.settings.transactional_id.is_none() {
                core.txn.borrow_mut().job = Some(state::Job::Init);
            }
            let of_main = Rc::clone(&core);
            core.scheduler.spawn(core.process, "producer", move || coordinator::run(&of_main));
        }
        let id = embedded.next_producer();
        let (handles, slots) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { core, topics: Vec::new(), handles, slots, id })
    }

    /// See [`crate::client::Producer::topic`].
    fn topic_handle(&mut self, name: &str) -> Result<TopicHandle, ClientError> {
        if let Some(handle) = self.handles.get(name) {
            return Ok(*handle);
        }
        if name.is_empty() || name.len() > 512 || name.contains('\0') {
            return Err(invalid("open a topic", format!("'{name}' is not a topic name")));
        }
        let index = u32::try_from(self.topics.len()).expect("fewer topics than 2^32");
        self.topics.push(name.into());
        let handle = TopicHandle { producer: self.id, index };
        self.handles.insert(name.to_owned(), handle);
        Ok(handle)
    }

    /// See [`crate::client::Producer::register_position`].
    fn position_slot(&mut self, partition: TopicPartition) -> PositionSlot {
        let (producer, log) = (self.id, &self.core.log);
        *self
            .slots
            .entry(partition)
            .or_insert_with(|| PositionSlot { producer, index: log.add_slot() })
    }

    /// See [`crate::client::Producer::send`].
    fn enqueue(&mut self, record: &Outgoing<'_>) -> Result<(), SendError> {
        let slot = record.position.map(|slot| {
            assert_eq!(slot.producer, self.id, "a position slot of another producer");
            slot.index
        });
        assert_eq!(record.topic.producer, self.id, "a topic handle of another producer");
        let topic = Rc::clone(&self.topics[record.topic.index as usize]);
        self.core.may_send()?;
        let headers = record.headers.iter();
        let outbound = Outbound {
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            // as the real client, see `Outgoing::timestamp`
            timestamp: if record.timestamp.0 == 0 { 1 } else { record.timestamp.0 },
            headers: headers.map(|one| (one.key.to_string(), one.value.clone())).collect(),
        };
        let (max, bytes) = (self.core.settings.message_bytes_max, outbound.size());
        if bytes > max {
            let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            return Err(SendError::TooLarge { bytes, max });
        }
        let mut queue = self.core.queue.borrow_mut();
        let settings = &self.core.settings;
        if queue.messages >= settings.messages_max
            || (queue.messages > 0 && queue.bytes + bytes > settings.bytes_max)
        {
            return Err(SendError::QueueFull);
        }
        let partition = record.partition.map(|partition| partition.0);
        if let Some(error) = queue.refuses(&topic, partition) {
            let message = error::from_code(SEND, error).message;
            return Err(Flagged::new(error, message, None).transactional(SEND).into());
        }
        let since = self.core.scheduler.now();
        let queued = Queued { record: outbound, slot, since };
        let transactional = settings.transactional_id.is_some();
        let pick = match partition {
            Some(_) => 0,
            None => self.core.scheduler.random(|rng| rng.u32(..)),
        };
        queue.push(&topic, partition, queued, transactional, pick);
        drop(queue);
        if let Some(slot) = slot {
            self.core.log.sent(slot);
        }
        self.core.work.raise();
        Ok(())
    }

    /// See [`crate::client::Producer::poll`].
    fn serve_reports(&mut self, timeout: Duration) {
        let core = &self.core;
        let deadline = core.scheduler.now().saturating_add(timeout);
        loop {
            let served = core.serve();
            if served || core.scheduler.now() >= deadline || core.is_dead() {
                return;
            }
            core.scheduler.park(&core.reported, Some(deadline));
        }
    }
}

impl Core {
    fn is_dead(&self) -> bool {
        self.data.is_closed() || self.scheduler.is_killed(self.process)
    }

    fn is_transactional(&self) -> bool {
        self.settings.transactional_id.is_some()
    }

    /// Whether the application may hand over a record now.
    fn may_send(&self) -> Result<(), SendError> {
        let txn = self.txn.borrow();
        if let Some((_, message)) = txn.fatal() {
            let message =
                format!("Producing not allowed since a previous fatal error was raised: {message}");
            return Err(Flagged::new(code::FATAL, message, None).transactional(SEND).into());
        }
        if self.is_transactional() && txn.state != State::InTransaction {
            let message = format!("Producing not allowed in transactional state {:?}", txn.state);
            let mut error = Flagged::new(code::STATE, message, None).transactional(SEND);
            // as in the real client: not in a transaction, or in one that failed
            error.severity = Severity::Abort;
            return Err(error.into());
        }
        Ok(())
    }

    /// Tells about a record, when the application listens.
    fn report(&self, topic: &Rc<str>, partition: i32, queued: Queued, outcome: Result<i64, i32>) {
        if outcome.is_err() {
            self.txn.borrow_mut().failed += 1;
        }
        let (topic, bytes) = (Rc::clone(topic), queued.record.size());
        let report = Report { topic, partition, slot: queued.slot, outcome, bytes };
        self.reports.borrow_mut().push_back(report);
        self.reported.raise();
    }

    /// Takes reports and errors in; true if there were any.
    fn serve(&self) -> bool {
        let reports = std::mem::take(&mut *self.reports.borrow_mut());
        let errors = std::mem::take(&mut *self.errors.borrow_mut());
        let served = !reports.is_empty() || !errors.is_empty();
        if errors.into_iter().any(code::transport) {
            self.log.trouble();
        }
        for report in reports {
            {
                let mut queue = self.queue.borrow_mut();
                queue.messages -= 1;
                queue.bytes -= report.bytes;
            }
            match (report.outcome, report.slot) {
                (Ok(offset), Some(slot)) => self.log.acknowledged(slot, offset),
                (Ok(_), None) | (Err(code::PURGE_QUEUE | code::PURGE_INFLIGHT), _) => {}
                (Err(code), _) => {
                    self.log.failed(code, report.topic.to_string(), Partition(report.partition));
                }
            }
        }
        served
    }

    /// Waits until every record was reported; false if that takes longer.
    fn flush(&self, deadline: Duration) -> bool {
        self.queue.borrow_mut().flushing += 1;
        self.work.raise();
        let flushed = loop {
            self.serve();
            if self.queue.borrow().messages == 0 {
                break true;
            }
            if self.scheduler.now() >= deadline || self.is_dead() {
                break false;
            }
            self.scheduler.park(&self.reported, Some(deadline));
        };
        self.queue.borrow_mut().flushing -= 1;
        flushed
    }

    /// The error that made this producer unusable.
    fn fatal_error(&self, operation: &'static str) -> Option<ClientError> {
        let txn = self.txn.borrow();
        let (code, message) = txn.fatal()?;
        let severity = error::rebuild_unless_fatal(code);
        Some(error::make(operation, code, message, severity))
    }

    /// Nothing more is possible with this producer.
    fn set_fatal(&self, code: i32, message: &str) {
        let code = normalized(code);
        tracing::debug!(code, message, "a simulated producer is beyond use");
        self.txn.borrow_mut().set_fatal(code, message);
        self.decided.raise();
        self.purge(true);
    }

    /// The transaction can only be aborted; perhaps with a new epoch afterwards.
    fn set_abortable(&self, code: i32, message: &str, bump: bool) {
        if self.txn.borrow_mut().set_abortable(code, message, bump) {
            self.purge(false);
        }
    }

    /// Drops what was not sent; what is on its way too, if nothing of it matters any more.
    fn purge(&self, in_flight: bool) {
        let purged = self.queue.borrow_mut().purge(in_flight);
        for (topic, partition, queued, code) in purged {
            self.report(&topic, partition, queued, Err(code));
        }
        self.work.raise();
    }
}

/// All fencing is one to the application.
fn normalized(code: i32) -> i32 {
    match code {
        INVALID_PRODUCER_EPOCH | PRODUCER_FENCED => FENCED,
        code::TIMED_OUT_QUEUE => code::TIMED_OUT,
        other => other,
    }
}

/// An error of a transactional call, by what it asks for.
fn flagged(code: i32, message: impl Into<String>, flag: Flag) -> Flagged {
    Flagged::new(code, message, Some(flag))
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.core.data.close();
        self.core.transactions.close();
        self.core.work.raise();
        self.core.job.raise();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("topics", &self.handles).finish_non_exhaustive()
    }
}
