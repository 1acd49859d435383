//! The few calls of librdkafka that the raw loop makes, just safe enough. An error ends the loop: a
//! benchmark that has to repeat a transaction measures nothing.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use rdkafka::bindings as ffi;
use tidemill::BoxError;

use crate::options::WorkerOptions;

const TIMEOUT_MS: c_int = 30_000;
const QUEUE_FULL: c_int = -184;
/// How long a full send queue is waited for at a time.
const QUEUE_WAIT_MS: c_int = 10;

/// The version of librdkafka, which Tidemill uses too.
pub(crate) fn librdkafka_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}

/// A client that is destroyed once, after everything that belongs to it.
struct Handle(NonNull<ffi::rd_kafka_t>);

impl Handle {
    fn new(kind: ffi::rd_kafka_type_t, options: &[(&str, &str)]) -> Result<Self, BoxError> {
        let mut message = [0 as c_char; 512];
        // SAFETY: all pointers are live for the calls and the buffer's size is passed along; the
        // configuration is taken over by a client, or lost with the process, which ends then.
        unsafe {
            let conf = ffi::rd_kafka_conf_new();
            for (name, value) in options {
                let (c_name, c_value) = (CString::new(*name)?, CString::new(*value)?);
                let result = ffi::rd_kafka_conf_set(
                    conf,
                    c_name.as_ptr(),
                    c_value.as_ptr(),
                    message.as_mut_ptr(),
                    message.len(),
                );
                if result != ffi::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    return Err(format!("option {name} was refused").into());
                }
            }
            let rk = ffi::rd_kafka_new(kind, conf, message.as_mut_ptr(), message.len());
            NonNull::new(rk).map(Self).ok_or_else(|| text(message.as_ptr()).into())
        }
    }

    fn ptr(&self) -> *mut ffi::rd_kafka_t {
        self.0.as_ptr()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { ffi::rd_kafka_destroy(self.ptr()) }
    }
}

/// A member of the group with one queue for everything.
pub(super) struct Consumer {
    queue: NonNull<ffi::rd_kafka_queue_t>,
    handle: Handle,
}

impl Consumer {
    pub(super) fn new(options: &WorkerOptions, topics: &[&str]) -> Result<Self, BoxError> {
        let handle = Handle::new(
            ffi::rd_kafka_type_t::RD_KAFKA_CONSUMER,
            &[
                ("bootstrap.servers", &options.bootstrap_servers),
                ("group.id", &options.application_id),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "earliest"),
                ("isolation.level", "read_committed"),
                ("partition.assignment.strategy", "range"),
                // As Tidemill sets them.
                ("check.crcs", "true"),
                ("fetch.wait.max.ms", "50"),
                ("fetch.queue.backoff.ms", "10"),
                ("queued.min.messages", "5000"),
                ("queued.max.messages.kbytes", "4096"),
            ],
        )?;
        // SAFETY: the handle is live, the list is ours and copied by the subscription.
        unsafe {
            ffi::rd_kafka_poll_set_consumer(handle.ptr());
            let list = ffi::rd_kafka_topic_partition_list_new(1);
            for topic in topics {
                let topic = CString::new(*topic)?;
                ffi::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), -1);
            }
            let code = ffi::rd_kafka_subscribe(handle.ptr(), list) as c_int;
            ffi::rd_kafka_topic_partition_list_destroy(list);
            if code != 0 {
                return Err(format!("could not subscribe ({code})").into());
            }
            let queue = NonNull::new(ffi::rd_kafka_queue_get_consumer(handle.ptr()));
            Ok(Self { queue: queue.ok_or("the consumer has no queue")?, handle })
        }
    }

    /// Takes what is there; if nothing is, waits for the first record.
    pub(super) fn read(&self, max: usize, wait: Duration) -> Batch<'_> {
        let mut messages: Vec<*mut ffi::rd_kafka_message_t> = vec![ptr::null_mut(); max];
        // SAFETY: the queue is live and the array has `max` places; what is filled is ours.
        unsafe {
            let count = ffi::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                0,
                messages.as_mut_ptr(),
                max,
            );
            messages.truncate(usize::try_from(count).unwrap_or(0));
            if messages.is_empty() {
                let millis = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
                let first = ffi::rd_kafka_consume_queue(self.queue.as_ptr(), millis);
                if !first.is_null() {
                    messages.push(first);
                }
            }
        }
        Batch { messages, _of: PhantomData }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: the handle is live and goes afterwards; no batch outlives the consumer.
        unsafe {
            ffi::rd_kafka_consumer_close(self.handle.ptr());
            ffi::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Fetched messages, destroyed together.
pub(super) struct Batch<'a> {
    messages: Vec<*mut ffi::rd_kafka_message_t>,
    _of: PhantomData<&'a Consumer>,
}

