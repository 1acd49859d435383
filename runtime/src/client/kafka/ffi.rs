//! The C functions we call, and one owner for each C object.
//!
//! Functions that take or return an error code are declared again here with a plain number in
//! place of the bindings' enum; see [`super::code`] for why.

#![expect(unsafe_code, reason = "librdkafka is a C library; this file owns its objects")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

pub(super) use rdkafka::bindings::*;
use tidemill_core::record::{Offset, Partition, TopicPartition};

use super::error::{self, Flagged};
use crate::client::error::ClientError;
use crate::client::types::OffsetCommit;
use crate::client::waker::Waker;

unsafe extern "C" {
    pub(super) fn rd_kafka_err2str(code: c_int) -> *const c_char;
    pub(super) fn rd_kafka_err2name(code: c_int) -> *const c_char;
    pub(super) fn rd_kafka_error_code(error: *const rd_kafka_error_t) -> c_int;
    pub(super) fn rd_kafka_event_error(event: *mut rd_kafka_event_t) -> c_int;
    pub(super) fn rd_kafka_fatal_error(
        rk: *mut rd_kafka_t,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    pub(super) fn rd_kafka_poll_set_consumer(rk: *mut rd_kafka_t) -> c_int;
    pub(super) fn rd_kafka_subscribe(
        rk: *mut rd_kafka_t,
        topics: *const rd_kafka_topic_partition_list_t,
    ) -> c_int;
    pub(super) fn rd_kafka_unsubscribe(rk: *mut rd_kafka_t) -> c_int;
    pub(super) fn rd_kafka_assign(
        rk: *mut rd_kafka_t,
        partitions: *const rd_kafka_topic_partition_list_t,
    ) -> c_int;
    pub(super) fn rd_kafka_committed(
        rk: *mut rd_kafka_t,
        partitions: *mut rd_kafka_topic_partition_list_t,
        timeout_ms: c_int,
    ) -> c_int;
    pub(super) fn rd_kafka_commit_queue(
        rk: *mut rd_kafka_t,
        offsets: *const rd_kafka_topic_partition_list_t,
        queue: *mut rd_kafka_queue_t,
        callback: *const c_void,
        opaque: *mut c_void,
    ) -> c_int;
    pub(super) fn rd_kafka_message_headers(
        message: *const rd_kafka_message_t,
        headers: *mut *mut rd_kafka_headers_t,
    ) -> c_int;
    pub(super) fn rd_kafka_header_get_all(
        headers: *const rd_kafka_headers_t,
        index: usize,
        name: *mut *const c_char,
        value: *mut *const c_void,
        size: *mut usize,
    ) -> c_int;
    pub(super) fn rd_kafka_header_add(
        headers: *mut rd_kafka_headers_t,
        name: *const c_char,
        name_size: isize,
        value: *const c_void,
        value_size: isize,
    ) -> c_int;
    pub(super) fn rd_kafka_flush(rk: *mut rd_kafka_t, timeout_ms: c_int) -> c_int;
    pub(super) fn rd_kafka_purge(rk: *mut rd_kafka_t, flags: c_int) -> c_int;
    pub(super) fn rd_kafka_topic_result_error(result: *const rd_kafka_topic_result_t) -> c_int;
    pub(super) fn rd_kafka_ConfigResource_error(config: *const rd_kafka_ConfigResource_t) -> c_int;
    pub(super) fn rd_kafka_NewTopic_set_config(
        topic: *mut rd_kafka_NewTopic_t,
        name: *const c_char,
        value: *const c_char,
    ) -> c_int;
    pub(super) fn rd_kafka_AdminOptions_set_request_timeout(
        options: *mut rd_kafka_AdminOptions_t,
        timeout_ms: c_int,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
    pub(super) fn rd_kafka_AdminOptions_set_operation_timeout(
        options: *mut rd_kafka_AdminOptions_t,
        timeout_ms: c_int,
        text: *mut c_char,
        size: usize,
    ) -> c_int;
}

/// Copies a C string; null is the empty string.
///
/// # Safety
/// The pointer is null or points to a string that ends in NUL and lives through the call.
pub(super) unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// Makes a C string of a name; a NUL byte inside is the caller's error.
pub(super) fn c_string(operation: &'static str, name: &str) -> Result<CString, ClientError> {
    CString::new(name).map_err(|_| error::invalid(operation, "a name contains a NUL byte"))
}

/// A duration in whole milliseconds for librdkafka: rounded up, and never its -1 for "for ever".
pub(super) fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

/// One `rd_kafka_t`. Whatever belongs to it holds an `Arc` of it, so it goes last.
pub(super) struct Client {
    rk: NonNull<rd_kafka_t>,
    /// What the callbacks of this client point at: must outlive it, never read here.
    _opaque: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

// SAFETY: librdkafka's handle is documented as thread-safe throughout.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Takes over a handle together with what its callbacks point at.
    pub(super) fn own(
        rk: NonNull<rd_kafka_t>,
        opaque: Option<Arc<dyn std::any::Any + Send + Sync>>,
    ) -> Self {
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

/// A partition list, owned.
pub(super) struct PartitionList {
    list: NonNull<rd_kafka_topic_partition_list_t>,
}

impl PartitionList {
    pub(super) fn new(capacity: usize) -> Self {
        // SAFETY: no precondition; never returns null.
        let list =
            unsafe { rd_kafka_topic_partition_list_new(c_int::try_from(capacity).unwrap_or(0)) };
        Self { list: NonNull::new(list).expect("rd_kafka_topic_partition_list_new never fails") }
    }

    pub(super) fn of_partitions(
        operation: &'static str,
        partitions: &[TopicPartition],
    ) -> Result<Self, ClientError> {
        let list = Self::new(partitions.len());
        for partition in partitions {
            list.add(operation, partition, None)?;
        }
        Ok(list)
    }

    pub(super) fn of_offsets(
        operation: &'static str,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<Self, ClientError> {
        let list = Self::new(offsets.len());
        for (partition, offset) in offsets {
            list.add(operation, partition, Some(*offset))?;
        }
        Ok(list)
    }

    pub(super) fn of_commits(
        operation: &'static str,
        client: &Client,
        commits: &[OffsetCommit],
    ) -> Result<Self, ClientError> {
        let list = Self::new(commits.len());
        for commit in commits {
            let element = list.add(operation, &commit.partition, Some(commit.offset))?;
            let metadata = commit.metadata.as_bytes();
            if metadata.is_empty() {
                continue;
            }
            // SAFETY: the element is the one just added; its metadata must come from librdkafka's
            // allocator because destroying the list frees it. The copy has exactly that size.
            unsafe {
                let copy = rd_kafka_mem_malloc(client.ptr(), metadata.len());
                ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast::<u8>(), metadata.len());
                (*element).metadata = copy;
                (*element).metadata_size = metadata.len();
            }
        }
        Ok(list)
    }

    /// Adds one partition; the pointer is good until the next addition.
    fn add(
        &self,
        operation: &'static str,
        partition: &TopicPartition,
        offset: Option<Offset>,
    ) -> Result<*mut rd_kafka_topic_partition_t, ClientError> {
        let topic = c_string(operation, &partition.topic)?;
        // SAFETY: list and string are live, the string is copied; never returns null.
        unsafe {
            let element = rd_kafka_topic_partition_list_add(
                self.ptr(),
                topic.as_ptr(),
                partition.partition.0,
            );
            if let Some(offset) = offset {
                (*element).offset = offset.0;
            }
            Ok(element)
        }
    }

    pub(super) fn ptr(&self) -> *mut rd_kafka_topic_partition_list_t {
        self.list.as_ptr()
    }

    pub(super) fn read(&self) -> Vec<ListedPartition> {
        // SAFETY: the list is live.
        unsafe { ListedPartition::read(self.ptr()) }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { rd_kafka_topic_partition_list_destroy(self.ptr()) }
    }
}

/// One element of a partition list, copied out.
#[derive(Debug)]
pub(super) struct ListedPartition {
    pub(super) partition: TopicPartition,
    pub(super) offset: i64,
    pub(super) metadata: String,
    pub(super) code: i32,
}

impl ListedPartition {
    /// Copies a list's elements.
    ///
    /// # Safety
    /// The list is null (then it is empty) or live.
    pub(super) unsafe fn read(list: *const rd_kafka_topic_partition_list_t) -> Vec<Self> {
        if list.is_null() {
            return Vec::new();
        }
        // SAFETY: the caller's promise; `elems` has `cnt` elements.
        unsafe {
            let count = usize::try_from((*list).cnt).unwrap_or(0);
            (0..count).map(|index| Self::copy((*list).elems.add(index))).collect()
        }
    }

    /// Copies one element.
    ///
    /// # Safety
    /// The element is live.
    pub(super) unsafe fn copy(element: *const rd_kafka_topic_partition_t) -> Self {
        // SAFETY: the caller's promise. The error code is read as a number through a raw pointer,
        // so that the field never takes the enum's type; metadata has `metadata_size` bytes.
        unsafe {
            let metadata = match NonNull::new((*element).metadata.cast::<u8>()) {
                Some(bytes) => {
                    let size = (*element).metadata_size;
                    String::from_utf8_lossy(std::slice::from_raw_parts(bytes.as_ptr(), size)).into()
                }
                None => String::new(),
            };
            Self {
                partition: TopicPartition::new(
                    text((*element).topic),
                    Partition((*element).partition),
                ),
                offset: (*element).offset,
                metadata,
                code: ptr::addr_of!((*element).err).cast::<c_int>().read(),
            }
        }
    }
}

/// Turns an error object into a result, by the code.
pub(super) fn plain(
    operation: &'static str,
    error: *mut rd_kafka_error_t,
) -> Result<(), ClientError> {
    Flagged::take(error).map_or(Ok(()), |error| Err(error.plain(operation)))
}
