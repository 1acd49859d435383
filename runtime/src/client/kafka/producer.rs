//! A producer: records out, with their acknowledged positions; transactions in `transaction`.

#![expect(unsafe_code, reason = "calls librdkafka's produce functions")]

use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidemill_core::record::{Headers, TopicPartition};

use super::code;
use super::conf::{Conf, opaque_pointer, option_of};
use super::delivery::{self, DeliveryLog};
use super::error::{self, Flagged, check, invalid};
use super::ffi::{self, c_string, millis};
use super::handle::Client;
use crate::client::error::{ClientError, Severity};
use crate::client::types::{
    AckedPosition, ClientConfig, DeliveryError, Outgoing, PositionSlot, SendError, TopicHandle,
};

const SEND: &str = "send a record";

/// A Kafka producer, transactional if the configuration has a `transactional.id`.
///
/// All its calls need the one owner. Delivery reports and errors are served inside them: by `poll`,
/// and by `flush`, `commit_transaction` and `abort_transaction` on their own.
///
/// Dropping it purges what was not sent and takes no more than the time that librdkafka's threads
/// need to end (milliseconds); an open transaction stays open until its timeout, or until the next
/// producer with its id calls `init_transactions`.
pub struct Producer {
    // Topics before the client: it is destroyed after what belongs to it.
    topics: Vec<Topic>,
    handles: HashMap<String, TopicHandle>,
    slots: HashMap<TopicPartition, PositionSlot>,
    pub(super) client: Arc<Client>,
    pub(super) log: Arc<DeliveryLog>,
    id: u32,
    message_bytes_max: usize,
}

/// One `rd_kafka_topic_t`.
struct Topic {
    topic: NonNull<ffi::rd_kafka_topic_t>,
}

// SAFETY: topic objects are reference counted and locked by librdkafka.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: one reference, given back once, before the client goes.
        unsafe { ffi::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}

