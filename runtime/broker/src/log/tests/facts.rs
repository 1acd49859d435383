//! Single facts about a partition's log.

use kafka_protocol::ResponseError;

use super::support::{
    Lab, NOBODY, NOW, appended, batch_of, idempotent, split, transactional, values,
};
use crate::log::{Batch, BatchError, Marker, records};

const PAIR: &[(Option<&str>, Option<&str>)] = &[(Some("k"), Some("v"))];

#[test]
fn offsets_follow_each_other_and_the_checksum_stays() {
    let mut lab = Lab::new(&[]);
    assert_eq!(lab.send(NOBODY, &[PAIR[0], PAIR[0]]), Ok(0));
    assert_eq!(lab.send(NOBODY, PAIR), Ok(2));
    let read = lab.log().read(0, false, 1 << 20, true).unwrap();
    let bases: Vec<i64> = split(&read.records).iter().map(Batch::base_offset).collect();
    assert_eq!(bases, [0, 2]);
    assert_eq!(lab.log().high_watermark(), 3);
}

#[test]
fn a_batch_with_a_flipped_bit_is_refused_wherever_the_bit_is() {
    let whole = batch_of(NOBODY, NOW, PAIR);
    for at in 0..whole.len() {
        // base offset and leader epoch are the broker's
        if at < 8 || (12..16).contains(&at) {
            continue;
        }
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        let mut lab = Lab::new(&[]);
        let refused = lab.append(bytes.into()).unwrap_err();
        let expected = [
            ResponseError::CorruptMessage,
            ResponseError::UnsupportedForMessageFormat,
            ResponseError::InvalidRecord,
        ];
        assert!(expected.contains(&refused.error), "byte {at}: {refused:?}");
        assert_eq!(lab.log().high_watermark(), 0);
    }
}

#[test]
fn a_truncated_batch_is_refused_at_every_length() {
    let whole = batch_of(NOBODY, NOW, PAIR);
    for length in 0..whole.len() {
        let refused = Batch::verified(whole.slice(..length)).unwrap_err();
        assert!(matches!(refused, BatchError::Short { .. }), "{length}: {refused}");
    }
}

#[test]
fn two_batches_for_a_partition_in_one_request_are_refused() {
    let mut bytes = batch_of(NOBODY, NOW, PAIR).to_vec();
    bytes.extend_from_slice(&bytes.clone());
    let refused = Lab::new(&[]).append(bytes.into()).unwrap_err();
    assert_eq!(refused.error, ResponseError::InvalidRecord);
}

#[test]
fn a_batch_sent_again_is_answered_with_its_first_offset_and_written_once() {
    let mut lab = Lab::new(&[]);
    for sequence in 0..5 {
        assert_eq!(lab.send(idempotent(7, 0, sequence), PAIR), Ok(i64::from(sequence)));
    }
    for sequence in 0..5 {
        assert_eq!(lab.send(idempotent(7, 0, sequence), PAIR), Ok(i64::from(sequence)));
    }
    assert_eq!(appended(&lab), 5);
}

#[test]
fn a_batch_older_than_the_last_five_is_out_of_order() {
    let mut lab = Lab::new(&[]);
    for sequence in 0..6 {
        lab.send(idempotent(7, 0, sequence), PAIR).unwrap();
    }
    let again = lab.send(idempotent(7, 0, 0), PAIR);
    assert_eq!(again, Err(ResponseError::OutOfOrderSequenceNumber));
}

#[test]
fn a_gap_in_the_sequence_is_out_of_order() {
    let mut lab = Lab::new(&[]);
    lab.send(idempotent(7, 0, 0), PAIR).unwrap();
    let gap = lab.send(idempotent(7, 0, 2), PAIR);
    assert_eq!(gap, Err(ResponseError::OutOfOrderSequenceNumber));
    let new_epoch = lab.send(idempotent(7, 1, 1), PAIR);
    assert_eq!(new_epoch, Err(ResponseError::OutOfOrderSequenceNumber));
    assert_eq!(lab.send(idempotent(7, 1, 0), PAIR), Ok(1));
}

#[test]
fn the_sequence_wraps_around_after_its_largest_number() {
    let mut lab = Lab::new(&[]);
    lab.send(idempotent(7, 0, i32::MAX - 1), &[PAIR[0], PAIR[0]]).unwrap();
    assert_eq!(lab.send(idempotent(7, 0, 0), PAIR), Ok(2));
}

