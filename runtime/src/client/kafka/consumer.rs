//! A consumer: group membership by events, records by partition readers.

#![expect(unsafe_code, reason = "calls librdkafka's consumer functions")]

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_core::record::{Offset, Partition, TopicPartition};

use super::code;
use super::conf::Conf;
use super::error::{self, check, invalid};
use super::ffi::{self, c_string, deadline, left};
use super::group::GroupMetadata;
use super::handle::{Client, Event, Queue};
use super::list::PartitionList;
use super::reader::PartitionReader;
use crate::client::error::{ClientError, Severity};
use crate::client::types::{ClientConfig, GroupEvent};
use crate::client::waker::Waker;

/// A Kafka consumer without callbacks: everything happens in the calls of its one owner.
///
/// The consumer insists on three options, because its contracts rest on them:
/// `enable.auto.commit=false` and `enable.auto.offset.store=false` (offsets are ours, INV-8) and
/// `enable.partition.eof=true` (see [`crate::client::Fetched::EndOfPartition`]). Without a
/// `group.id` it gets the one `tidemill`, which nothing is committed under; librdkafka looks up
/// that group's coordinator all the same, so where ACLs are in force set a group that the user may
/// describe.
///
/// Client positions are never used (LRK#4844: librdkafka 2.12.1 puts them past the end).
pub struct Consumer {
    readers: HashMap<TopicPartition, Arc<AtomicBool>>,
    pub(super) queue: Queue,
    pub(super) client: Arc<Client>,
    waker: Arc<Waker>,
    closed: bool,
}

impl Consumer {
    /// Makes a consumer. It connects in the background: an unreachable broker is no error here.
    ///
    /// The waker is raised whenever a group event or a record arrives.
    ///
    /// # Errors
    /// Fatal: an option is unknown or its value is not valid.
    pub fn new(config: &ClientConfig, waker: Arc<Waker>) -> Result<Self, ClientError> {
        let conf = Conf::new(config)?;
        if config.get("group.id").is_none_or(str::is_empty) {
            conf.set("group.id", "tidemill")?;
        }
        conf.set("enable.auto.commit", "false")?;
        conf.set("enable.auto.offset.store", "false")?;
        conf.set("enable.partition.eof", "true")?;
        conf.events(
            ffi::RD_KAFKA_EVENT_REBALANCE
                | ffi::RD_KAFKA_EVENT_ERROR
                | ffi::RD_KAFKA_EVENT_OFFSET_COMMIT,
        );
        let keep: Arc<dyn std::any::Any + Send + Sync> = Arc::<Waker>::clone(&waker);
        let client = conf.build(ffi::rd_kafka_type_t::RD_KAFKA_CONSUMER, Some(keep))?;
        // SAFETY: the handle is live. Errors of the main queue arrive as group events from now on.
        check("make a consumer", unsafe { ffi::rd_kafka_poll_set_consumer(client.ptr()) })?;
        let queue = Queue::of_group(&client)
            .ok_or_else(|| invalid("make a consumer", "the client has no group"))?;
        queue.wake_when_filled(&waker);
        Ok(Self { readers: HashMap::new(), queue, client, waker, closed: false })
    }

    /// Joins the group for these topics, replacing an earlier subscription. A name that starts with
    /// `^` is a regular expression.
    ///
    /// # Errors
    /// Fatal: a name is not valid. Fenced: the consumer is unusable. That a topic does not exist is
    /// told later by [`GroupEvent::Failed`].
    pub fn subscribe(&mut self, topics: &[&str]) -> Result<(), ClientError> {
        const OPERATION: &str = "subscribe";
        let partitions: Vec<_> =
            topics.iter().map(|topic| TopicPartition::new(*topic, Partition(-1))).collect();
        let list = PartitionList::of_partitions(OPERATION, &partitions)?;
        // SAFETY: handle and list are live; the list is copied.
        self.checked(OPERATION, unsafe { ffi::rd_kafka_subscribe(self.client.ptr(), list.ptr()) })
    }

    /// Leaves the group; a revocation event follows if partitions are assigned.
    ///
    /// # Errors
    /// Fenced: the consumer is unusable.
    pub fn unsubscribe(&mut self) -> Result<(), ClientError> {
        // SAFETY: the handle is live.
        self.checked("unsubscribe", unsafe { ffi::rd_kafka_unsubscribe(self.client.ptr()) })
    }

