//! What a processor can do besides computing: forward, read stores, schedule, ask for a commit.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::{
    Children, Collector, Outgoing, PunctuationHandle, PunctuationQueue, PunctuationType, SendError,
};
use crate::BoxError;
use crate::errors::{
    DeadLetterError, ErrorHandlerContext, HandlerResponse, Handlers, TaskError, TaskErrorKind,
    dead_letter_headers,
};
use crate::record::{
    Origin, OwnedRecord, Partition, RawRecord, Record, RecordMetadata, StreamTime, TaskId,
    Timestamp,
};
use crate::store::{ErasedReader, ErasedStore, Source, StoreError};

/// An error that no handler absorbed: it travels to the task's caller without another question.
#[derive(Debug)]
pub(crate) struct Halt(pub(crate) Box<TaskError>);

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Halt {}

/// The source record in process.
#[derive(Clone, Copy)]
pub(crate) struct Current<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Partition,
    pub(crate) raw: &'a dyn RawRecord,
}

/// The part of a task that its nodes share.
pub(crate) struct TaskShared {
    pub(crate) task_id: TaskId,
    pub(crate) application_id: String,
    pub(crate) handlers: Handlers,
    pub(crate) stream_time: StreamTime,
    /// Timestamp of the record in process, for the stores.
    pub(crate) now: Rc<Cell<Timestamp>>,
    /// The source record in process, or the one that what is forwarded came of.
    pub(crate) origin: Rc<Cell<Origin>>,
    /// The topics that origins name by number: first those of the queues.
    pub(crate) topics: Vec<Rc<str>>,
    pub(crate) punctuations: PunctuationQueue,
    /// What is being forwarded is a version of a key that is not its latest (KIP-914).
    pub(crate) out_of_order: bool,
    pub(crate) commit_requested: bool,
    /// Records that a handler dropped.
    pub(crate) dropped: u64,
    /// Records that were here before, or are older than one that was.
    pub(crate) ignored: u64,
    /// How often final results are looked for.
    pub(crate) emit_interval: Duration,
    /// Times that processors keep with the committed offsets.
    pub(crate) processor_metadata: BTreeMap<String, i64>,
    /// What several processors of the task have in common, by name.
    pub(crate) shared: BTreeMap<String, Rc<dyn Any>>,
    /// For each node: the stores it is connected to.
    pub(crate) connected: Vec<Vec<Rc<dyn ErasedStore>>>,
    /// The global stores, which every node can read.
    pub(crate) globals: Vec<Rc<dyn ErasedReader>>,
}

/// What travels along the nodes with a record.
pub(crate) struct TaskContext<'a> {
    pub(crate) shared: &'a mut TaskShared,
    pub(crate) collector: &'a mut dyn Collector,
    pub(crate) current: Option<Current<'a>>,
    pub(crate) wall_clock: Timestamp,
}