#[test]
fn a_batch_across_the_end_of_the_sequence_is_followed_by_the_right_one() {
    let mut lab = Lab::new(&[]);
    lab.send(idempotent(7, 0, i32::MAX), &[PAIR[0], PAIR[0]]).unwrap();
    assert_eq!(lab.send(idempotent(7, 0, 1), PAIR), Ok(2));
}

#[test]
fn an_older_epoch_is_refused_and_a_marker_is_enough_to_know_it() {
    let mut lab = Lab::new(&[]);
    lab.send(transactional(7, 0, 0), PAIR).unwrap();
    lab.end(7, 1, Marker::Abort);
    let zombie = lab.send(transactional(7, 0, 1), PAIR);
    assert_eq!(zombie, Err(ResponseError::InvalidProducerEpoch));
    let end = lab.log().high_watermark();
    assert_eq!(lab.end(7, 0, Marker::Commit), end, "a marker of the old epoch is not written");
    assert_eq!(lab.log().high_watermark(), end);
}

#[test]
fn an_open_transaction_holds_the_last_stable_offset() {
    let mut lab = Lab::new(&[]);
    lab.send(NOBODY, PAIR).unwrap();
    lab.send(transactional(7, 0, 0), PAIR).unwrap();
    lab.send(transactional(8, 0, 0), PAIR).unwrap();
    assert_eq!(lab.log().last_stable_offset(), 1);
    lab.end(7, 0, Marker::Commit);
    assert_eq!(lab.log().last_stable_offset(), 2);
    lab.end(8, 0, Marker::Abort);
    assert_eq!(lab.log().last_stable_offset(), 5);
    assert_eq!(lab.log().read(5, true, 100, true).unwrap().records.len(), 0);
}

#[test]
fn records_outside_of_an_open_transaction_are_refused() {
    let mut lab = Lab::new(&[]);
    lab.send(transactional(7, 0, 0), PAIR).unwrap();
    let outside = lab.send(idempotent(7, 0, 1), PAIR);
    assert_eq!(outside, Err(ResponseError::InvalidTxnState));
}

#[test]
fn a_marker_is_the_batch_that_kafka_writes() {
    let mut lab = Lab::new(&[]);
    lab.send(transactional(7, 3, 0), PAIR).unwrap();
    lab.on(|log, context| log.append_marker(context, 7, 3, Marker::Commit, 5));
    let marker = lab.log().batches().last().unwrap().clone();
    assert!(marker.is_control() && marker.is_transactional());
    assert_eq!((marker.producer_id(), marker.producer_epoch()), (7, 3));
    assert_eq!((marker.base_sequence(), marker.count(), marker.size()), (-1, 1, 78));
    let record = records(&marker).unwrap().remove(0);
    assert_eq!(record.key.unwrap()[..], [0, 0, 0, 1]);
    assert_eq!(record.value.unwrap()[..], [0, 0, 0, 0, 0, 5]);
}

#[test]
fn records_of_aborted_transactions_are_named_to_consumers_of_committed_records() {
    let mut lab = Lab::new(&[]);
    lab.send(transactional(7, 0, 0), &[(None, Some("a"))]).unwrap();
    lab.send(transactional(8, 0, 0), &[(None, Some("b"))]).unwrap();
    lab.end(7, 0, Marker::Abort);
    lab.end(8, 0, Marker::Commit);
    lab.send(transactional(7, 0, 1), &[(None, Some("c"))]).unwrap();
    lab.end(7, 0, Marker::Commit);
    for step in [1, 100, 1 << 20] {
        assert_eq!(values(&lab.consumed(true, step)), ["b", "c"], "step {step}");
        assert_eq!(values(&lab.consumed(false, step)), ["a", "b", "c"], "step {step}");
    }
}

#[test]
fn a_read_has_at_least_one_batch_or_what_fits() {
    let mut lab = Lab::new(&[]);
    lab.send(NOBODY, PAIR).unwrap();
    lab.send(NOBODY, PAIR).unwrap();
    let size = batch_of(NOBODY, NOW, PAIR).len();
    let read = |bytes, least| lab.log().read(0, false, bytes, least).unwrap().records.len();
    assert_eq!(read(1, true), size);
    assert_eq!(read(1, false), 0);
    assert_eq!(read(2 * size - 1, true), size);
    assert_eq!(read(2 * size, false), 2 * size);
}