/// A record of a batch.
pub(super) struct Fetched<'a> {
    pub(super) topic: &'a [u8],
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

impl Batch<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = Result<Fetched<'_>, BoxError>> {
        // SAFETY: the messages are live for as long as the batch is borrowed, as is what they point
        // to. The code is read as a number, since the enum may not know it.
        self.messages.iter().map(|message| unsafe {
            let code = ptr::addr_of!((**message).err).cast::<c_int>().read();
            if code != 0 {
                return Err(text(ffi::rd_kafka_message_errstr(*message)).into());
            }
            Ok(Fetched {
                topic: CStr::from_ptr(ffi::rd_kafka_topic_name((**message).rkt)).to_bytes(),
                partition: (**message).partition,
                offset: (**message).offset,
                key: bytes((**message).key, (**message).key_len),
                value: bytes((**message).payload, (**message).len),
            })
        })
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: ours, destroyed once.
            unsafe { ffi::rd_kafka_message_destroy(message) }
        }
    }
}

/// A transactional producer without delivery reports: a commit fails if a record did not arrive.
pub(super) struct Producer {
    handle: Handle,
}

impl Producer {
    pub(super) fn new(options: &WorkerOptions) -> Result<Self, BoxError> {
        let handle = Handle::new(
            ffi::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            &[
                ("bootstrap.servers", &options.bootstrap_servers),
                ("transactional.id", &options.application_id),
                ("transaction.timeout.ms", "10000"),
                // As Tidemill sets them.
                ("linger.ms", "20"),
                ("retry.backoff.ms", "20"),
                ("queue.buffering.max.messages", "1000000"),
                ("queue.buffering.max.kbytes", "65536"),
            ],
        )?;
        // SAFETY: the handle is live; the error object is ours.
        checked("initialise transactions", unsafe {
            ffi::rd_kafka_init_transactions(handle.ptr(), TIMEOUT_MS)
        })?;
        Ok(Self { handle })
    }

