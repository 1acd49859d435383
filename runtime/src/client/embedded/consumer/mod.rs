//! A consumer: group membership by events, records by partition readers.
//!
//! Its calls are those of [`crate::client::Consumer`], and what they do is what librdkafka does
//! behind those: `member` is its group thread, `fetch` its broker thread.

mod assignor;
mod fetch;
mod join;
mod member;
mod offsets;
mod queue;
mod reader;
mod seam;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidemill_core::record::{Offset, TopicPartition};

use self::fetch::Fetching;
use self::member::{Join, Member};
use self::queue::PartitionQueue;
pub(crate) use self::reader::PartitionReader;
use super::Embedded;
use super::link::Link;
use super::options::{Options, Timing};
use crate::client::error::{ClientError, Severity};
use crate::client::kafka::code;
use crate::client::kafka::error::{self, invalid};
use crate::client::types::{ClientConfig, GroupEvent};
use crate::client::waker::Waker;
use crate::mutation::{Guard, removed};
use crate::simulation::fiber::{ProcessId, Scheduler, Signal};

/// A consumer of the simulated broker.
pub(crate) struct Consumer {
    core: Rc<Core>,
    readers: BTreeMap<TopicPartition, Rc<PartitionQueue>>,
    closed: bool,
}

/// A member's identity at one moment: group, generation, member and instance id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupMetadata {
    pub(super) group: String,
    pub(super) generation: i32,
    pub(super) member: String,
    pub(super) instance: Option<String>,
}

/// What the application's calls and the fibers share.
pub(super) struct Core {
    scheduler: Scheduler,
    process: ProcessId,
    settings: Settings,
    data: Link,
    coordinator: Link,
    waker: Arc<Waker>,
    events: RefCell<VecDeque<Event>>,
    arrived: Signal,
    member: RefCell<Member>,
    /// Wakes the membership's fiber.
    membership: Signal,
    fetching: RefCell<Fetching>,
    /// Wakes the fetching fiber.
    fetch: Signal,
    /// Raised when the group was left.
    left: Signal,
    /// When the application last polled; `None` while it is in a poll.
    polled: Cell<Option<Duration>>,
    fatal: RefCell<Option<(i32, String)>>,
}

/// What is told to the application, in librdkafka's terms.
#[derive(Debug)]
enum Event {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
    Error { code: i32, message: String },
}

/// Options, read once.
struct Settings {
    group: String,
    instance: Option<String>,
    session_timeout: Duration,
    heartbeat_interval: Duration,
    max_poll_interval: Duration,
    read_committed: bool,
    fetch_wait: Duration,
    fetch_min_bytes: usize,
    fetch_max_bytes: usize,
    partition_max_bytes: usize,
    queue_max_bytes: usize,
    queue_min_messages: usize,
    queue_backoff: Duration,
    error_backoff: Duration,
    propagation: Duration,
    reset: Reset,
    timing: Timing,
}

/// What to do about an offset that is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    Earliest,
    Latest,
    Error,
}

impl Settings {
    fn new(options: &Options) -> Self {
        let reset = match options.text("auto.offset.reset").as_deref() {
            Some("smallest" | "earliest" | "beginning") => Reset::Earliest,
            Some("error") => Reset::Error,
            _ => Reset::Latest,
        };
        let isolation = options.text("isolation.level");
        Self {
            group: options.text("group.id").unwrap_or_else(|| "tidemill".to_owned()),
            instance: options.text("group.instance.id"),
            session_timeout: options.millis("session.timeout.ms", 45_000),
            heartbeat_interval: options.millis("heartbeat.interval.ms", 3_000),
            max_poll_interval: options.millis("max.poll.interval.ms", 300_000),
            read_committed: isolation.as_deref() != Some("read_uncommitted"),
            fetch_wait: options.millis("fetch.wait.max.ms", 500),
            fetch_min_bytes: options.count("fetch.min.bytes", 1),
            fetch_max_bytes: options.count("fetch.max.bytes", 52_428_800),
            partition_max_bytes: options.count("fetch.message.max.bytes", 1_048_576),
            queue_max_bytes: options.count("queued.max.messages.kbytes", 65_536) * 1024,
            queue_min_messages: options.count("queued.min.messages", 100_000),
            queue_backoff: options.millis("fetch.queue.backoff.ms", 1_000),
            error_backoff: options.millis("fetch.error.backoff.ms", 500),
            propagation: options.millis("topic.metadata.propagation.max.ms", 30_000),
            reset,
            timing: options.timing(None),
        }
    }
}