impl Producer {
    /// Makes a producer. It connects in the background: an unreachable broker is no error here.
    ///
    /// # Errors
    /// Fatal: an option is unknown or its value is not valid.
    pub fn new(config: &ClientConfig) -> Result<Self, ClientError> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(0);
        let log = Arc::new(DeliveryLog::default());
        let conf = Conf::new(config)?;
        // SAFETY: the configuration is live; the opaque is kept alive by the client.
        unsafe {
            ffi::rd_kafka_conf_set_opaque(conf.ptr(), opaque_pointer(&log));
            ffi::rd_kafka_conf_set_dr_msg_cb(conf.ptr(), Some(delivery::on_delivery));
            ffi::rd_kafka_conf_set_error_cb(conf.ptr(), Some(delivery::on_error));
        }
        let keep: Arc<dyn std::any::Any + Send + Sync> = Arc::<DeliveryLog>::clone(&log);
        let client = conf.build(ffi::rd_kafka_type_t::RD_KAFKA_PRODUCER, Some(keep))?;
        let message_bytes_max = option_of(&client, "message.max.bytes")
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or(1_000_000);
        Ok(Self {
            topics: Vec::new(),
            handles: HashMap::new(),
            slots: HashMap::new(),
            client,
            log,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            message_bytes_max,
        })
    }

    /// Returns the handle to send to a topic with; the same one each time.
    ///
    /// # Errors
    /// Fatal: the name is not valid. That the topic does not exist is told by `delivery_error`.
    pub fn topic(&mut self, name: &str) -> Result<TopicHandle, ClientError> {
        if let Some(handle) = self.handles.get(name) {
            return Ok(*handle);
        }
        let c_name = c_string("open a topic", name)?;
        // SAFETY: handle and string are live; a null configuration means the defaults.
        let topic =
            unsafe { ffi::rd_kafka_topic_new(self.client.ptr(), c_name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic)
            .ok_or_else(|| invalid("open a topic", format!("'{name}' is not a topic name")))?;
        let index = u32::try_from(self.topics.len()).expect("fewer topics than 2^32");
        self.topics.push(Topic { topic });
        let handle = TopicHandle { producer: self.id, index };
        self.handles.insert(name.to_owned(), handle);
        Ok(handle)
    }

    /// Returns the slot under which acknowledged offsets of a partition are kept; the same one each
    /// time. Send every record of that partition with it.
    pub fn register_position(&mut self, partition: TopicPartition) -> PositionSlot {
        let (id, log) = (self.id, &self.log);
        *self
            .slots
            .entry(partition)
            .or_insert_with(|| PositionSlot { producer: id, index: log.add_slot() })
    }

    /// Hands a record over; librdkafka copies it and sends it in the background.
    ///
    /// # Errors
    /// [`SendError::QueueFull`]: poll and send it again. [`SendError::TooLarge`]: it can never be
    /// sent. [`SendError::Failed`] with severity Abort: the transaction failed earlier, see
    /// `delivery_error`; Fenced or Fatal as everywhere.
    ///
    /// # Panics
    /// If a handle or slot is another producer's: it would mean another topic here.
    pub fn send(&mut self, record: &Outgoing<'_>) -> Result<(), SendError> {
        let slot = record.position.map(|slot| {
            assert_eq!(slot.producer, self.id, "a position slot of another producer");
            slot.index
        });
        let headers = HeaderList::new(record.headers)?;
        let (parts, count) = self.parts(record, slot, headers.as_ref());
        // SAFETY: the first `count` parts are initialised, and key, value and topic live through
        // the call, which copies them; on success librdkafka owns the headers.
        let error = unsafe { ffi::rd_kafka_produceva(self.client.ptr(), parts.as_ptr(), count) };
        let Some(error) = Flagged::take(error) else {
            if let Some(headers) = headers {
                headers.release();
            }
            if let Some(slot) = slot {
                self.log.sent(slot);
            }
            return Ok(());
        };
        Err(self.refused(record, error))
    }

    /// The arguments of one produce call: the fewest that say it all.
    fn parts(
        &self,
        record: &Outgoing<'_>,
        slot: Option<u32>,
        headers: Option<&HeaderList>,
    ) -> ([ffi::rd_kafka_vu_t; 8], usize) {
        use ffi::rd_kafka_vtype_t::*;
        use ffi::rd_kafka_vu_s__bindgen_ty_1 as Value;
        let topic = self.topic_of(record.topic);
        // librdkafka reads 0 as "now", see `Outgoing::timestamp`.
        let timestamp = if record.timestamp.0 == 0 { 1 } else { record.timestamp.0 };
        let part = |vtype, u| ffi::rd_kafka_vu_t { vtype, u };
        let partition = record.partition.map_or(PARTITION_UNASSIGNED, |partition| partition.0);
        let end = part(RD_KAFKA_VTYPE_END, Value { i: 0 });
        let parts = [
            part(RD_KAFKA_VTYPE_RKT, Value { rkt: topic }),
            part(RD_KAFKA_VTYPE_PARTITION, Value { i32_: partition }),
            part(RD_KAFKA_VTYPE_MSGFLAGS, Value { i: ffi::RD_KAFKA_MSG_F_COPY }),
            part(RD_KAFKA_VTYPE_KEY, Value { mem: memory(record.key) }),
            part(RD_KAFKA_VTYPE_VALUE, Value { mem: memory(record.value) }),
            part(RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: timestamp }),
            part(RD_KAFKA_VTYPE_OPAQUE, Value { ptr: delivery::tag(slot) }),
            headers.map_or(end, |list| {
                part(RD_KAFKA_VTYPE_HEADERS, Value { headers: list.list.as_ptr() })
            }),
        ];
        (parts, if headers.is_some() { 8 } else { 7 })
    }

    fn topic_of(&self, handle: TopicHandle) -> *mut ffi::rd_kafka_topic_t {
        assert_eq!(handle.producer, self.id, "a topic handle of another producer");
        self.topics[handle.index as usize].topic.as_ptr()
    }

    fn refused(&self, record: &Outgoing<'_>, error: Flagged) -> SendError {
        match error.code {
            code::QUEUE_FULL => SendError::QueueFull,
            code::MSG_SIZE_TOO_LARGE => SendError::TooLarge {
                bytes: record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len),
                max: self.message_bytes_max,
            },
            code::STATE => {
                // No flags come with it, but it means: not in a transaction, or in a failed one.
                let mut error = error.transactional(SEND);
                error.severity = Severity::Abort;
                SendError::Failed(error)
            }
            _ => SendError::Failed(error.transactional(SEND)),
        }
    }

    /// Serves delivery reports and errors, waiting for the first at most that long.
    pub fn poll(&mut self, timeout: Duration) {
        // SAFETY: the handle is live; callbacks run inside, on this thread.
        unsafe { ffi::rd_kafka_poll(self.client.ptr(), millis(timeout)) };
    }

    /// Returns how many records and reports are on their way.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        // SAFETY: the handle is live.
        usize::try_from(unsafe { ffi::rd_kafka_outq_len(self.client.ptr()) }).unwrap_or(0)
    }

    /// Sends everything that waits, without lingering, and serves the reports.
    ///
    /// # Errors
    /// Retry: not all delivered in time. Whether each was delivered is told by `delivery_error`.
    pub fn flush(&mut self, timeout: Duration) -> Result<(), ClientError> {
        // SAFETY: the handle is live; callbacks run inside, on this thread.
        check("flush the producer", unsafe {
            ffi::rd_kafka_flush(self.client.ptr(), millis(timeout))
        })
    }

    /// Returns what the delivery reports say about each slot that was sent to since the last reset.
    /// Meaningful after a commit or flush that succeeded: then every report is in.
    pub fn positions(&mut self) -> Vec<(PositionSlot, AckedPosition)> {
        let producer = self.id;
        let positions = self.log.positions().into_iter();
        positions.map(|(index, position)| (PositionSlot { producer, index }, position)).collect()
    }

    /// Forgets what was sent and acknowledged; the slots stay. `begin_transaction` does it too.
    pub fn reset_positions(&mut self) {
        self.log.reset_positions();
    }

    /// Returns the first record of the transaction that was not delivered. `begin_transaction`
    /// forgets it. Without transactions it stays until [`Producer::clear_delivery_error`].
    #[must_use]
    pub fn delivery_error(&self) -> Option<DeliveryError> {
        self.log.first_error()
    }

    /// Forgets the delivery error.
    pub fn clear_delivery_error(&mut self) {
        self.log.clear_error();
    }

    /// Returns true if a connection was lost or an answer did not come since the flag was cleared.
    ///
    /// If that is so after a commit or abort, replace the producer before the next transaction: a
    /// request that librdkafka repeated may still be on its way and end it (INV-6). librdkafka does
    /// not tell the same error of the same broker twice within 30 s, so a cleared flag hides a
    /// second loss: do not go on with a producer that was troubled, and treat a slow commit alike.
    pub fn troubled(&mut self) -> bool {
        self.poll(Duration::ZERO);
        self.log.troubled()
    }

    /// Forgets that there was trouble.
    pub fn clear_trouble(&mut self) {
        self.poll(Duration::ZERO);
        self.log.clear_trouble();
    }

    /// Returns the error that made this producer unusable, if there is one.
    #[must_use]
    pub fn fatal_error(&self) -> Option<ClientError> {
        self.client.fatal_error("use the producer")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let flags = ffi::RD_KAFKA_PURGE_F_QUEUE
            | ffi::RD_KAFKA_PURGE_F_INFLIGHT
            | ffi::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the handle is live; topics and client go afterwards, in that order.
        unsafe { ffi::rd_kafka_purge(self.client.ptr(), flags) };
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("topics", &self.handles).finish_non_exhaustive()
    }
}

