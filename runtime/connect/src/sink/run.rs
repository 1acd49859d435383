//! The loop of a sink: group events, what the target answered, what to do next, waiting.
//!
//! One thread owns the consumer and all state. What it asks of the target runs as a task of the
//! tokio runtime, one at a time, and its answer comes back as a value: so the group is heard, and
//! the next batch gathered, while a transaction is under way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tidemill::client::{Consumer, GroupEvent, OffsetCommit, Waker};
use tidemill::record::{Offset, TopicPartition};
use tokio::runtime::Handle;

use super::apply::{Todo, Work};
use super::config::{BackOff, OnPoison, SinkOptions};
use super::error::SinkError;
use super::gather::Gathered;
use super::handle::Shared;
use super::runner::Keeper;
use super::target::{Applied, TargetError, TopicFacts, TransactionalTarget};
use super::topics::Cluster;

/// Longest wait for something to happen.
const TICK: Duration = Duration::from_millis(500);
/// How long a revocation, or a stop, waits for the transaction that is under way.
const SETTLE: Duration = Duration::from_secs(10);
/// Offsets of the group are a hint: not worth waiting for.
const HINT_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the target's offsets are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    No,
    Wanted,
    UnderWay,
}

/// What the target was asked, and its answer.
pub(super) enum Answer {
    Opened(Result<BTreeMap<TopicPartition, Offset>, TargetError>),
    Worked(Work, Result<Applied, TargetError>),
}

pub(super) struct Done<T> {
    target: T,
    epoch: u64,
    answer: Answer,
}

pub(super) struct Loop<T> {
    pub(super) name: String,
    pub(super) keeper: Keeper,
    pub(super) options: SinkOptions,
    pub(super) runtime: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) waker: Arc<Waker>,
    pub(super) consumer: Consumer,
    pub(super) cluster: Cluster,
    /// Here, or with the task that works.
    pub(super) target: Option<T>,
    /// Where the answer comes from; it closes if the task ends without one.
    pub(super) done: Option<Receiver<Done<T>>>,
    /// Counts the assignments: answers that belong to an earlier one change nothing here.
    pub(super) epoch: u64,
    pub(super) assignment: Vec<TopicPartition>,
    pub(super) opening: Opening,
    pub(super) gathered: Gathered,
    pub(super) todo: Todo,
    /// To be committed to the group.
    pub(super) hint: BTreeMap<TopicPartition, Offset>,
    /// The topics as they were when the target was opened.
    pub(super) facts: Vec<TopicFacts>,
    pub(super) back_off: BackOff,
    pub(super) not_before: Instant,
    pub(super) housekeeping: Instant,
    /// Since when the cluster gives no usable answer.
    pub(super) troubled_since: Option<Instant>,
}

impl<T: TransactionalTarget> Loop<T> {
    /// Runs until it is told to stop, or can't go on.
    pub(super) fn run(mut self) -> Result<(), SinkError> {
        let outcome = self.work();
        match &outcome {
            Ok(()) => tracing::info!(sink = self.name, "the sink stops"),
            Err(error) => tracing::error!(
                sink = self.name,
                error = error as &dyn std::error::Error,
                "the sink ends"
            ),
        }
        // what is under way may still be committed; the next owner waits for its row locks
        if let Some(answer) = self.done.take()
            && let Ok(done) = answer.recv_timeout(SETTLE)
            && let Answer::Worked(work, Ok(applied)) = done.answer
        {
            self.count(&work, applied);
        }
        self.commit_hint(HINT_TIMEOUT);
        if let Err(error) = self.consumer.close(SETTLE) {
            tracing::debug!(sink = self.name, %error, "the consumer did not leave in time");
        }
        self.shared.ended();
        outcome
    }

    fn work(&mut self) -> Result<(), SinkError> {
        let topics = self.cluster.topics.clone();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.consumer.subscribe(&topics).map_err(|source| self.kafka(source))?;
        while !self.shared.must_stop() {
            while let Some(event) = self.consumer.poll_event(Duration::ZERO) {
                self.on_group_event(event)?;
            }
            match self.done.as_ref().map(Receiver::try_recv) {
                Some(Ok(done)) => self.on_done(done)?,
                None | Some(Err(TryRecvError::Empty)) => {}
                Some(Err(TryRecvError::Disconnected)) => return Err(self.gone()),
            }
            if self.opening == Opening::No
                && let Some(error) = self.gathered.fill(&self.options)
            {
                self.on_read_error(error)?;
            }
            self.keep_house();
            // what was taken makes room for more, which is gathered meanwhile
            if !self.next()? {
                self.waker.wait(self.pause());
            }
        }
        Ok(())
    }