impl Consumer {
    /// Makes a consumer. It connects when it has something to ask.
    pub(super) fn new(
        embedded: &Embedded,
        config: &ClientConfig,
        waker: Arc<Waker>,
    ) -> Result<Self, ClientError> {
        let options = Options::new(config)?;
        let settings = Settings::new(&options);
        let link = || embedded.link(&options.client_id(), settings.timing, Rc::default());
        let core = Core {
            scheduler: embedded.network().scheduler().clone(),
            process: embedded.process(),
            data: link(),
            coordinator: link(),
            waker,
            events: RefCell::default(),
            arrived: Signal::new("a group event"),
            member: RefCell::default(),
            membership: Signal::new("the group"),
            fetching: RefCell::default(),
            fetch: Signal::new("something to fetch"),
            left: Signal::new("the end of a membership"),
            polled: Cell::new(Some(embedded.network().scheduler().now())),
            fatal: RefCell::default(),
            settings,
        };
        Ok(Self { core: Rc::new(core), readers: BTreeMap::new(), closed: false })
    }

    /// See [`crate::client::Consumer::subscribe`].
    pub(super) fn subscribe_to(&mut self, topics: &[&str]) -> Result<(), ClientError> {
        const OPERATION: &str = "subscribe";
        if let Some(error) = self.core.fatal_error(OPERATION) {
            return Err(error);
        }
        if topics.is_empty() || topics.iter().any(|topic| topic.is_empty()) {
            return Err(invalid(OPERATION, "a topic has no name"));
        }
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        member::subscribe(&self.core, topics);
        Ok(())
    }

    /// See [`crate::client::Consumer::poll_event`].
    pub(super) fn next_event(&mut self, timeout: Duration) -> Option<GroupEvent> {
        let core = &self.core;
        let deadline = core.scheduler.now().saturating_add(timeout);
        core.polled.set(None);
        let told = loop {
            let event = core.events.borrow_mut().pop_front();
            match event {
                Some(event) => {
                    if let Some(event) = core.told(event) {
                        break Some(event);
                    }
                }
                None if core.scheduler.now() >= deadline || core.is_dead() => break None,
                None => {
                    core.scheduler.park(&core.arrived, Some(deadline));
                }
            }
        };
        core.app_polled();
        told
    }

    /// See [`crate::client::Consumer::assign`].
    pub(super) fn assign_all(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        self.forget_readers();
        let fatal = self.core.fatal.borrow().is_some();
        // librdkafka takes every assignment for an unassignment then
        let readers = self.readers_for(offsets, !fatal);
        member::assigned(&self.core);
        Ok(readers)
    }

    /// See [`crate::client::Consumer::unassign`].
    pub(super) fn unassign_all(&mut self) -> Result<(), ClientError> {
        self.forget_readers();
        member::unassigned(&self.core);
        Ok(())
    }

    /// See [`crate::client::Consumer::assign_more`].
    pub(super) fn assign_some(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        const OPERATION: &str = "assign more partitions";
        if let Some((twice, _)) = offsets.iter().find(|(one, _)| self.readers.contains_key(one)) {
            return Err(invalid(OPERATION, format!("{twice} is assigned already")));
        }
        if let Some(error) = self.core.fatal_error(OPERATION) {
            return Err(error);
        }
        Ok(self.readers_for(offsets, true))
    }

    /// See [`crate::client::Consumer::unassign_some`].
    pub(super) fn take_back(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        const OPERATION: &str = "unassign some partitions";
        if let Some(other) = partitions.iter().find(|one| !self.readers.contains_key(one)) {
            return Err(invalid(OPERATION, format!("{other} is not assigned")));
        }
        for partition in partitions {
            if let Some(queue) = self.readers.remove(partition) {
                queue.deactivate();
                self.core.fetching.borrow_mut().remove(partition);
            }
        }
        Ok(())
    }

