//! What delivery reports leave behind: acknowledged positions and the first failure.

#![expect(unsafe_code, reason = "delivery reports and errors arrive through C callbacks")]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tidemill_core::record::{Offset, Partition};

use super::code;
use super::error;
use super::ffi::{self, text};
use crate::client::types::{AckedPosition, DeliveryError};

/// Written by the callbacks, read by the producer. The lock is only ever taken by the thread that
/// is in one of the producer's calls, so it never waits.
#[derive(Debug, Default)]
pub(in crate::client) struct DeliveryLog {
    reports: Mutex<Reports>,
    troubled: AtomicBool,
}

#[derive(Debug, Default)]
struct Reports {
    slots: Vec<Slot>,
    first_error: Option<DeliveryError>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    sent: u64,
    acked: u64,
    last: Option<i64>,
    distrusted: bool,
}

impl Slot {
    /// Takes one acknowledged offset into account (rdkafka.md 1.13: after a retry that the broker
    /// answers with "duplicate", librdkafka counts up from an invalid base offset).
    fn acknowledge(&mut self, offset: i64) {
        self.acked += 1;
        self.distrusted |= offset < 0 || self.last.is_some_and(|last| offset <= last);
        self.last = self.last.max((offset >= 0).then_some(offset));
    }
}

impl DeliveryLog {
    fn lock(&self) -> MutexGuard<'_, Reports> {
        // Plain counters: nothing is half-written that matters.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one more slot and returns its index.
    pub(in crate::client) fn add_slot(&self) -> u32 {
        let mut reports = self.lock();
        reports.slots.push(Slot::default());
        u32::try_from(reports.slots.len() - 1).expect("fewer slots than partitions")
    }

    /// Notes that a record was handed over whose position is kept under this slot.
    pub(in crate::client) fn sent(&self, slot: u32) {
        if let Some(slot) = self.lock().slots.get_mut(slot as usize) {
            slot.sent += 1;
        }
    }

    /// Notes the offset of an acknowledged record.
    pub(in crate::client) fn acknowledged(&self, slot: u32, offset: i64) {
        if let Some(slot) = self.lock().slots.get_mut(slot as usize) {
            slot.acknowledge(offset);
        }
    }

    /// Notes that a record was given up.
    pub(in crate::client) fn failed(&self, code: i32, topic: String, partition: Partition) {
        let error = error::from_code("deliver a record", code);
        if error.timed_out {
            self.trouble();
        }
        let failed = DeliveryError { topic, partition, error };
        self.lock().first_error.get_or_insert(failed);
    }

    /// Returns the slots that records were sent for since the last reset.
    pub(in crate::client) fn positions(&self) -> Vec<(u32, AckedPosition)> {
        let reports = self.lock();
        let used = (0..).zip(&reports.slots).filter(|(_, slot)| slot.sent > 0);
        used.map(|(index, slot)| {
            let next = slot.last.map(|last| Offset(last).next());
            let suspicious = slot.distrusted || slot.acked < slot.sent;
            (index, AckedPosition { next, suspicious })
        })
        .collect()
    }

    pub(in crate::client) fn reset_positions(&self) {
        self.lock().slots.iter_mut().for_each(|slot| *slot = Slot::default());
    }

    pub(in crate::client) fn first_error(&self) -> Option<DeliveryError> {
        self.lock().first_error.clone()
    }

    pub(in crate::client) fn clear_error(&self) {
        self.lock().first_error = None;
    }

    pub(in crate::client) fn troubled(&self) -> bool {
        self.troubled.load(Ordering::Acquire)
    }

    pub(in crate::client) fn clear_trouble(&self) {
        self.troubled.store(false, Ordering::Release);
    }

    pub(in crate::client) fn trouble(&self) {
        self.troubled.store(true, Ordering::Release);
    }
}

/// A slot as it travels with a record: its index above null, which means "no slot".
pub(super) fn tag(slot: Option<u32>) -> *mut c_void {
    ptr::without_provenance_mut(slot.map_or(0, |index| index as usize + 1))
}

pub(super) fn untag(tag: *mut c_void) -> Option<u32> {
    u32::try_from(tag.addr().checked_sub(1)?).ok()
}

/// Called for each record that was delivered or given up, inside a call of the producer.
pub(super) unsafe extern "C" fn on_delivery(
    _rk: *mut ffi::rd_kafka_t,
    message: *const ffi::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka passes a live message, and as opaque the log that the client keeps alive.
    // The code is read as a number because the enum may not know it.
    let (code, tag, log) = unsafe {
        let code = ptr::addr_of!((*message).err).cast::<c_int>().read();
        (code, (*message)._private, &*opaque.cast::<DeliveryLog>())
    };
    match (code, untag(tag)) {
        (code::NO_ERROR, None) => {}
        (code::NO_ERROR, Some(index)) => {
            // SAFETY: the message is live.
            let offset = unsafe { (*message).offset };
            log.acknowledged(index, offset);
        }
        // Purged by an abort: not a failure of its own.
        (code::PURGE_QUEUE | code::PURGE_INFLIGHT, _) => {}
        (code, _) => {
            // SAFETY: the message is live and so is its topic.
            let (topic, partition) =
                unsafe { (text(ffi::rd_kafka_topic_name((*message).rkt)), (*message).partition) };
            log.failed(code, topic, Partition(partition));
        }
    }
}

/// Called for errors of the client as a whole, inside a call of the producer.
pub(super) unsafe extern "C" fn on_error(
    _rk: *mut ffi::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka passes a live string, and as opaque the log that the client keeps alive.
    let (reason, log) = unsafe { (text(reason), &*opaque.cast::<DeliveryLog>()) };
    if code::transport(code) {
        log.trouble();
        tracing::debug!(code, reason, "the producer lost a connection or an answer");
    } else if code == code::AUTHENTICATION {
        tracing::error!(code, reason, "the producer cannot authenticate");
    } else {
        tracing::warn!(code, reason, "the producer reports an error");
    }
}