    /// Waits for the next group event, at most that long.
    ///
    /// Must be called more often than `max.poll.interval.ms`, during restore too: that is what
    /// keeps the membership alive (reading a partition counts for the interval as well, but
    /// rebalances are only answered here). Errors that librdkafka recovers from by itself (lost
    /// connections, all brokers down) are logged and not returned.
    pub fn poll_event(&mut self, timeout: Duration) -> Option<GroupEvent> {
        let deadline = deadline(timeout);
        loop {
            let event = self.queue.poll(left(deadline))?;
            let told = match event.kind() {
                ffi::RD_KAFKA_EVENT_REBALANCE => Some(self.rebalance(&event)),
                ffi::RD_KAFKA_EVENT_ERROR => self.failure(&event).map(GroupEvent::Failed),
                ffi::RD_KAFKA_EVENT_FETCH => Some(GroupEvent::Failed(error::make(
                    "keep records in their partition's queue",
                    code::FAIL,
                    "a record arrived among the group events and is lost",
                    Severity::Fenced,
                ))),
                _ => None,
            };
            if told.is_some() {
                return told;
            }
        }
    }

    fn rebalance(&mut self, event: &Event) -> GroupEvent {
        let partitions = event.partitions().into_iter().map(|listed| listed.partition).collect();
        match event.code() {
            code::ASSIGN_PARTITIONS => GroupEvent::Assigned(partitions),
            code::REVOKE_PARTITIONS => {
                // SAFETY: the handle is live.
                let lost = unsafe { ffi::rd_kafka_assignment_lost(self.client.ptr()) } != 0;
                GroupEvent::Revoked { partitions, lost }
            }
            other => GroupEvent::Failed(error::from_code("rebalance", other)),
        }
    }

    fn failure(&self, event: &Event) -> Option<ClientError> {
        const OPERATION: &str = "stay in the group";
        if event.is_fatal() || event.code() == code::FATAL {
            let told = error::make(OPERATION, event.code(), event.message(), Severity::Fenced);
            return Some(self.client.fatal_error(OPERATION).unwrap_or(told));
        }
        let failed = event.code();
        let error = error::make(OPERATION, failed, event.message(), code::severity(failed));
        match error.severity {
            // The revocation that follows tells the rest.
            Severity::Retry if failed == code::MAX_POLL_EXCEEDED => {
                tracing::warn!(%error, "the worker polled too late and lost its partitions");
                None
            }
            Severity::Retry | Severity::Abort => {
                tracing::debug!(%error, "the client recovers by itself");
                None
            }
            Severity::Fenced | Severity::Fatal => Some(error),
        }
    }

    /// Replaces the whole assignment and returns a reader for each partition, in the same order.
    /// Answers [`GroupEvent::Assigned`]; without a subscription it stands for itself.
    ///
    /// Fetching starts at exactly these offsets. Readers of an earlier assignment yield nothing
    /// more. If an offset is not in the log, `auto.offset.reset` decides: set it to `error` to be
    /// told by [`Fetched::Failed`](crate::client::Fetched::Failed).
    ///
    /// # Errors
    /// Fatal: a topic name is not valid. Fenced: the consumer is unusable.
    pub fn assign(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        const OPERATION: &str = "assign partitions";
        let list = PartitionList::of_offsets(OPERATION, offsets)?;
        self.forget_readers();
        let readers = self.readers_for(OPERATION, offsets)?;
        // SAFETY: handle and list are live; the list is copied.
        let code = unsafe { ffi::rd_kafka_assign(self.client.ptr(), list.ptr()) };
        let assigned = self.checked(OPERATION, code);
        if assigned.is_err() {
            self.forget_readers();
        }
        assigned.map(|()| readers)
    }

    /// Gives the whole assignment back. Answers [`GroupEvent::Revoked`].
    ///
    /// # Errors
    /// Fenced: the consumer is unusable.
    pub fn unassign(&mut self) -> Result<(), ClientError> {
        self.forget_readers();
        // SAFETY: the handle is live; a null list means "nothing".
        let code = unsafe { ffi::rd_kafka_assign(self.client.ptr(), std::ptr::null()) };
        self.checked("unassign partitions", code)
    }

    /// Adds partitions to the assignment of a consumer without a subscription, and returns their
    /// readers in the same order; the others read on undisturbed.
    ///
    /// # Errors
    /// Fatal: a topic name is not valid, or a partition is assigned already.
    pub fn assign_more(
        &mut self,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        const OPERATION: &str = "assign more partitions";
        if let Some((twice, _)) = offsets.iter().find(|(one, _)| self.readers.contains_key(one)) {
            return Err(invalid(OPERATION, format!("{twice} is assigned already")));
        }
        let list = PartitionList::of_offsets(OPERATION, offsets)?;
        let readers = self.readers_for(OPERATION, offsets)?;
        // SAFETY: handle and list are live; the list is copied; the error object is ours.
        let added = ffi::plain(OPERATION, unsafe {
            ffi::rd_kafka_incremental_assign(self.client.ptr(), list.ptr())
        });
        if added.is_err() {
            offsets.iter().for_each(|(partition, _)| self.forget_reader(partition));
        }
        added.map(|()| readers)
    }

