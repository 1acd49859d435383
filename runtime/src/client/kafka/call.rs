//! One administrative request: options out, one result event back.

#![expect(unsafe_code, reason = "calls librdkafka's admin functions and walks their results")]

use std::ffi::c_char;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use super::code;
use super::error::{self, check};
use super::ffi::{self, deadline, left, millis};
use super::handle::{Client, Event, Queue};
use crate::client::error::ClientError;

/// Options of one request, owned.
pub(super) struct Options {
    options: NonNull<ffi::rd_kafka_AdminOptions_t>,
}

impl Options {
    fn new(
        client: &Client,
        request: ffi::rd_kafka_admin_op_t,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        const OPERATION: &str = "set a request's timeout";
        let mut text = [0 as c_char; 128];
        // SAFETY: the handle is live; never returns null.
        let options = unsafe { ffi::rd_kafka_AdminOptions_new(client.ptr(), request) };
        let options = Self { options: NonNull::new(options).expect("a known admin request") };
        // librdkafka refuses more than an hour.
        let timeout = millis(timeout.min(Duration::from_secs(3600)));
        // SAFETY: options are live and the buffer's size is passed along.
        check(OPERATION, unsafe {
            ffi::rd_kafka_AdminOptions_set_request_timeout(
                options.ptr(),
                timeout,
                text.as_mut_ptr(),
                text.len(),
            )
        })?;
        Ok(options)
    }

    /// Waits at the broker until the change is carried out everywhere.
    pub(super) fn wait_until_done(&self, timeout: Duration) -> Result<(), ClientError> {
        let mut text = [0 as c_char; 128];
        // SAFETY: options are live and the buffer's size is passed along.
        check("set a request's timeout", unsafe {
            ffi::rd_kafka_AdminOptions_set_operation_timeout(
                self.ptr(),
                millis(timeout.min(Duration::from_secs(3600))),
                text.as_mut_ptr(),
                text.len(),
            )
        })
    }

    /// Sets whose eyes ends of logs are read with.
    pub(super) fn isolation(
        &self,
        level: ffi::rd_kafka_IsolationLevel_t,
    ) -> Result<(), ClientError> {
        // SAFETY: options are live; the error object is ours.
        ffi::plain("set the isolation level", unsafe {
            ffi::rd_kafka_AdminOptions_set_isolation_level(self.ptr(), level)
        })
    }

    pub(super) fn ptr(&self) -> *mut ffi::rd_kafka_AdminOptions_t {
        self.options.as_ptr()
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: owned, destroyed once.
        unsafe { ffi::rd_kafka_AdminOptions_destroy(self.ptr()) }
    }
}

/// Makes a request through `send` and waits for its result.
pub(super) fn request(
    operation: &'static str,
    client: &Arc<Client>,
    kind: ffi::rd_kafka_admin_op_t,
    timeout: Duration,
    send: impl FnOnce(&Options, *mut ffi::rd_kafka_queue_t) -> Result<(), ClientError>,
) -> Result<Event, ClientError> {
    let options = Options::new(client, kind, timeout)?;
    let replies = Queue::new(client);
    send(&options, replies.ptr())?;
    // The request ends by itself at its timeout; a little more, so that its own error is seen.
    let deadline = deadline(timeout.saturating_add(Duration::from_secs(1)));
    while let Some(event) = replies.poll(left(deadline)) {
        let failed = event.code();
        if failed != code::NO_ERROR {
            let severity = code::severity(failed);
            return Err(error::make(operation, failed, event.message(), severity));
        }
        // Nothing but the result of this one request is sent to this queue.
        if event.kind() != ffi::RD_KAFKA_EVENT_NONE {
            return Ok(event);
        }
    }
    Err(error::from_code(operation, code::TIMED_OUT))
}

/// Copies an array of pointers, as admin results come; null is the empty array.
///
/// # Safety
/// The array is null or has `count` elements.
pub(super) unsafe fn elements<T>(array: *mut *const T, count: usize) -> Vec<*const T> {
    if array.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(array, count) }.to_vec()
}