    fn readers_for(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
        fetch: bool,
    ) -> Vec<PartitionReader> {
        let mut readers = Vec::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            let queue = Rc::new(PartitionQueue::new(partition.clone(), offset.0));
            if fetch {
                fetch::add(&self.core, Rc::clone(&queue));
            }
            self.readers.insert(partition.clone(), Rc::clone(&queue));
            readers.push(PartitionReader::new(queue, Rc::clone(&self.core)));
        }
        readers
    }

    fn forget_readers(&mut self) {
        for (partition, queue) in std::mem::take(&mut self.readers) {
            queue.deactivate();
            self.core.fetching.borrow_mut().remove(&partition);
        }
    }

    /// See [`crate::client::Consumer::group_metadata`].
    pub(super) fn identity(&self) -> GroupMetadata {
        let member = self.core.member.borrow();
        if removed(Guard::GroupMetadata) {
            let group = self.core.settings.group.clone();
            return GroupMetadata { group, generation: -1, member: String::new(), instance: None };
        }
        GroupMetadata {
            group: self.core.settings.group.clone(),
            generation: member.generation,
            member: member.id.clone(),
            instance: self.core.settings.instance.clone(),
        }
    }

    /// See [`crate::client::Consumer::close`].
    pub(super) fn leave(&mut self, timeout: Duration) -> Result<(), ClientError> {
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        self.forget_readers();
        let core = &self.core;
        let deadline = core.scheduler.now().saturating_add(timeout);
        let in_time = core.fatal.borrow().is_some() || member::close(core, deadline);
        core.end();
        if in_time { Ok(()) } else { Err(error::from_code("close the consumer", code::TIMED_OUT)) }
    }
}

impl Core {
    /// Whether the fibers are to end.
    fn is_dead(&self) -> bool {
        self.data.is_closed() || self.scheduler.is_killed(self.process)
    }

    /// Ends the fibers and the connections.
    fn end(&self) {
        self.data.close();
        self.coordinator.close();
        self.membership.raise();
        self.fetch.raise();
        self.left.raise();
    }

    fn app_polled(&self) {
        self.polled.set(Some(self.scheduler.now()));
        // it may have been what the next join waited for
        if self.member.borrow().max_poll_exceeded {
            self.membership.raise();
        }
    }

    fn push(&self, event: Event) {
        let was_empty = {
            let mut events = self.events.borrow_mut();
            events.push_back(event);
            events.len() == 1
        };
        self.arrived.raise();
        if was_empty {
            self.waker.wake();
        }
    }

    fn fatal_error(&self, operation: &'static str) -> Option<ClientError> {
        let fatal = self.fatal.borrow();
        let (code, message) = fatal.as_ref()?;
        let severity = error::rebuild_unless_fatal(*code);
        Some(error::make(operation, *code, message.clone(), severity))
    }

    /// Beyond use from now on.
    fn set_fatal(&self, code: i32) {
        let text = error::from_code("", code).message;
        let message = format!("Fatal consumer error: {text}");
        self.fatal.borrow_mut().get_or_insert((code, message));
        self.push(Event::Error { code: code::FATAL, message: format!("Fatal error: {text}") });
    }

    /// Puts an event into the seam's terms, unless the application need not know.
    fn told(&self, event: Event) -> Option<GroupEvent> {
        const OPERATION: &str = "stay in the group";
        let (code, message) = match event {
            Event::Assign(partitions) => return Some(GroupEvent::Assigned(partitions)),
            Event::Revoke(partitions) => {
                let lost = self.member.borrow().lost;
                return Some(GroupEvent::Revoked { partitions, lost });
            }
            Event::Error { code, message } => (code, message),
        };
        if code == code::FATAL {
            return self.fatal_error(OPERATION).map(GroupEvent::Failed);
        }
        let error = error::make(OPERATION, code, message, code::severity(code));
        match error.severity {
            Severity::Retry | Severity::Abort => {
                tracing::debug!(%error, "the client recovers by itself");
                None
            }
            Severity::Fenced | Severity::Fatal => Some(GroupEvent::Failed(error)),
        }
    }

    /// Whether the application is in the group, or on its way in or out.
    fn join_state(&self) -> Join {
        self.member.borrow().join
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Not out of the group: that is what closing is for.
        self.forget_readers();
        self.core.end();
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("readers", &self.readers.keys()).finish_non_exhaustive()
    }
}