impl TaskShared {
    /// Returns topic, partition and offset of an origin.
    fn source(&self, origin: Origin) -> Option<RecordMetadata<'_>> {
        let Origin { topic, partition, offset } = origin;
        let topic = self.topics.get(topic as usize)?;
        Some(RecordMetadata { topic, partition, offset })
    }

    /// Returns the number of a topic, which is a new one if no source of the task reads it.
    fn topic_number(&mut self, topic: &str) -> u32 {
        let known = self.topics.iter().position(|known| **known == *topic);
        let number = known.unwrap_or_else(|| {
            self.topics.push(topic.into());
            self.topics.len() - 1
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    }
}

impl TaskContext<'_> {
    /// Returns where what is in process came from.
    pub(crate) fn source(&self) -> Option<RecordMetadata<'_>> {
        match self.current {
            Some(Current { topic, partition, raw }) => {
                Some(RecordMetadata { topic, partition, offset: raw.offset() })
            }
            None => self.shared.source(self.shared.origin.get()),
        }
    }

    pub(crate) fn error_context<'c>(&'c self, node: &'c str) -> ErrorHandlerContext<'c> {
        let source = self.source();
        ErrorHandlerContext {
            task_id: self.shared.task_id,
            processor_node_id: node,
            topic: source.map(|source| source.topic),
            partition: source.map(|source| source.partition),
            offset: source.map(|source| source.offset),
            timestamp: self.current.map(|current| current.raw.timestamp()),
        }
    }

    /// Turns an error into one that ends the turn, unless it already is.
    pub(crate) fn halt(&self, node: &str, error: BoxError) -> Halt {
        self.halt_as(TaskErrorKind::Processing, node, error)
    }

    pub(crate) fn halt_as(&self, kind: TaskErrorKind, node: &str, error: BoxError) -> Halt {
        match error.downcast::<Halt>() {
            Ok(halt) => *halt,
            Err(error) => {
                let kind = if is_broken_store(&error) { TaskErrorKind::Runtime } else { kind };
                Halt(Box::new(TaskError::new(kind, &self.error_context(node), error)))
            }
        }
    }

    /// Asks the processing handler about an error of user code.
    pub(crate) fn absorb(&mut self, node: &str, error: BoxError) -> Result<(), Halt> {
        if error.is::<Halt>() || is_broken_store(&error) {
            return Err(self.halt(node, error));
        }
        let response = self.shared.handlers.processing.handle(&self.error_context(node), &*error);
        self.respond(response, TaskErrorKind::Processing, node, error)
    }

    /// Does what a handler said.
    pub(crate) fn respond(
        &mut self,
        response: HandlerResponse,
        kind: TaskErrorKind,
        node: &str,
        error: BoxError,
    ) -> Result<(), Halt> {
        match response {
            HandlerResponse::Fail => Err(self.halt_as(kind, node, error)),
            HandlerResponse::Continue => {
                self.shared.dropped += 1;
                Ok(())
            }
            HandlerResponse::DeadLetterQueue(topic) => {
                self.shared.dropped += 1;
                self.send_dead_letter(&topic, kind, node, &error).map_err(|cause| {
                    let why = error.to_string();
                    let failure = DeadLetterError { topic, why, cause };
                    self.halt_as(TaskErrorKind::Runtime, node, failure.into())
                })
            }
        }
    }

    fn send_dead_letter(
        &mut self,
        topic: &str,
        kind: TaskErrorKind,
        node: &str,
        error: &BoxError,
    ) -> Result<(), BoxError> {
        let sink = self.collector.resolve(topic).map_err(SendError::into_cause)?;
        let original = self.current.map(|current| current.raw.headers()).unwrap_or_default();
        let context = self.error_context(node);
        let headers = dead_letter_headers(original, &context, kind.exception_name(), &**error);
        let raw = self.current.map(|current| current.raw);
        let letter = Outgoing {
            topic: sink,
            partition: None,
            key: raw.and_then(RawRecord::key),
            value: raw.and_then(RawRecord::value),
            timestamp: raw.map_or(self.wall_clock, |raw| match raw.timestamp() {
                Timestamp(missing) if missing < 0 => self.wall_clock,
                timestamp => timestamp,
            }),
            headers: &headers,
        };
        self.collector.send(letter).map_err(SendError::into_cause)
    }
}

/// A store that can't be read, or a buffer that must not hold more, is not the record's fault: no
/// handler may skip over it.
fn is_broken_store(error: &BoxError) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            StoreError::Storage { .. }
                | StoreError::Poisoned { .. }
                | StoreError::BufferFull { .. }
        )
    )
}

/// What a processor can do. Lives for one call.
pub struct ProcessorContext<'c, 't, K, V> {
    pub(super) task: &'c mut TaskContext<'t>,
    children: &'c Children<K, V>,
    pub(super) node: usize,
    pub(super) name: &'c str,
}

impl<K, V> fmt::Debug for ProcessorContext<'_, '_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessorContext")
            .field("task_id", &self.task.shared.task_id)
            .field("node", &self.name)
            .finish_non_exhaustive()
    }
}

