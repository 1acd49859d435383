//! A fetched record that owns its bytes.

#![expect(unsafe_code, reason = "reads librdkafka's message structure")]

use std::ffi::{c_int, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use tidemill_core::record::{Headers, Offset, RawRecord, Timestamp};

use super::code;
use super::ffi::{self, text};
use super::handle::Client;

/// One record as librdkafka fetched it: nothing is copied, headers are parsed when asked for.
///
/// It shares its fetch response with the records fetched along with it, so the memory of a response
/// (up to `fetch.message.max.bytes`) is free when the last of them is dropped: keep records for as
/// long as a batch, not for longer. It may be sent to another thread, not shared between threads.
pub struct Message {
    message: NonNull<ffi::rd_kafka_message_t>,
    /// Destroying a client whose messages are still around waits for ever.
    _client: Arc<Client>,
}

// SAFETY: the message is owned by value; librdkafka ties it to no thread. It is not `Sync`, because
// the first look at the headers changes it.
unsafe impl Send for Message {}

impl Message {
    /// Takes over a message that a consume call returned.
    ///
    /// # Safety
    /// The pointer is a live message of this client, and nobody else destroys it.
    pub(super) unsafe fn own(
        message: NonNull<ffi::rd_kafka_message_t>,
        client: Arc<Client>,
    ) -> Self {
        Self { message, _client: client }
    }

    /// The message's error code: 0 for a record.
    pub(super) fn code(&self) -> i32 {
        // SAFETY: the message is live; read as a number because the enum may not know the code.
        unsafe { ptr::addr_of!((*self.message.as_ptr()).err).cast::<c_int>().read() }
    }

    /// The error text of a message that is no record.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is live; the text belongs to it.
        unsafe { text(ffi::rd_kafka_message_errstr(self.message.as_ptr())) }
    }

    // Null is told apart from empty by the pointer alone.
    fn bytes(&self, data: *const c_void, len: usize) -> Option<&[u8]> {
        // SAFETY: librdkafka promises `len` bytes behind a pointer that is not null, and they live
        // as long as the message, which `self` borrows.
        (!data.is_null()).then(|| unsafe { slice::from_raw_parts(data.cast::<u8>(), len) })
    }
}

impl RawRecord for Message {
    fn offset(&self) -> Offset {
        // SAFETY: the message is live.
        Offset(unsafe { (*self.message.as_ptr()).offset })
    }

    fn timestamp(&self) -> Timestamp {
        // SAFETY: the message is live; a null type pointer is allowed.
        Timestamp(unsafe {
            ffi::rd_kafka_message_timestamp(self.message.as_ptr(), ptr::null_mut())
        })
    }

    fn key(&self) -> Option<&[u8]> {
        // SAFETY: the message is live.
        let (data, len) = unsafe {
            let message = self.message.as_ptr();
            ((*message).key, (*message).key_len)
        };
        self.bytes(data, len)
    }

    fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message is live.
        let (data, len) = unsafe {
            let message = self.message.as_ptr();
            ((*message).payload, (*message).len)
        };
        self.bytes(data, len)
    }

    fn headers(&self) -> Headers {
        let mut headers = Headers::new();
        let mut list = ptr::null_mut();
        // SAFETY: the message is live and not shared with another thread; the list, the names and
        // the values belong to it and are copied here.
        unsafe {
            if ffi::rd_kafka_message_headers(self.message.as_ptr(), &raw mut list) != code::NO_ERROR
            {
                return headers;
            }
            for index in 0.. {
                let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
                let found = ffi::rd_kafka_header_get_all(
                    list,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut size,
                );
                if found != code::NO_ERROR {
                    break;
                }
                headers.add(text(name), self.bytes(value, size).map(<[u8]>::to_vec));
            }
        }
        headers
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the bytes: they are the user's.
        f.debug_struct("Message").field("offset", &self.offset()).finish_non_exhaustive()
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once; the client is still alive.
        unsafe { ffi::rd_kafka_message_destroy(self.message.as_ptr()) }
    }
}
