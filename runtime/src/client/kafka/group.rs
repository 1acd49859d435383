//! What the group knows: committed offsets and the member's identity.

#![expect(unsafe_code, reason = "calls librdkafka's group functions")]

use std::fmt;
use std::ptr::{self, NonNull};
use std::time::Duration;

use tidemill_core::record::{Offset, TopicPartition};

use super::code;
use super::consumer::Consumer;
use super::error::{self, check, invalid};
use super::ffi::{self, deadline, left, millis};
use super::handle::{Client, Queue};
use super::list::PartitionList;
use crate::client::error::ClientError;
use crate::client::types::{Committed, OffsetCommit};

/// A member's identity at one moment: group, generation, member and instance id.
pub struct GroupMetadata {
    metadata: NonNull<ffi::rd_kafka_consumer_group_metadata_t>,
}

// SAFETY: a plain value that nothing changes after it was made.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    pub(super) fn of(client: &Client) -> Result<Self, ClientError> {
        // SAFETY: the handle is live; the answer is ours.
        let metadata = unsafe { ffi::rd_kafka_consumer_group_metadata(client.ptr()) };
        NonNull::new(metadata)
            .map(|metadata| Self { metadata })
            .ok_or_else(|| invalid("read the group metadata", "the consumer has no group"))
    }

    pub(super) fn ptr(&self) -> *const ffi::rd_kafka_consumer_group_metadata_t {
        self.metadata.as_ptr()
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { ffi::rd_kafka_consumer_group_metadata_destroy(self.metadata.as_ptr()) }
    }
}

impl fmt::Debug for GroupMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupMetadata").finish_non_exhaustive()
    }
}

impl Consumer {
    /// Reads the committed offsets of the group, one answer a partition, in the same order.
    ///
    /// With `isolation.level=read_committed` (librdkafka's default) the broker is asked for stable
    /// offsets: the call waits until no transaction that may still change one of them is open,
    /// which is what INV-4 needs. A dead predecessor's transaction holds it up for as long as its
    /// `transaction.timeout.ms`, unless somebody initialises its transactional id.
    ///
    /// # Errors
    /// Retry: no answer in time, or no coordinator. Fatal: not authorised.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Committed>, ClientError> {
        const OPERATION: &str = "read committed offsets";
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let list = PartitionList::of_partitions(OPERATION, partitions)?;
        // SAFETY: handle and list are live; the call writes into the list's elements.
        check(OPERATION, unsafe {
            ffi::rd_kafka_committed(self.client.ptr(), list.ptr(), millis(timeout))
        })?;
        let mut answer = Vec::with_capacity(partitions.len());
        for listed in list.read() {
            check(OPERATION, listed.code)?;
            answer.push(Committed {
                partition: listed.partition,
                offset: (listed.offset >= 0).then_some(Offset(listed.offset)),
                metadata: listed.metadata,
            });
        }
        Ok(answer)
    }

    /// Commits offsets outside a transaction and waits for the broker's answer.
    ///
    /// # Errors
    /// Abort: the group moved on (illegal generation, unknown member, rebalance in progress).
    /// Fenced: another member has this instance id. Retry: no answer in time: it may still be
    /// committed. Fatal: not authorised.
    pub fn commit_sync(
        &self,
        offsets: &[OffsetCommit],
        timeout: Duration,
    ) -> Result<(), ClientError> {
        const OPERATION: &str = "commit offsets";
        if offsets.is_empty() {
            return Ok(());
        }
        let list = PartitionList::of_commits(OPERATION, &self.client, offsets)?;
        // Its own queue: the blocking call of librdkafka takes no timeout.
        let replies = Queue::new(&self.client);
        // SAFETY: all pointers are live, the list is copied; without a callback the answer becomes
        // an event on the queue.
        check(OPERATION, unsafe {
            ffi::rd_kafka_commit_queue(
                self.client.ptr(),
                list.ptr(),
                replies.ptr(),
                ptr::null(),
                ptr::null_mut(),
            )
        })?;
        let deadline = deadline(timeout);
        while let Some(event) = replies.poll(left(deadline)) {
            if event.kind() != ffi::RD_KAFKA_EVENT_OFFSET_COMMIT {
                continue;
            }
            check(OPERATION, event.code())?;
            return event
                .partitions()
                .iter()
                .filter(|listed| listed.code != code::NO_OFFSET)
                .try_for_each(|listed| check(OPERATION, listed.code));
        }
        Err(error::from_code(OPERATION, code::TIMED_OUT))
    }
}
