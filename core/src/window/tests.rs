//! Windowed keys in bytes and back.

use proptest::prelude::*;

use super::*;
use crate::serdes::{Encoded, Serde, optional, string};

fn windowed(key: &str, start: i64, end: i64) -> Windowed<String> {
    Windowed::new(key.to_owned(), Window::new(Timestamp(start), Timestamp(end)))
}

#[test]
fn the_bytes_are_those_of_kafka_streams() {
    let mut out = Vec::new();
    let time = TimeWindowedSerde::new(string(), 10);
    time.serialize("t", &windowed("k", 1, 11), &mut out).unwrap();
    assert_eq!(out, b"k\0\0\0\0\0\0\0\x01");
    assert_eq!(time.deserialize("t", Some(&out)).unwrap(), windowed("k", 1, 11));
    out.clear();
    let session = SessionWindowedSerde::new(string());
    session.serialize("t", &windowed("k", 1, 2), &mut out).unwrap();
    assert_eq!(out, b"k\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01");
    assert_eq!(session.deserialize("t", Some(&out)).unwrap(), windowed("k", 1, 2));
    assert_eq!(windowed("k", 1, 2).to_string(), "[k@1/2]");
}

#[test]
fn an_end_beyond_the_largest_timestamp_is_the_largest() {
    let mut out = Vec::new();
    let serde = TimeWindowedSerde::new(string(), 10);
    serde.serialize("t", &windowed("k", i64::MAX - 5, 0), &mut out).unwrap();
    let back = serde.deserialize("t", Some(&out)).unwrap();
    assert_eq!(back, windowed("k", i64::MAX - 5, i64::MAX));
}

#[test]
fn a_null_key_is_null_and_null_is_an_error() {
    let serde = TimeWindowedSerde::new(optional(string()), 10);
    let null = Windowed::new(None, Window::of_size(Timestamp(0), 10));
    let mut out = vec![7];
    assert!(serde.is_null(&null));
    assert_eq!(serde.serialize("t", &null, &mut out).unwrap(), Encoded::Null);
    assert_eq!(out, [7]);
    assert!(serde.deserialize("t", None).is_err());
    assert!(SessionWindowedSerde::new(string()).deserialize("t", None).is_err());
}

proptest! {
    /// Any bytes are a key that is written as the same bytes, or an error.
    #[test]
    fn any_bytes_are_a_key_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let time = TimeWindowedSerde::new(crate::serdes::bytes(), 10);
        let session = SessionWindowedSerde::new(crate::serdes::bytes());
        let mut out = Vec::new();
        match time.deserialize("t", Some(&bytes)) {
            Ok(key) => drop(time.serialize("t", &key, &mut out).unwrap()),
            Err(_) => out.clone_from(&bytes),
        }
        prop_assert_eq!(&out, &bytes);
        prop_assert_eq!(time.deserialize("t", Some(&bytes)).is_ok(), bytes.len() >= 8);
        out.clear();
        match session.deserialize("t", Some(&bytes)) {
            Ok(key) => drop(session.serialize("t", &key, &mut out).unwrap()),
            Err(_) => out.clone_from(&bytes),
        }
        prop_assert_eq!(&out, &bytes);
        prop_assert_eq!(session.deserialize("t", Some(&bytes)).is_ok(), bytes.len() >= 16);
    }
}
