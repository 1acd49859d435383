//! The bytes of a buffer are those of Kafka Streams, and come back.

use std::rc::Rc;

use proptest::prelude::*;

use super::value::{Buffered, BufferedSerde};
use crate::record::{Headers, Offset, Partition, Timestamp};
use crate::serdes::Serde;

fn shared(text: Option<&str>) -> Option<Rc<[u8]>> {
    text.map(|text| text.as_bytes().into())
}

fn buffered(prior: Option<&str>, old: Option<&str>, new: Option<&str>) -> Buffered {
    Buffered {
        time: Timestamp(20),
        timestamp: Timestamp(5),
        headers: Headers::new(),
        topic: "in".into(),
        partition: Partition(3),
        offset: Offset(7),
        prior: shared(prior),
        old: shared(old),
        new: shared(new),
    }
}

fn bytes(buffered: &Buffered) -> Vec<u8> {
    let mut out = Vec::new();
    BufferedSerde.serialize("c", buffered, &mut out).unwrap();
    out
}

fn read(bytes: &[u8]) -> Option<Buffered> {
    BufferedSerde.deserialize("c", Some(bytes)).ok()
}

fn sized(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        None => (-1_i32).to_be_bytes().into(),
        Some(value) => [&(value.len() as i32).to_be_bytes(), value].concat(),
    }
}

/// Timestamp 5, offset 7, topic `in`, partition 3 and a header `h` without a value.
fn origin() -> Vec<u8> {
    let numbers = [5_i64.to_be_bytes(), 7_i64.to_be_bytes()].concat();
    let (topic, key) = (sized(Some(b"in")), sized(Some(b"h")));
    let place = [3_i32.to_be_bytes(), 1_i32.to_be_bytes()].concat();
    [numbers, topic, place, key, sized(None)].concat()
}

fn with_header(mut buffered: Buffered) -> Buffered {
    buffered.headers.add("h", None);
    buffered
}

#[test]
fn a_change_is_written_as_kafka_streams_does() {
    let time = 20_i64.to_be_bytes();
    let change = with_header(buffered(Some("p"), Some("o"), Some("n")));
    let values = [sized(Some(b"p")), sized(Some(b"o")), sized(Some(b"n"))].concat();
    assert_eq!(bytes(&change), [&origin()[..], &values, &time].concat());
    let change = with_header(buffered(Some("p"), Some("p"), None));
    let same = (-2_i32).to_be_bytes();
    let values = [&sized(Some(b"p"))[..], &same, &sized(None)].concat();
    assert_eq!(bytes(&change), [&origin()[..], &values, &time].concat());
    assert_eq!(read(&bytes(&change)), Some(change));
}

#[test]
fn what_earlier_versions_wrote_is_read() {
    let time = 20_i64.to_be_bytes();
    let change = [sized(Some(b"o")), sized(Some(b"n"))].concat();
    let two = [&origin()[..], &sized(Some(&change)), &sized(Some(b"p")), &time].concat();
    let expected = with_header(buffered(Some("p"), Some("o"), Some("n")));
    assert_eq!(read(&two), Some(expected));
    let one = [&time[..], &origin(), &sized(Some(&change))].concat();
    let expected = with_header(buffered(Some("o"), Some("o"), Some("n")));
    assert_eq!(read(&one), Some(expected));
    // 2.1 kept no origin
    let error = BufferedSerde.deserialize("c", Some(&[&time[..], &change].concat())).unwrap_err();
    assert!(error.to_string().contains("2.2"), "{error}");
    assert!(BufferedSerde.deserialize("c", None).is_err());
}

/// The estimate of Kafka Streams' `BufferValue.residentMemorySizeEstimate`, and 8 for the time.
#[test]
fn a_change_is_as_large_as_kafka_streams_takes_it_for() {
    let mut change = buffered(Some("pp"), Some("pp"), Some("nnn"));
    assert_eq!(change.size(b"key"), 8 + 3 + 2 + 3 + (8 + 8 + 2 + 4));
    change.old = shared(Some("o"));
    change.headers.add("h\u{1F600}", Some(vec![0; 10]));
    assert_eq!(change.size(b"key"), 8 + 3 + 2 + 1 + 3 + (8 + 8 + 2 + 4) + 3 + 10);
}

fn any_value() -> impl Strategy<Value = Option<Rc<[u8]>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..6).prop_map(Rc::from))
}

fn any_change() -> impl Strategy<Value = Buffered> {
    let numbers = (any::<i64>(), any::<i64>(), any::<i64>(), any::<i32>());
    let headers = prop::collection::vec((".{0,3}", any_value()), 0..3);
    let texts = ("[a-z.]{1,6}", headers);
    (numbers, texts, any_value(), any_value(), any_value()).prop_map(
        |((time, timestamp, offset, partition), (topic, pairs), prior, old, new)| {
            let mut headers = Headers::new();
            pairs.into_iter().for_each(|(k, v)| headers.add(k, v.map(|v| v.to_vec())));
            let (time, timestamp) = (Timestamp(time), Timestamp(timestamp));
            let (partition, offset, topic) = (Partition(partition), Offset(offset), topic.into());
            Buffered { time, timestamp, headers, topic, partition, offset, prior, old, new }
        },
    )
}

proptest! {
    #[test]
    fn a_change_comes_back(change in any_change()) {
        prop_assert_eq!(read(&bytes(&change)), Some(change));
    }

    /// Neither a panic nor more memory than the bytes themselves could fill.
    #[test]
    fn damaged_changes_are_read_or_refused(
        change in any_change(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut damaged = bytes(&change);
        let end = cut.index(damaged.len() + 1);
        let _ = read(&damaged[..end]);
        for (at, with) in flips {
            let at = at.index(damaged.len());
            damaged[at] ^= with;
        }
        if let Some(found) = read(&damaged) {
            prop_assert!(found.size(b"") as usize <= 4 * damaged.len() + 64);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Some(found) = read(&bytes) {
            prop_assert!(found.headers.len() <= bytes.len());
        }
    }
}
