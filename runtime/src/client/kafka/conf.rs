//! Builds a librdkafka client from options, with its log and callbacks in place.

#![expect(unsafe_code, reason = "fills a C configuration object and makes the client from it")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;

use super::error;
use super::ffi::{self, c_string, text};
use super::handle::Client;
use crate::client::error::{ClientError, Severity};
use crate::client::types::ClientConfig;

const BUILD: &str = "make a client";

/// A configuration on its way to becoming a client.
pub(in crate::client) struct Conf {
    conf: NonNull<ffi::rd_kafka_conf_t>,
}

impl Conf {
    /// Takes over the options. An error names the option, never its value.
    pub(in crate::client) fn new(config: &ClientConfig) -> Result<Self, ClientError> {
        // SAFETY: no precondition; never returns null.
        let conf = unsafe { ffi::rd_kafka_conf_new() };
        let conf = Self { conf: NonNull::new(conf).expect("rd_kafka_conf_new never fails") };
        for (name, value) in config.iter() {
            conf.set(name, value)?;
        }
        // SAFETY: the configuration is live; the callback is a plain function.
        unsafe { ffi::rd_kafka_conf_set_log_cb(conf.ptr(), Some(log)) };
        Ok(conf)
    }

    /// Sets one option.
    pub(in crate::client) fn set(&self, name: &str, value: &str) -> Result<(), ClientError> {
        use ffi::rd_kafka_conf_res_t::{
            RD_KAFKA_CONF_INVALID, RD_KAFKA_CONF_OK, RD_KAFKA_CONF_UNKNOWN,
        };
        let c_name = c_string(BUILD, name)?;
        // Not `c_string`: its message is as good, but this one says which option it is.
        let Ok(c_value) = std::ffi::CString::new(value) else {
            let message = format!("the value of option '{name}' contains a NUL byte");
            return Err(error::invalid(BUILD, message));
        };
        // librdkafka's own message repeats the value, so it is thrown away unread.
        let mut message = [0 as c_char; 512];
        // SAFETY: all pointers are live for the call and the buffer's size is passed along.
        let result = unsafe {
            ffi::rd_kafka_conf_set(
                self.ptr(),
                c_name.as_ptr(),
                c_value.as_ptr(),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        match result {
            RD_KAFKA_CONF_OK => Ok(()),
            RD_KAFKA_CONF_UNKNOWN => {
                Err(error::invalid(BUILD, format!("option '{name}' is not known to librdkafka")))
            }
            RD_KAFKA_CONF_INVALID => {
                Err(error::invalid(BUILD, format!("the value of option '{name}' is not valid")))
            }
        }
    }

    /// Reads an option back, under any of its names: what was set, or else the default.
    #[cfg(feature = "simulation")]
    pub(in crate::client) fn get(&self, name: &str) -> Option<String> {
        let name = c_string(BUILD, name).ok()?;
        let mut value = [0 as c_char; 512];
        let mut size = value.len();
        // SAFETY: all pointers are live and the buffer's size is passed along; on success the
        // buffer holds a terminated string.
        unsafe {
            let (conf, value) = (self.ptr(), value.as_mut_ptr());
            let result = ffi::rd_kafka_conf_get(conf, name.as_ptr(), value, &raw mut size);
            (result == ffi::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK).then(|| text(value))
        }
    }

    /// Asks for events of these kinds instead of callbacks.
    pub(super) fn events(&self, kinds: i32) {
        // SAFETY: the configuration is live.
        unsafe { ffi::rd_kafka_conf_set_events(self.ptr(), kinds) }
    }

    pub(super) fn ptr(&self) -> *mut ffi::rd_kafka_conf_t {
        self.conf.as_ptr()
    }

    /// Makes the client. What `opaque` holds lives as long as the client does.
    pub(super) fn build(
        self,
        kind: ffi::rd_kafka_type_t,
        opaque: Option<Arc<dyn std::any::Any + Send + Sync>>,
    ) -> Result<Arc<Client>, ClientError> {
        let mut message = [0 as c_char; 512];
        // SAFETY: the configuration is live; on success librdkafka takes it over, so `self` is
        // forgotten then; on failure it stays ours and is destroyed by drop.
        unsafe {
            let rk = ffi::rd_kafka_new(kind, self.ptr(), message.as_mut_ptr(), message.len());
            let Some(rk) = NonNull::new(rk) else {
                let message = text(message.as_ptr());
                return Err(error::make(BUILD, -186, message, Severity::Fatal));
            };
            std::mem::forget(self);
            Ok(Arc::new(Client::own(rk, opaque)))
        }
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: owned, and not taken over by a client (then drop does not run).
        unsafe { ffi::rd_kafka_conf_destroy(self.ptr()) }
    }
}

/// Reads an option of a running client back, e.g. a default.
pub(super) fn option_of(client: &Client, name: &str) -> Option<String> {
    let name = c_string(BUILD, name).ok()?;
    let mut value = [0 as c_char; 512];
    let mut size = value.len();
    // SAFETY: all pointers are live and the buffer's size is passed along; on success the buffer
    // holds a terminated string.
    unsafe {
        let conf = ffi::rd_kafka_conf(client.ptr());
        let result = ffi::rd_kafka_conf_get(conf, name.as_ptr(), value.as_mut_ptr(), &raw mut size);
        (result == ffi::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK).then(|| text(value.as_ptr()))
    }
}

/// librdkafka's log, at the level of `tracing` that its syslog level means.
unsafe extern "C" fn log(
    rk: *const ffi::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: librdkafka passes live strings, and a live client or null.
    let (client, facility, line) = unsafe {
        let client = if rk.is_null() { String::new() } else { text(ffi::rd_kafka_name(rk)) };
        (client, text(facility), text(line))
    };
    match level {
        ..=3 => tracing::error!(target: "librdkafka", client, facility, "{line}"),
        4 => tracing::warn!(target: "librdkafka", client, facility, "{line}"),
        5 | 6 => tracing::info!(target: "librdkafka", client, facility, "{line}"),
        _ => tracing::debug!(target: "librdkafka", client, facility, "{line}"),
    }
}

/// Errors of a client that nobody polls for its own errors.
pub(super) unsafe extern "C" fn log_error(
    _rk: *mut ffi::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    _opaque: *mut c_void,
) {
    // SAFETY: librdkafka passes a live string.
    let reason = unsafe { text(reason) };
    tracing::warn!(code, reason, "the admin client reports an error");
}

/// The pointer that callbacks get back.
pub(super) fn opaque_pointer<T>(value: &Arc<T>) -> *mut c_void {
    Arc::as_ptr(value).cast_mut().cast()
}