    pub(super) fn outgoing(&self, topic: &str) -> Result<Outgoing, BoxError> {
        let name = CString::new(topic)?;
        // SAFETY: handle and name are live; a null configuration means the defaults.
        let topic =
            unsafe { ffi::rd_kafka_topic_new(self.handle.ptr(), name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or("not a topic name")?;
        Ok(Outgoing { topic, messages: Vec::new(), bytes: Vec::new() })
    }

    pub(super) fn begin(&self) -> Result<(), BoxError> {
        // SAFETY: the handle is live; the error object is ours.
        checked("begin", unsafe { ffi::rd_kafka_begin_transaction(self.handle.ptr()) })
    }

    /// Commits, with these offsets: topic, partition, next record.
    pub(super) fn commit<'a>(
        &self,
        consumer: &Consumer,
        offsets: impl Iterator<Item = (&'a str, usize, i64)>,
    ) -> Result<(), BoxError> {
        let rk = self.handle.ptr();
        // SAFETY: handles, list and metadata are live for the calls and destroyed once; the error
        // objects are ours.
        unsafe {
            let list = ffi::rd_kafka_topic_partition_list_new(8);
            for (topic, partition, offset) in offsets {
                let topic = CString::new(topic)?;
                let partition = i32::try_from(partition)?;
                let element =
                    ffi::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition);
                (*element).offset = offset;
            }
            let group = ffi::rd_kafka_consumer_group_metadata(consumer.handle.ptr());
            let sent = ffi::rd_kafka_send_offsets_to_transaction(rk, list, group, TIMEOUT_MS);
            ffi::rd_kafka_consumer_group_metadata_destroy(group);
            ffi::rd_kafka_topic_partition_list_destroy(list);
            checked("send offsets", sent)?;
            checked("commit", ffi::rd_kafka_commit_transaction(rk, TIMEOUT_MS))
        }
    }
}

/// Records for one topic, gathered and handed over together.
pub(super) struct Outgoing {
    topic: NonNull<ffi::rd_kafka_topic_t>,
    /// Their keys and values are places in `bytes`, one after the other, and pointers only when
    /// they are sent.
    messages: Vec<ffi::rd_kafka_message_t>,
    bytes: Vec<u8>,
}

impl Outgoing {
    /// Adds a record whose value `write` appends.
    pub(super) fn push(
        &mut self,
        partition: i32,
        key: &[u8],
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        self.bytes.extend_from_slice(key);
        let begin = self.bytes.len();
        write(&mut self.bytes)?;
        self.messages.push(ffi::rd_kafka_message_t {
            err: ffi::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
            rkt: ptr::null_mut(),
            partition,
            payload: ptr::null_mut(),
            len: self.bytes.len() - begin,
            key: ptr::null_mut(),
            key_len: key.len(),
            offset: 0,
            _private: ptr::null_mut(),
        });
        Ok(())
    }

    /// Hands all of them over; librdkafka copies them.
    pub(super) fn send(&mut self, producer: &Producer) -> Result<(), BoxError> {
        let mut rest = &self.bytes[..];
        for message in &mut self.messages {
            let (key, after) = rest.split_at(message.key_len);
            let (value, after) = after.split_at(message.len);
            message.key = key.as_ptr().cast_mut().cast();
            message.payload = value.as_ptr().cast_mut().cast();
            rest = after;
        }
        while !self.messages.is_empty() {
            let count = c_int::try_from(self.messages.len())?;
            let flags = ffi::RD_KAFKA_MSG_F_COPY | ffi::RD_KAFKA_MSG_F_PARTITION;
            // SAFETY: topic and array are live; keys and values are copied.
            let taken = unsafe {
                let messages = self.messages.as_mut_ptr();
                ffi::rd_kafka_produce_batch(self.topic.as_ptr(), 0, flags, messages, count)
            };
            if taken == count {
                break;
            }
            // SAFETY: the message is live; the code is read as a number, the enum may not know it.
            let code = |message: &ffi::rd_kafka_message_t| unsafe {
                ptr::addr_of!(message.err).cast::<c_int>().read()
            };
            let refused =
                |message: &&ffi::rd_kafka_message_t| !matches!(code(message), 0 | QUEUE_FULL);
            if let Some(message) = self.messages.iter().find(refused) {
                return Err(format!("a record was not taken ({})", code(message)).into());
            }
            self.messages.retain(|message| code(message) == QUEUE_FULL);
            // SAFETY: the handle is live.
            unsafe { ffi::rd_kafka_poll(producer.handle.ptr(), QUEUE_WAIT_MS) };
        }
        self.messages.clear();
        self.bytes.clear();
        Ok(())
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once; it goes before the producer.
        unsafe { ffi::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}

fn checked(doing: &str, error: *mut ffi::rd_kafka_error_t) -> Result<(), BoxError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the error is ours and destroyed once.
    let message = unsafe {
        let message = text(ffi::rd_kafka_error_string(error));
        ffi::rd_kafka_error_destroy(error);
        message
    };
    Err(format!("could not {doing}: {message}").into())
}

/// # Safety
/// A terminated string, or null.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: the caller promises it.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// # Safety
/// `len` bytes that live as long as the answer, or null.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller promises it.
    (!data.is_null()).then(|| unsafe { slice::from_raw_parts(data.cast::<u8>(), len) })
}
