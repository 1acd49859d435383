//! The C functions we call, and the small change of calling C.
//!
//! Functions that take or return an error code are declared again here with a plain number in
//! place of the bindings' enum; see [`super::code`] for why.

#![expect(unsafe_code, reason = "librdkafka is a C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::time::{Duration, Instant};

pub(super) use rdkafka::bindings::*;

use super::error::{self, Flagged};
use crate::client::error::ClientError;

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

/// The moment when the time is up; a time beyond reckoning is a year.
pub(super) fn deadline(timeout: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    Instant::now() + timeout.min(YEAR)
}

/// How much time is left, zero if none.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Turns an error object into a result, by the code.
pub(super) fn plain(
    operation: &'static str,
    error: *mut rd_kafka_error_t,
) -> Result<(), ClientError> {
    Flagged::take(error).map_or(Ok(()), |error| Err(error.plain(operation)))
}