    /// Takes partitions out of the assignment; the others read on undisturbed.
    ///
    /// # Errors
    /// Fatal: a partition is not assigned.
    pub fn unassign_some(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        const OPERATION: &str = "unassign some partitions";
        let list = PartitionList::of_partitions(OPERATION, partitions)?;
        partitions.iter().for_each(|partition| self.forget_reader(partition));
        // SAFETY: handle and list are live; the list is copied; the error object is ours.
        ffi::plain(OPERATION, unsafe {
            ffi::rd_kafka_incremental_unassign(self.client.ptr(), list.ptr())
        })
    }

    // Before the assignment starts fetching, so that no record takes the way of the group queue.
    fn readers_for(
        &mut self,
        operation: &'static str,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Vec<PartitionReader>, ClientError> {
        let mut readers = Vec::with_capacity(offsets.len());
        for (partition, _) in offsets {
            let topic = c_string(operation, &partition.topic)?;
            let queue = Queue::of_partition(&self.client, &topic, partition.partition)
                .ok_or_else(|| invalid(operation, format!("{partition} has no queue")))?;
            queue.stop_forwarding();
            queue.wake_when_filled(&self.waker);
            let (reader, active) = PartitionReader::new(partition.clone(), queue);
            self.readers.insert(partition.clone(), active);
            readers.push(reader);
        }
        Ok(readers)
    }

    // An old reader shares its queue with the next reader of the partition; it must not take from
    // it what is meant for the new one.
    fn forget_reader(&mut self, partition: &TopicPartition) {
        if let Some(active) = self.readers.remove(partition) {
            active.store(false, Ordering::Release);
        }
    }

    fn forget_readers(&mut self) {
        for (_, active) in self.readers.drain() {
            active.store(false, Ordering::Release);
        }
    }

    /// Returns the member's identity as of now, to send along with offsets (INV-7).
    ///
    /// A snapshot taken when the partitions were assigned fences offsets sent after they moved on.
    ///
    /// # Errors
    /// Fatal: the consumer has no group.
    pub fn group_metadata(&self) -> Result<GroupMetadata, ClientError> {
        GroupMetadata::of(&self.client)
    }

    /// Leaves the group in order and stops fetching. Answers revocations by itself; never waits
    /// longer than the timeout. Closing twice, or after a fence, does nothing.
    ///
    /// A static member (`group.instance.id`) does *not* leave: librdkafka keeps its partitions for
    /// its return until `session.timeout.ms`; see `leave_group`.
    ///
    /// # Errors
    /// Retry: not closed in time; dropping the consumer then is safe.
    pub fn close(&mut self, timeout: Duration) -> Result<(), ClientError> {
        const OPERATION: &str = "close the consumer";
        if self.closed {
            return Ok(());
        }
        self.closed = true;
        self.forget_readers();
        let deadline = deadline(timeout);
        // SAFETY: handle and queue are live; the error object is ours.
        let started = ffi::plain(OPERATION, unsafe {
            ffi::rd_kafka_consumer_close_queue(self.client.ptr(), self.queue.ptr())
        });
        if let Err(error) = started {
            // Fenced: there is nothing to leave.
            return if error.severity == Severity::Fenced { Ok(()) } else { Err(error) };
        }
        // SAFETY: the handle is live.
        while unsafe { ffi::rd_kafka_consumer_closed(self.client.ptr()) } == 0 {
            let left = left(deadline);
            if left.is_zero() {
                return Err(error::from_code(OPERATION, code::TIMED_OUT));
            }
            let event = self.queue.poll(left.min(Duration::from_millis(50)));
            if event.is_some_and(|event| event.kind() == ffi::RD_KAFKA_EVENT_REBALANCE) {
                // Only ever "nothing": assigning while closing may hang (LRK#4884).
                self.unassign()?;
            }
        }
        Ok(())
    }

    /// Turns a code into a result; a client that is beyond use says why.
    fn checked(&self, operation: &'static str, code: i32) -> Result<(), ClientError> {
        match check(operation, code) {
            Err(error) => Err(self.client.fatal_error(operation).unwrap_or(error)),
            Ok(()) => Ok(()),
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("readers", &self.readers).finish_non_exhaustive()
    }
}