impl<'c, 't, K, V> ProcessorContext<'c, 't, K, V> {
    pub(crate) fn new(
        task: &'c mut TaskContext<'t>,
        children: &'c Children<K, V>,
        node: usize,
        name: &'c str,
    ) -> Self {
        Self { task, children, node, name }
    }

    /// Returns the task's id.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.task.shared.task_id
    }

    /// Returns the application's id.
    #[must_use]
    pub fn application_id(&self) -> &str {
        &self.task.shared.application_id
    }

    /// Returns where the record in process came from; `None` in a punctuation or flush.
    ///
    /// Of what a store or a buffer above held back it is the source record that was the last to
    /// write it.
    #[must_use]
    pub fn record_metadata(&self) -> Option<RecordMetadata<'_>> {
        self.task.source()
    }

    /// Returns the task's stream time; `None` before the first record.
    #[must_use]
    pub fn current_stream_time(&self) -> Option<Timestamp> {
        self.task.shared.stream_time.get()
    }

    /// Returns the wall-clock time, in milliseconds since the Unix epoch, as of this turn of the
    /// worker.
    #[must_use]
    pub fn current_system_time(&self) -> Timestamp {
        self.task.wall_clock
    }

    /// Asks for a commit soon, before the commit interval is over.
    pub fn commit(&mut self) {
        self.task.shared.commit_requested = true;
    }

    /// Schedules calls of [`Processor::punctuate`](super::Processor::punctuate) every `interval`
    /// (at least 1 ms).
    ///
    /// Stream-time punctuations fire as soon as stream time is known, then at multiples of the
    /// interval since the epoch; wall-clock ones for the first time an interval from now. Missed
    /// instants become one call (KIP-138).
    pub fn schedule(&mut self, interval: Duration, kind: PunctuationType) -> PunctuationHandle {
        let now = self.task.wall_clock;
        self.task.shared.punctuations.schedule(self.node, interval, kind, now)
    }

    /// Cancels a punctuation; it may do so itself while it runs.
    pub fn cancel(&mut self, handle: PunctuationHandle) {
        self.task.shared.punctuations.cancel(handle);
    }

    /// Returns what was kept with the committed offsets under this key. What is from before a
    /// restart is not there in `init` yet.
    pub(crate) fn processor_metadata(&self, key: &str) -> Option<i64> {
        self.task.shared.processor_metadata.get(key).copied()
    }

    /// Keeps a value with the offsets of the next commit.
    pub(crate) fn keep_processor_metadata(&mut self, key: &str, value: i64) {
        let kept = &mut self.task.shared.processor_metadata;
        match kept.get_mut(key) {
            Some(known) => *known = value,
            None => drop(kept.insert(key.to_owned(), value)),
        }
    }
}

impl<K, V> ProcessorContext<'_, '_, K, V> {
    /// Returns how often, in wall-clock time, final results are looked for.
    pub(crate) fn emit_interval(&self) -> Duration {
        self.task.shared.emit_interval
    }

    /// Returns what processors of this task share under a name. Taken once, in `init`.
    pub(crate) fn shared_in_task<T: Default + 'static>(
        &mut self,
        name: &str,
    ) -> Result<Rc<RefCell<T>>, BoxError> {
        let new = || -> Rc<dyn Any> { Rc::new(RefCell::new(T::default())) };
        let found = self.task.shared.shared.entry(name.to_owned()).or_insert_with(new);
        let other = |_| format!("{name} is shared between processors of different kinds").into();
        Rc::clone(found).downcast().map_err(other)
    }
}

impl<K: Clone, V: Clone> ProcessorContext<'_, '_, K, V> {
    /// Sends a record to all children, in the order in which they were attached, and returns when
    /// they are done with it.
    ///
    /// # Errors
    /// Pass an error on with `?`: it means that the transaction is lost.
    pub fn forward(&mut self, record: Record<K, V>) -> Result<(), BoxError> {
        self.children.forward(self.task, record).map_err(Into::into)
    }