#[test]
fn an_offset_outside_of_the_log_is_out_of_range() {
    let mut lab = Lab::new(&[]);
    lab.send(NOBODY, &[PAIR[0], PAIR[0]]).unwrap();
    lab.on(|log, context| log.start_at(context, 1));
    assert!(lab.log().read(0, false, 1, true).is_err());
    assert!(lab.log().read(3, false, 1, true).is_err());
    assert_eq!(lab.log().read(2, false, 1, true).unwrap().records.len(), 0);
    assert_eq!(lab.consumed(false, 1)[0].offset, 1, "the rest of a batch is there");
}

#[test]
fn the_topic_s_limits_are_kept() {
    let mut lab = Lab::new(&[("max.message.bytes", "70")]);
    let large = "x".repeat(70);
    let refused = lab.send(NOBODY, &[(None, Some(&large))]);
    assert_eq!(refused, Err(ResponseError::MessageTooLarge));
    let late = lab.append(batch_of(NOBODY, NOW + 3_600_001, &[(None, None)])).unwrap_err();
    assert_eq!(late.error, ResponseError::InvalidTimestamp);
    let mut lab = Lab::new(&[("cleanup.policy", "compact")]);
    let refused = lab.append(batch_of(NOBODY, NOW, &[PAIR[0], (None, Some("v"))])).unwrap_err();
    assert_eq!((refused.error, refused.records[0].0), (ResponseError::InvalidRecord, 1));
}

#[test]
fn records_are_stamped_with_the_broker_s_time_when_the_topic_says_so() {
    let mut lab = Lab::new(&[("message.timestamp.type", "LogAppendTime")]);
    let bytes = batch_of(NOBODY, 5, PAIR);
    let done = lab.on(|log, context| log.append(context, bytes, &|_| Ok(()))).unwrap();
    assert_eq!(done.append_time, Some(NOW));
    assert_eq!(lab.consumed(false, 1)[0].timestamp, NOW);
}

#[test]
fn a_topic_s_compression_is_that_of_its_batches_whatever_the_producer_used() {
    for (name, number) in [("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)] {
        let mut lab = Lab::new(&[("compression.type", name)]);
        lab.send(NOBODY, PAIR).unwrap();
        assert_eq!(lab.log().batches().next().unwrap().compression(), number);
        assert_eq!(values(&lab.consumed(false, 1)), ["v"]);
    }
}

#[test]
fn offsets_are_found_by_timestamp() {
    let mut lab = Lab::new(&[]);
    for timestamp in [10, 30, 20, 40] {
        lab.append(batch_of(NOBODY, timestamp, PAIR)).unwrap();
    }
    let find = |timestamp| lab.log().offset_for_timestamp(timestamp, false).map(|at| at.offset);
    assert_eq!((find(0), find(11), find(31), find(41)), (Some(0), Some(1), Some(3), None));
    assert_eq!(lab.log().offset_of_max_timestamp().map(|at| at.offset), Some(3));
}

#[test]
fn old_segments_go_by_age_and_by_size() {
    let small = [("internal.segment.bytes", "100")];
    let mut lab = Lab::new(&[small[0], ("retention.ms", "1000")]);
    for age in [5_000, 4_000, 500] {
        lab.append(batch_of(NOBODY, NOW - age, PAIR)).unwrap();
    }
    lab.on(|log, context| log.retain(context));
    assert_eq!(lab.log().log_start(), 2);
    let mut lab = Lab::new(&[small[0], ("retention.bytes", "150")]);
    for _ in 0..4 {
        lab.send(NOBODY, PAIR).unwrap();
    }
    lab.on(|log, context| log.retain(context));
    assert_eq!(lab.log().log_start(), 1, "no less than retention.bytes stays");
}

#[test]
fn writing_fails_as_long_as_it_is_asked_to() {
    let mut lab = Lab::new(&[]);
    lab.on(|log, _| log.fail_until(NOW + 10));
    assert_eq!(lab.send(NOBODY, PAIR), Err(ResponseError::KafkaStorageError));
    lab.now += 10;
    assert_eq!(lab.send(NOBODY, PAIR), Ok(0));
}

#[test]
fn idle_producers_are_forgotten_and_those_with_a_transaction_are_not() {
    let mut lab = Lab::new(&[]);
    lab.send(idempotent(7, 0, 0), PAIR).unwrap();
    lab.send(transactional(8, 0, 0), PAIR).unwrap();
    lab.on(|log, context| log.expire_producers(context, NOW));
    assert_eq!(lab.log().producers().keys().copied().collect::<Vec<_>>(), [8]);
    assert_eq!(lab.replayed(), lab.topics);
}