    fn pause(&self) -> Duration {
        let now = Instant::now();
        let mut until = self.housekeeping.min(now + TICK);
        if self.target.is_some() && self.not_before > now {
            until = until.min(self.not_before);
        }
        until.saturating_duration_since(now)
    }

    /// Asks the target for the next thing, if it is free. Returns whether it took records.
    fn next(&mut self) -> Result<bool, SinkError> {
        if self.target.is_none() || Instant::now() < self.not_before {
            return Ok(false);
        }
        match self.opening {
            Opening::Wanted => self.open().map(|()| false),
            Opening::UnderWay => Ok(false),
            Opening::No => {
                let work = self.todo.pop_front().or_else(|| {
                    self.gathered.has_records().then(|| Work::apply(self.gathered.take()))
                });
                work.map_or(Ok(false), |work| self.start(work).map(|()| true))
            }
        }
    }

    /// Runs what needs the target as a task, which brings the target back.
    fn ask<F>(&mut self, call: impl FnOnce(T) -> F) -> Result<(), SinkError>
    where
        F: Future<Output = (T, Answer)> + Send + 'static,
    {
        let target = self.target.take().ok_or_else(|| self.gone())?;
        let (waker, epoch) = (Arc::clone(&self.waker), self.epoch);
        let (tell, done) = mpsc::channel();
        self.done = Some(done);
        let call = call(target);
        self.runtime.spawn(async move {
            // after a panic of the target too: first the channel closes, then the loop wakes
            let _wake = WakeAtEnd(waker);
            let tell = tell;
            let (target, answer) = call.await;
            // the loop may have ended
            let _ = tell.send(Done { target, epoch, answer });
        });
        Ok(())
    }

    pub(super) fn ask_to_open(&mut self) -> Result<(), SinkError> {
        let (facts, partitions) = (self.facts.clone(), self.assignment.clone());
        self.ask(move |mut target| async move {
            let opened = target.open(&facts, &partitions).await;
            (target, Answer::Opened(opened))
        })
    }

    fn start(&mut self, work: Work) -> Result<(), SinkError> {
        self.ask(move |mut target| async move {
            let outcome = match &work.reject {
                None => target.apply(&work.batches).await,
                Some(reason) => match work.batches.first() {
                    Some(batch) => target.reject(batch, reason).await.map(|()| Applied::default()),
                    None => Ok(Applied::default()),
                },
            };
            (target, Answer::Worked(work, outcome))
        })
    }

    pub(super) fn on_done(&mut self, done: Done<T>) -> Result<(), SinkError> {
        self.target = Some(done.target);
        self.done = None;
        let current = done.epoch == self.epoch;
        match done.answer {
            Answer::Opened(opened) if current => self.on_opened(opened),
            // a later assignment asked for its own
            Answer::Opened(_) => Ok(()),
            Answer::Worked(work, Ok(applied)) => {
                self.count(&work, applied);
                self.back_off.reset();
                if current && self.keeper == Keeper::Group {
                    self.commit_hint(SETTLE);
                }
                Ok(())
            }
            Answer::Worked(work, Err(error)) if current => self.on_failed(work, error),
            // whoever owns the partitions now goes on from what is stored
            Answer::Worked(_, Err(_)) => Ok(()),
        }
    }

    pub(super) fn count(&mut self, work: &Work, applied: Applied) {
        if work.reject.is_some() {
            self.shared.rejected();
        } else {
            self.shared.applied(work.records(), applied.ignored);
        }
        let owned = |partition: &TopicPartition| self.assignment.contains(partition);
        let positions: Vec<_> =
            work.positions().filter(|(partition, _)| owned(partition)).collect();
        self.hint.extend(positions.iter().cloned());
        self.shared.position(positions.into_iter());
    }

    fn on_failed(&mut self, work: Work, error: TargetError) -> Result<(), SinkError> {
        match error {
            TargetError::Unavailable(cause) => {
                self.shared.retried();
                tracing::warn!(
                    sink = self.name,
                    error = &*cause as &dyn std::error::Error,
                    "a transaction is tried again"
                );
                self.todo.push_front(work);
                self.try_later();
                Ok(())
            }
            TargetError::Fenced(partition) => {
                self.shared.fenced();
                tracing::warn!(sink = self.name, %partition, "somebody else moved the offset");
                self.todo.push_front(work);
                self.try_later();
                Ok(())
            }
            TargetError::Poison(cause) => self.on_poison(work, cause),
            TargetError::Refused { what, remedy } => Err(self.refused(what, remedy)),
            TargetError::Failed(source) => Err(SinkError::Target {
                sink: self.name.clone(),
                doing: format!("apply {}", described(&work)),
                source,
            }),
        }
    }