    /// Sends a record to the child of that name.
    ///
    /// # Errors
    /// If there is no such child; otherwise as [`ProcessorContext::forward`].
    pub fn forward_to(&mut self, child: &str, record: Record<K, V>) -> Result<(), BoxError> {
        if self.children.forward_to(self.task, child, record)? {
            return Ok(());
        }
        let known: Vec<&str> = self.children.names().collect();
        Err(format!("{} has no child {child} (children: {})", self.name, known.join(", ")).into())
    }

    /// As [`ProcessorContext::forward`], for a record that was kept from an earlier call: what goes
    /// wrong with it is reported, and dead lettered, as a failure of the record it came from.
    pub(crate) fn forward_on_behalf(
        &mut self,
        source: Option<(&str, Partition, &OwnedRecord)>,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let current = source.map(|(topic, partition, raw)| Current { topic, partition, raw });
        let origin = match &current {
            Some(Current { topic, partition, raw }) => {
                let topic = self.task.shared.topic_number(topic);
                Origin { topic, partition: *partition, offset: raw.offset() }
            }
            None => Origin::NONE,
        };
        self.forward_as(current, origin, record)
    }

    /// As [`ProcessorContext::forward`], for what came of an earlier source record whose bytes are
    /// gone.
    pub(crate) fn forward_of(
        &mut self,
        origin: Origin,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        self.forward_as(None, origin, record)
    }

    fn forward_as(
        &mut self,
        current: Option<Current<'_>>,
        origin: Origin,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let live = self.task.shared.origin.replace(origin);
        let mut task = TaskContext {
            shared: &mut *self.task.shared,
            collector: &mut *self.task.collector,
            current,
            wall_clock: self.task.wall_clock,
        };
        let forwarded = self.children.forward(&mut task, record);
        self.task.shared.origin.set(live);
        forwarded.map_err(Into::into)
    }

    /// Returns the source record that what is in process came of.
    pub(crate) fn source(&self) -> Source {
        let Origin { topic, partition, offset } = self.task.shared.origin.get();
        let topic = self.task.shared.topics.get(topic as usize).cloned();
        Source { topic: topic.unwrap_or_else(|| "".into()), partition, offset }
    }

    /// As [`ProcessorContext::forward`], for what waited in a buffer.
    pub(crate) fn forward_source(
        &mut self,
        source: &Source,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let Source { topic, partition, offset } = source;
        let topic = self.task.shared.topic_number(topic);
        self.forward_of(Origin { topic, partition: *partition, offset: *offset }, record)
    }

    /// Sends a record to the child attached as the `index`-th, if there is one.
    pub(crate) fn forward_to_nth(
        &mut self,
        index: usize,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        self.children.forward_to_nth(self.task, index, record).map_err(Into::into)
    }

    /// Returns whether a versioned table above forwards what is not the latest of its key.
    pub(crate) fn is_out_of_order(&self) -> bool {
        self.task.shared.out_of_order
    }

    /// As [`ProcessorContext::forward`], saying whether that is not the latest of its key. A table
    /// with a store of its own says that it is, and so does what is no table.
    pub(crate) fn forward_in_order(
        &mut self,
        in_order: bool,
        record: Record<K, V>,
    ) -> Result<(), BoxError> {
        let before = std::mem::replace(&mut self.task.shared.out_of_order, !in_order);
        let forwarded = self.forward(record);
        self.task.shared.out_of_order = before;
        forwarded
    }

    /// Counts a record that an operator drops by its own rules, e.g. for a null key.
    pub(crate) fn note_dropped(&mut self) {
        self.task.shared.dropped += 1;
    }

    /// Counts a record that is ignored because it, or a newer one, was here before.
    pub(crate) fn note_ignored(&mut self) {
        self.task.shared.ignored += 1;
    }
}
