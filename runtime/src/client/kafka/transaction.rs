//! The transactional calls, native and with explicit timeouts.
//!
//! One at a time, in the order init, (begin, send_offsets, commit or abort)*. After `Retry` of an
//! init, commit or abort only the same call is legal; another one is refused as `Fatal` and changes
//! nothing. Timeouts bound the call, with one exception:
//! librdkafka's `send_offsets` may outlast its own when the group coordinator is gone (LRK#5456),
//! so a watchdog belongs above these calls.

#![expect(unsafe_code, reason = "calls librdkafka's transactional functions")]

use std::time::Duration;

use super::error::Flagged;
use super::ffi::{self, millis};
use super::group::GroupMetadata;
use super::list::PartitionList;
use super::producer::Producer;
use crate::client::error::ClientError;
use crate::client::types::OffsetCommit;

impl Producer {
    /// Registers the transactional id: waits for an earlier producer's transaction to end, fences
    /// that producer, and learns the new epoch. Once, before anything else.
    ///
    /// # Errors
    /// Retry: not decided in time, or no broker. Fenced: a newer producer came between (it may also
    /// be this one's own repeated request, LRK#3928: a new producer settles it). Fatal: not
    /// authorised, no transactional id, or `transaction.timeout.ms` above the broker's maximum.
    pub fn init_transactions(&mut self, timeout: Duration) -> Result<(), ClientError> {
        // SAFETY: the handle is live; the error object is ours.
        self.result("initialise transactions", unsafe {
            ffi::rd_kafka_init_transactions(self.client.ptr(), millis(timeout))
        })
    }

    /// Begins a transaction; nothing is sent. Forgets positions and delivery error of the last one.
    ///
    /// # Errors
    /// Fenced: the producer is unusable. Fatal: a transaction is open already.
    pub fn begin_transaction(&mut self) -> Result<(), ClientError> {
        // The call below may hang while a fatal error waits to be seen (LRK#4420).
        if let Some(error) = self.fatal_error() {
            return Err(error);
        }
        self.log.reset_positions();
        self.log.clear_error();
        // SAFETY: the handle is live; the error object is ours.
        self.result("begin a transaction", unsafe {
            ffi::rd_kafka_begin_transaction(self.client.ptr())
        })
    }

    /// Adds input offsets to the transaction, under a member's identity. An empty list does nothing
    /// and fences nobody.
    ///
    /// # Errors
    /// Abort: the group moved on (illegal generation, unknown member, fenced instance), so these
    /// partitions are somebody else's. Retry, Fenced, Fatal as everywhere.
    pub fn send_offsets(
        &mut self,
        offsets: &[OffsetCommit],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        const OPERATION: &str = "send offsets to the transaction";
        let list = PartitionList::of_commits(OPERATION, &self.client, offsets)?;
        // SAFETY: handle, list and metadata are live; the error object is ours.
        self.result(OPERATION, unsafe {
            ffi::rd_kafka_send_offsets_to_transaction(
                self.client.ptr(),
                list.ptr(),
                group.ptr(),
                millis(timeout),
            )
        })
    }

    /// Flushes and commits. A transaction that holds nothing costs no request.
    ///
    /// # Errors
    /// Retry: **in doubt**, it may commit yet; call this again and nothing else (INV-6). Abort: a
    /// record was not delivered (see `delivery_error`) or offsets were refused. Fenced: superseded
    /// or timed out at the broker; whether it committed is told by the committed offsets.
    pub fn commit_transaction(&mut self, timeout: Duration) -> Result<(), ClientError> {
        // SAFETY: the handle is live; callbacks run inside, on this thread; the error is ours.
        self.result("commit the transaction", unsafe {
            ffi::rd_kafka_commit_transaction(self.client.ptr(), millis(timeout))
        })
    }

    /// Purges what was not sent and aborts.
    ///
    /// # Errors
    /// Retry: not decided in time; call this again. Fenced: the producer is unusable, and its
    /// transaction ends with its successor's `init_transactions`.
    pub fn abort_transaction(&mut self, timeout: Duration) -> Result<(), ClientError> {
        // SAFETY: the handle is live; callbacks run inside, on this thread; the error is ours.
        self.result("abort the transaction", unsafe {
            ffi::rd_kafka_abort_transaction(self.client.ptr(), millis(timeout))
        })
    }

    /// Takes over the error object of a transactional call. Time that ran out counts as trouble:
    /// the request may still be on its way (INV-6).
    fn result(
        &self,
        operation: &'static str,
        error: *mut ffi::rd_kafka_error_t,
    ) -> Result<(), ClientError> {
        let Some(error) = Flagged::take(error) else { return Ok(()) };
        let error = error.transactional(operation);
        if error.timed_out {
            self.log.trouble();
        }
        Err(error)
    }
}
