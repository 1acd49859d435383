//! Unit tests that need no broker.

use std::sync::Arc;
use std::time::Duration;

use tidemill_core::record::Offset;

use super::delivery::{DeliveryLog, tag, untag};
use super::error::{Flagged, from_code};
use super::ffi::millis;
use super::{Admin, Consumer, GroupMetadata, Message, PartitionReader, Producer, code};
use crate::client::{AckedPosition, ClientConfig, Severity, Waker};
use crate::config::{Config, WorkerIdentity};

#[test]
fn an_option_error_names_the_option_and_never_its_value() {
    for (name, value) in [("sasl.pasword", "hunter2"), ("linger.ms", "hunter2")] {
        let mut config = ClientConfig::new();
        config.set(name, value);
        let error = Producer::new(&config).expect_err("the option is not valid");
        assert_eq!(error.severity, Severity::Fatal);
        assert!(error.to_string().contains(name), "{error}");
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }
    let mut config = ClientConfig::new();
    config.set("sasl.password", "hunter2\0");
    let error = Consumer::new(&config, Default::default()).expect_err("the value has a NUL byte");
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
}

#[test]
fn a_code_that_nobody_knows_is_fatal_and_readable() {
    let error = from_code("try", 12_345);
    assert_eq!(error.severity, Severity::Fatal);
    assert!(error.to_string().starts_with("could not try"), "{error}");
}

#[test]
fn codes_ask_for_what_the_transaction_table_says() {
    assert_eq!(code::severity(120), Severity::Abort);
    assert_eq!(code::severity(code::TIMED_OUT), Severity::Retry);
    assert_eq!(code::severity(22), Severity::Abort);
    assert_eq!(code::severity(82), Severity::Fenced);
    assert_eq!(code::severity(53), Severity::Fatal);
}

#[test]
fn no_error_object_is_success() {
    assert!(Flagged::take(std::ptr::null_mut()).is_none());
}

#[test]
fn a_timeout_is_rounded_up_and_never_for_ever() {
    assert_eq!(millis(Duration::ZERO), 0);
    assert_eq!(millis(Duration::from_nanos(1)), 1);
    assert_eq!(millis(Duration::from_millis(7)), 7);
    assert_eq!(millis(Duration::MAX), i32::MAX);
}

fn position_after(offsets: &[i64], sent: u64) -> AckedPosition {
    let log = DeliveryLog::default();
    let slot = log.add_slot();
    (0..sent).for_each(|_| log.sent(slot));
    offsets.iter().for_each(|offset| log.acknowledged(slot, *offset));
    log.positions()[0].1
}

#[test]
fn a_position_is_the_offset_after_the_last_acknowledged_record() {
    let position = position_after(&[4, 5, 9], 3);
    assert_eq!(position, AckedPosition { next: Some(Offset(10)), suspicious: false });
}

#[test]
fn offsets_that_librdkafka_invents_after_a_retry_are_suspicious() {
    assert!(position_after(&[7, -1, 0, 1], 4).suspicious);
    assert!(position_after(&[-1], 1).suspicious);
    assert!(position_after(&[3, 3], 2).suspicious);
    assert_eq!(position_after(&[-1], 1).next, None);
    assert_eq!(position_after(&[7, -1, 0, 1], 4).next, Some(Offset(8)));
}

#[test]
fn fewer_reports_than_records_are_suspicious() {
    assert!(position_after(&[4], 2).suspicious);
    assert!(position_after(&[], 1).suspicious);
}

#[test]
fn a_tag_is_its_slot_and_null_is_none() {
    assert!(tag(None).is_null());
    assert_eq!(untag(tag(None)), None);
    assert_eq!(untag(tag(Some(0))), Some(0));
    assert_eq!(untag(tag(Some(41))), Some(41));
}

#[test]
fn everything_may_move_to_another_thread() {
    fn sendable<T: Send>() {}
    sendable::<Admin>();
    sendable::<Consumer>();
    sendable::<GroupMetadata>();
    sendable::<Message>();
    sendable::<PartitionReader>();
    sendable::<Producer>();
}

#[test]
fn a_timeout_beyond_reckoning_is_no_panic() {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:1");
    let waker = Arc::new(Waker::new());
    let mut consumer = Consumer::new(&config, Arc::clone(&waker)).expect("the options are valid");
    waker.wake();
    assert!(waker.wait(Duration::MAX));
    assert_eq!(consumer.poll_event(Duration::ZERO), None);
    consumer.close(Duration::MAX).expect("there is nothing to leave");
}

#[test]
fn every_client_is_made_from_the_properties_of_a_configuration() {
    let config = Config::new("app", "127.0.0.1:1");
    let worker = WorkerIdentity::new("3f2a", 1);
    let consumer = ClientConfig::from(&config.consumer_properties(&worker));
    let restore = ClientConfig::from(&config.restore_properties("3f2a"));
    let producer = ClientConfig::from(&config.producer_properties(&worker));
    let admin = ClientConfig::from(&config.admin_properties("3f2a"));
    Consumer::new(&consumer, Arc::default()).expect("the properties are valid");
    Consumer::new(&restore, Arc::default()).expect("the properties are valid");
    Producer::new(&producer).expect("the properties are valid");
    Admin::new(&admin).expect("the properties are valid");
    assert_eq!(consumer.get("bootstrap.servers"), Some("127.0.0.1:1"));
}
