//! What records, headers and times promise.

use super::*;

#[test]
fn a_null_header_value_is_not_an_empty_one() {
    let mut headers = Headers::new();
    headers.add("a", None);
    headers.add("a", Some(Vec::new()));
    assert_eq!(headers.len(), 2);
    assert_eq!(headers.last("a").and_then(|h| h.value.clone()), Some(Vec::new()));
    headers.remove("a");
    assert!(headers.is_empty());
}

#[test]
fn inv_9_stream_time_never_decreases() {
    let mut time = StreamTime::UNKNOWN;
    assert_eq!(time.as_millis(), -1);
    assert_eq!(time.advance(Timestamp(7)), Timestamp(7));
    assert_eq!(time.advance(Timestamp(3)), Timestamp(7));
    assert_eq!(StreamTime::from_millis(time.as_millis()), time);
    assert_eq!(StreamTime::from_millis(-1), StreamTime::UNKNOWN);
}

#[test]
fn a_task_id_prints_and_parses() {
    let id = TaskId::new(SubTopologyId(2), Partition(7));
    assert_eq!(id.to_string(), "2_7");
    assert_eq!("2_7".parse(), Ok(id));
    for bad in ["", "2", "2_", "_7", "a_b", "2_7_1", "-2_7", "+2_7", "99999999999_1"] {
        assert!(bad.parse::<TaskId>().is_err(), "{bad}");
    }
}
