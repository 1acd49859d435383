//! Owners of librdkafka's handles: a client, its queues, their events.

#![expect(unsafe_code, reason = "owns C objects and frees them once")]

use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use tidemill_core::record::Partition;

use super::error;
use super::ffi::*;
use super::list::ListedPartition;
use crate::client::error::ClientError;
use crate::client::waker::Waker;

/// One `rd_kafka_t`. Whatever belongs to it holds an `Arc` of it, so it goes last.
pub(super) struct Client {
    rk: NonNull<rd_kafka_t>,
    /// What the callbacks of this client point at: must outlive it, never read here.
    _opaque: Option<Arc<dyn Any + Send + Sync>>,
}

// SAFETY: librdkafka's handle is documented as thread-safe throughout.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Takes over a handle together with what its callbacks point at.
    pub(super) fn own(rk: NonNull<rd_kafka_t>, opaque: Option<Arc<dyn Any + Send + Sync>>) -> Self {
        Self { rk, _opaque: opaque }
    }

    pub(super) fn ptr(&self) -> *mut rd_kafka_t {
        self.rk.as_ptr()
    }

    /// Returns the error that made this client unusable, if there is one.
    pub(super) fn fatal_error(&self, operation: &'static str) -> Option<ClientError> {
        let mut buffer = [0 as c_char; 512];
        // SAFETY: the handle is live and the buffer's size is passed along; on a non-zero code the
        // buffer holds a terminated string.
        let (code, message) = unsafe {
            let code = rd_kafka_fatal_error(self.ptr(), buffer.as_mut_ptr(), buffer.len());
            (code, text(buffer.as_ptr()))
        };
        (code != 0)
            .then(|| error::make(operation, code, message, error::rebuild_unless_fatal(code)))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The flag keeps destruction from waiting for the group; a member that wants to leave it
        // in order closes first.
        // SAFETY: everything that refers to the handle holds an Arc of self, so nothing does.
        unsafe {
            rd_kafka_destroy_flags(self.ptr(), RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        }
    }
}

/// One reference to a queue of a client.
pub(super) struct Queue {
    queue: NonNull<rd_kafka_queue_t>,
    client: Arc<Client>,
}

// SAFETY: queues are internally locked; librdkafka allows any thread to use them.
unsafe impl Send for Queue {}

impl Queue {
    /// Makes a queue of its own, for replies.
    pub(super) fn new(client: &Arc<Client>) -> Self {
        // SAFETY: the handle is live; the function never returns null.
        let queue = unsafe { rd_kafka_queue_new(client.ptr()) };
        Self::own(queue, client).expect("rd_kafka_queue_new never fails")
    }

    /// Returns the queue of group events; `None` on a client without a group.
    pub(super) fn of_group(client: &Arc<Client>) -> Option<Self> {
        // SAFETY: the handle is live.
        Self::own(unsafe { rd_kafka_queue_get_consumer(client.ptr()) }, client)
    }

    /// Returns the fetch queue of a partition; `None` on a producer.
    pub(super) fn of_partition(
        client: &Arc<Client>,
        topic: &CStr,
        partition: Partition,
    ) -> Option<Self> {
        // SAFETY: handle and string are live.
        let queue =
            unsafe { rd_kafka_queue_get_partition(client.ptr(), topic.as_ptr(), partition.0) };
        Self::own(queue, client)
    }

    fn own(queue: *mut rd_kafka_queue_t, client: &Arc<Client>) -> Option<Self> {
        Some(Self { queue: NonNull::new(queue)?, client: Arc::clone(client) })
    }

    pub(super) fn ptr(&self) -> *mut rd_kafka_queue_t {
        self.queue.as_ptr()
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Keeps what arrives in this queue. librdkafka remembers that the application decided so, and
    /// starting to fetch does not turn forwarding on again (`RD_KAFKA_Q_F_FWD_APP`).
    pub(super) fn stop_forwarding(&self) {
        // SAFETY: the queue is live; null means "nowhere".
        unsafe { rd_kafka_queue_forward(self.ptr(), ptr::null_mut()) }
    }

    /// Wakes the waker whenever this queue turns from empty to non-empty.
    ///
    /// Stays in force after this reference is gone, so the waker must be among what the client
    /// keeps alive.
    pub(super) fn wake_when_filled(&self, waker: &Arc<Waker>) {
        // SAFETY: the waker outlives the client (the caller's promise, kept by `conf::build`), and
        // the callback is called under the queue's lock with exactly this pointer.
        unsafe {
            let opaque = Arc::as_ptr(waker).cast_mut().cast::<c_void>();
            rd_kafka_queue_cb_event_enable(self.ptr(), Some(wake), opaque);
        }
    }

    /// Takes the next event, waiting for one at most that long.
    pub(super) fn poll(&self, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is live; the event is ours.
        let event = unsafe { rd_kafka_queue_poll(self.ptr(), millis(timeout)) };
        NonNull::new(event).map(|event| Event { event })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: one reference, given back once; the client is still alive.
        unsafe { rd_kafka_queue_destroy(self.ptr()) }
    }
}

unsafe extern "C" fn wake(_rk: *mut rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: `wake_when_filled` registered a pointer to a waker that outlives the client.
    let waker = unsafe { &*opaque.cast::<Waker>() };
    waker.wake();
}

/// One event, owned.
pub(super) struct Event {
    event: NonNull<rd_kafka_event_t>,
}

impl Event {
    pub(super) fn ptr(&self) -> *mut rd_kafka_event_t {
        self.event.as_ptr()
    }

    pub(super) fn kind(&self) -> i32 {
        // SAFETY: the event is live.
        unsafe { rd_kafka_event_type(self.ptr()) }
    }

    pub(super) fn code(&self) -> i32 {
        // SAFETY: the event is live.
        unsafe { rd_kafka_event_error(self.ptr()) }
    }

    pub(super) fn message(&self) -> String {
        // SAFETY: the event is live and the string belongs to it.
        unsafe { text(rd_kafka_event_error_string(self.ptr())) }
    }

    pub(super) fn is_fatal(&self) -> bool {
        // SAFETY: the event is live.
        unsafe { rd_kafka_event_error_is_fatal(self.ptr()) != 0 }
    }

    /// Returns the partitions of a rebalance or commit event.
    pub(super) fn partitions(&self) -> Vec<ListedPartition> {
        // SAFETY: the event is live and keeps its list, which `read` only copies from.
        unsafe { ListedPartition::read(rd_kafka_event_topic_partition_list(self.ptr())) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { rd_kafka_event_destroy(self.ptr()) }
    }
}
