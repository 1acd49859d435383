//! Turns librdkafka's errors into [`ClientError`]s.

#![expect(unsafe_code, reason = "reads and frees librdkafka's error objects")]

use super::code;
use super::ffi::{self, text};
use crate::client::error::{ClientError, Severity};

/// A `rd_kafka_error_t` read out and freed.
#[derive(Debug, Clone)]
pub(in crate::client) struct Flagged {
    pub(in crate::client) code: i32,
    message: String,
    retriable: bool,
    abort: bool,
    fatal: bool,
}

/// What an error object of librdkafka may be marked with.
#[cfg(feature = "simulation")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Flag {
    Retriable,
    Abort,
    Fatal,
}

impl Flagged {
    /// Takes over an error object as an API call returned it; null is success.
    pub(in crate::client) fn take(error: *mut ffi::rd_kafka_error_t) -> Option<Self> {
        if error.is_null() {
            return None;
        }
        // SAFETY: the pointer is a live error object that we own; it is read, then freed once, and
        // the texts are copied before that.
        unsafe {
            let taken = Self {
                code: ffi::rd_kafka_error_code(error),
                message: text(ffi::rd_kafka_error_string(error)),
                retriable: ffi::rd_kafka_error_is_retriable(error) != 0,
                abort: ffi::rd_kafka_error_txn_requires_abort(error) != 0,
                fatal: ffi::rd_kafka_error_is_fatal(error) != 0,
            };
            ffi::rd_kafka_error_destroy(error);
            Some(taken)
        }
    }

    /// An error as librdkafka raises it itself, without any flag; see [`Flag`].
    #[cfg(feature = "simulation")]
    pub(in crate::client) fn new(
        code: i32,
        message: impl Into<String>,
        flag: Option<Flag>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            retriable: flag == Some(Flag::Retriable),
            abort: flag == Some(Flag::Abort),
            fatal: flag == Some(Flag::Fatal),
        }
    }

    #[cfg(feature = "simulation")]
    pub(in crate::client) fn is_retriable(&self) -> bool {
        self.retriable
    }

    /// The error of a call outside transactions: the code decides.
    pub(in crate::client) fn plain(self, operation: &'static str) -> ClientError {
        if self.fatal {
            let severity = rebuild_unless_fatal(self.code);
            return make(operation, self.code, self.message, severity);
        }
        make(operation, self.code, self.message, code::severity(self.code))
    }

    /// The error of a transactional call: the flags decide.
    ///
    /// Without any flag librdkafka promises nothing about the transaction; where the code alone
    /// would allow to go on, the producer is rebuilt, which is always safe.
    pub(in crate::client) fn transactional(self, operation: &'static str) -> ClientError {
        let severity = if self.fatal {
            rebuild_unless_fatal(self.code)
        } else if self.code == code::CONFLICT {
            // Another call is in doubt. librdkafka calls this retriable, but what has to be
            // repeated is the other call; repeating this one leads nowhere (INV-6).
            Severity::Fatal
        } else if self.abort {
            Severity::Abort
        } else if self.retriable {
            Severity::Retry
        } else {
            rebuild_unless_fatal(self.code)
        };
        make(operation, self.code, self.message, severity)
    }
}

/// The severity of an error after which the client is of no more use: a new one may help, unless
/// the code says that nothing will.
pub(in crate::client) fn rebuild_unless_fatal(code: i32) -> Severity {
    match code::severity(code) {
        Severity::Fatal if !REBUILD_HELPS.contains(&code) => Severity::Fatal,
        _ => Severity::Fenced,
    }
}

// Fatal by the table, but raised by librdkafka for a broken producer: `_FAIL`, `UNKNOWN`.
const REBUILD_HELPS: [i32; 2] = [code::FAIL, -1];

/// Makes an error from a code without text: librdkafka's description becomes the message.
pub(in crate::client) fn from_code(operation: &'static str, code: i32) -> ClientError {
    // SAFETY: any number is allowed; the answer is a static string or thread-local buffer.
    let message = unsafe { text(ffi::rd_kafka_err2str(code)) };
    make(operation, code, message, code::severity(code))
}

/// Makes an error from a code and its text.
pub(in crate::client) fn make(
    operation: &'static str,
    code: i32,
    message: impl Into<String>,
    severity: Severity,
) -> ClientError {
    // SAFETY: any number is allowed; the answer is a static string or thread-local buffer.
    let name = unsafe { text(ffi::rd_kafka_err2name(code)) };
    let timed_out = code::timed_out(code);
    ClientError { operation, code, name, message: message.into(), severity, timed_out }
}

/// Makes the error of a wrong argument or option.
pub(in crate::client) fn invalid(
    operation: &'static str,
    message: impl Into<String>,
) -> ClientError {
    make(operation, code::INVALID_ARG, message, Severity::Fatal)
}

/// Returns `Ok` for code 0.
pub(in crate::client) fn check(operation: &'static str, code: i32) -> Result<(), ClientError> {
    if code == code::NO_ERROR { Ok(()) } else { Err(from_code(operation, code)) }
}