const PARTITION_UNASSIGNED: i32 = -1;

/// Null for `None`; an empty slice keeps its pointer, which is what makes it empty and not null.
fn memory(bytes: Option<&[u8]>) -> ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    ffi::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: bytes.map_or(ptr::null_mut(), |bytes| bytes.as_ptr().cast_mut().cast::<c_void>()),
        size: bytes.map_or(0, <[u8]>::len),
    }
}

/// Headers on their way into a record.
struct HeaderList {
    list: NonNull<ffi::rd_kafka_headers_t>,
}

impl HeaderList {
    fn new(headers: &Headers) -> Result<Option<Self>, ClientError> {
        if headers.is_empty() {
            return Ok(None);
        }
        // SAFETY: no precondition; never returns null.
        let list = unsafe { ffi::rd_kafka_headers_new(headers.len()) };
        let list = Self { list: NonNull::new(list).expect("rd_kafka_headers_new never fails") };
        for header in headers.iter() {
            let value = memory(header.value.as_deref());
            let size = |len: usize| isize::try_from(len).expect("a slice fits isize");
            // SAFETY: name and value are live and of the given sizes; both are copied. A null
            // value is kept apart from an empty one by its pointer.
            let code = unsafe {
                ffi::rd_kafka_header_add(
                    list.list.as_ptr(),
                    header.key.as_ptr().cast(),
                    size(header.key.len()),
                    value.ptr,
                    size(value.size),
                )
            };
            if code != code::NO_ERROR {
                return Err(error::from_code("add a header", code));
            }
        }
        Ok(Some(list))
    }

    /// The record owns the headers now.
    fn release(self) {
        std::mem::forget(self);
    }
}

impl Drop for HeaderList {
    fn drop(&mut self) {
        // SAFETY: owned, and not taken over by a record (then drop does not run).
        unsafe { ffi::rd_kafka_headers_destroy(self.list.as_ptr()) }
    }
}