    /// Finds the record that is to blame, by halves, and halts at it or puts it aside.
    fn on_poison(&mut self, work: Work, cause: tidemill::BoxError) -> Result<(), SinkError> {
        let record = work.batches.iter().find_map(|batch| batch.records.first());
        let place = record.map_or_else(|| described(&work), super::SinkRecord::place);
        if work.records() > 1 || work.batches.len() > 1 {
            let halves = work.halves().into_iter().flatten();
            halves.rev().for_each(|half| self.todo.push_front(half));
            return Ok(());
        }
        if self.options.on_poison == OnPoison::DeadLetter
            && work.reject.is_none()
            && record.is_some()
        {
            let error = &*cause as &dyn std::error::Error;
            tracing::warn!(sink = self.name, place, error, "a record is put aside");
            self.todo.push_front(Work { reject: Some(reasons(&*cause)), ..work });
            return Ok(());
        }
        Err(SinkError::Poison { sink: self.name.clone(), place, source: cause })
    }

    /// The way back from every doubt: read the offsets that are stored, and go on from them.
    pub(super) fn try_later(&mut self) {
        if !self.assignment.is_empty() {
            self.opening = Opening::Wanted;
        }
        self.not_before = Instant::now() + self.back_off.pause();
    }

    fn on_group_event(&mut self, event: GroupEvent) -> Result<(), SinkError> {
        match event {
            GroupEvent::Assigned(partitions) => self.on_assigned(partitions),
            GroupEvent::Revoked { lost, .. } => self.on_revoked(lost),
            GroupEvent::Failed(error) if error.is_unknown_topic_or_partition() => {
                self.try_later();
                Ok(())
            }
            GroupEvent::Failed(source) => Err(self.kafka(source)),
        }
    }

    /// Waits for the transaction that is under way, so that the next owner need not.
    pub(super) fn settle(&mut self) -> Result<(), SinkError> {
        match self.done.as_ref().map(|done| done.recv_timeout(SETTLE)) {
            Some(Ok(done)) => self.on_done(done),
            None | Some(Err(RecvTimeoutError::Timeout)) => Ok(()),
            Some(Err(RecvTimeoutError::Disconnected)) => Err(self.gone()),
        }
    }

    /// Commits what the lag tools see. Where the group keeps the offsets it is what counts; if it
    /// fails there, records come again.
    pub(super) fn commit_hint(&mut self, timeout: Duration) {
        let hint = std::mem::take(&mut self.hint);
        let commits: Vec<_> = hint
            .into_iter()
            .map(|(partition, offset)| {
                let metadata = self.id_of(&partition.topic).unwrap_or_default().to_owned();
                OffsetCommit { partition, offset, metadata }
            })
            .collect();
        if let Err(error) = self.consumer.commit_sync(&commits, timeout) {
            match self.keeper {
                Keeper::Target => {
                    tracing::debug!(sink = self.name, %error, "offsets were not committed");
                }
                Keeper::Group => {
                    tracing::warn!(sink = self.name, %error, "offsets were not committed: what \
                                    was sent since comes again");
                }
            }
        }
    }

    pub(super) fn id_of(&self, topic: &str) -> Option<&str> {
        self.facts.iter().find(|facts| facts.name == topic)?.id.as_deref()
    }

    pub(super) fn kafka(&self, source: tidemill::client::ClientError) -> SinkError {
        SinkError::Kafka { sink: self.name.clone(), source }
    }

    pub(super) fn refused(&self, what: String, remedy: String) -> SinkError {
        SinkError::Refused { sink: self.name.clone(), what, remedy }
    }

    pub(super) fn gone(&self) -> SinkError {
        SinkError::Gone { sink: self.name.clone() }
    }
}

struct WakeAtEnd(Arc<Waker>);

impl Drop for WakeAtEnd {
    fn drop(&mut self) {
        self.0.wake();
    }
}

/// `records 3 to 9 of orders-0 and 2 more partitions`.
fn described(work: &Work) -> String {
    let Some(first) = work.batches.first() else { return "nothing".to_owned() };
    let more = match work.batches.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more partitions"),
    };
    let last = Offset(first.next.0 - 1);
    format!("offsets {} to {last} of {}{more}", first.expected, first.partition)
}

/// An error with all its causes.
fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
