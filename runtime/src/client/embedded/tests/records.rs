//! Records: out and in, byte for byte.

use std::time::Duration;

use tidemill_core::record::{Headers, Offset, Partition, RawRecord, Timestamp};

use super::support::{PATIENCE, at, send, send_with, simulate, simulate_some, values};
use crate::client::seam::{Administer, Consume, Fetched, Produce, ReadPartition};
use crate::client::types::{Isolation, OffsetSpec, Outgoing, SendError};

#[test]
fn null_and_empty_are_kept_apart_in_keys_values_and_headers() {
    simulate(1, |world| {
        let topic = world.topic("null-and-empty", 1);
        let mut producer = world.producer(&[]);
        let handle = producer.topic(&topic).expect("the name is valid");
        let mut headers = Headers::new();
        headers.add("null", None);
        headers.add("empty", Some(Vec::new()));
        headers.add("twice", Some(b"1".to_vec()));
        headers.add("twice", Some(b"\0\xff".to_vec()));
        let none = Headers::new();
        type Case<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a Headers);
        let cases: [Case<'_>; 5] = [
            (None, None, &none),
            (Some(b""), Some(b""), &none),
            (None, Some(b""), &headers),
            (Some(b""), None, &headers),
            (Some(b"key\0"), Some(b"value\xff"), &headers),
        ];
        for (offset, (key, value, headers)) in (0..).zip(cases) {
            let record = Outgoing {
                topic: handle,
                partition: Some(Partition(0)),
                key,
                value,
                timestamp: Timestamp(1_700_000_000_000 + offset),
                headers,
                position: None,
            };
            producer.send(&record).expect("there is room");
        }
        producer.flush(PATIENCE).expect("the broker answers");
        assert_eq!(producer.delivery_error(), None);

        let records = world.consumer(&[]).whole(&at(&topic, 0));
        for (offset, (record, (key, value, headers))) in (0..).zip(records.iter().zip(cases)) {
            assert_eq!(record.offset(), Offset(offset));
            assert_eq!(record.key(), key, "key of {offset}");
            assert_eq!(record.value(), value, "value of {offset}");
            assert_eq!(&record.headers(), headers, "headers of {offset}");
            assert_eq!(record.timestamp(), Timestamp(1_700_000_000_000 + offset));
        }
        assert_eq!(records.len(), cases.len());
    });
}

#[test]
fn the_timestamp_0_never_becomes_the_wall_clock() {
    simulate(1, |world| {
        let topic = world.topic("epoch", 1);
        let mut producer = world.producer(&[]);
        send_with(&mut producer, &at(&topic, 0), "a", |record| record.timestamp = Timestamp(0));
        producer.flush(PATIENCE).expect("the broker answers");
        let records = world.consumer(&[]).whole(&at(&topic, 0));
        assert_eq!(records[0].timestamp(), Timestamp(1));
    });
}

#[test]
fn a_record_that_is_too_large_is_told_with_its_size_and_the_limit() {
    simulate(1, |world| {
        let mut producer = world.producer(&[("message.max.bytes", "2000")]);
        let topic = producer.topic("never-sent-to").expect("the name is valid");
        let record = Outgoing {
            topic,
            partition: Some(Partition(0)),
            key: Some(&[0; 3]),
            value: Some(&[0; 3_000]),
            timestamp: Timestamp(1),
            headers: &Headers::new(),
            position: None,
        };
        let refused = producer.send(&record);
        assert_eq!(refused, Err(SendError::TooLarge { bytes: 3_003, max: 2_000 }));
    });
}

#[test]
fn a_full_queue_is_told_and_takes_records_again_after_polling() {
    simulate_some(|world| {
        let topic = world.topic("full-queue", 1);
        let mut producer = world.producer(&[("queue.buffering.max.messages", "1")]);
        let handle = producer.topic(&topic).expect("the name is valid");
        let record = Outgoing {
            topic: handle,
            partition: Some(Partition(0)),
            key: None,
            value: Some(b"x"),
            timestamp: Timestamp(1),
            headers: &Headers::new(),
            position: None,
        };
        let mut full = 0;
        for _ in 0..3 {
            while let Err(error) = producer.send(&record) {
                assert_eq!(error, SendError::QueueFull);
                full += 1;
                producer.poll(Duration::from_millis(10));
            }
        }
        assert!(full > 0, "three records never met a full queue of one");
        producer.flush(PATIENCE).expect("the broker answers");
        assert_eq!(world.consumer(&[]).whole(&at(&topic, 0)).len(), 3);
    });
}

#[test]
fn positions_from_delivery_reports_are_the_offsets_in_the_log() {
    simulate_some(|world| {
        let topic = world.topic("positions", 3);
        let mut producer = world.transactional("positions");
        let slots = [0, 1, 2].map(|partition| producer.register_position(at(&topic, partition)));
        assert_eq!(producer.register_position(at(&topic, 0)), slots[0]);
        for transaction in 0..3 {
            producer.begin_transaction().expect("initialised");
            assert_eq!(producer.positions(), []);
            for n in 0..5 {
                for (partition, slot) in (0..2).zip(slots) {
                    let value = format!("{transaction}.{n}");
                    send_with(&mut producer, &at(&topic, partition), &value, |record| {
                        record.position = Some(slot);
                    });
                }
            }
            producer.commit_transaction(PATIENCE).expect("nothing is in the way");
            let positions = producer.positions();
            assert_eq!(positions.len(), 2, "nothing was sent to the third");
            for ((slot, position), partition) in positions.into_iter().zip(0..) {
                assert_eq!(slot, slots[partition as usize]);
                assert!(!position.suspicious);
                let end = world.settled(&at(&topic, partition));
                let records = world.consumer(&[]).whole(&at(&topic, partition));
                let last = records.last().expect("there are records").offset();
                assert_eq!(position.next, Some(last.next()));
                assert_eq!(end, last.next().next());
            }
        }
    });
}

#[test]
fn an_unknown_topic_is_told_as_a_delivery_error_that_names_it() {
    simulate_some(|world| {
        let mut producer = world.producer(&[("topic.metadata.propagation.max.ms", "10")]);
        send(&mut producer, &at("does-not-exist", 0), "lost");
        producer.flush(PATIENCE).expect("the report comes");
        let error = producer.delivery_error().expect("it was not delivered");
        assert_eq!((error.topic.as_str(), error.partition), ("does-not-exist", Partition(0)));
        assert!(error.error.is_unknown_topic_or_partition(), "{error:?}");
    });
}

#[test]
fn an_offset_that_is_not_in_the_log_is_told_and_nothing_is_skipped() {
    simulate_some(|world| {
        let topic = world.topic("out-of-range", 1);
        let mut reading = world.consumer(&[]);
        let from = [(at(&topic, 0), Offset(1_000))];
        let mut readers = reading.consumer.assign(&from).expect("the partition exists");
        let error = reading.until("the failure", |_| {
            let mut failed = None;
            readers[0].read(10, &mut |fetched| match fetched {
                Fetched::Failed(error) => failed = Some(error),
                other => panic!("{other:?}"),
            });
            failed
        });
        assert!(error.is_offset_out_of_range(), "{error}");
    });
}

#[test]
fn partitions_come_and_go_without_disturbing_the_others() {
    simulate_some(|world| {
        let topic = world.topic("come-and-go", 3);
        let mut producer = world.producer(&[]);
        let mut write = |from: i32, to: i32| {
            for n in from..to {
                (0..3).for_each(|p| send(&mut producer, &at(&topic, p), &format!("{p}.{n}")));
            }
            producer.flush(PATIENCE).expect("the broker answers");
        };
        write(0, 2);
        let mut reading = world.consumer(&[]);
        let start = |partition| (at(&topic, partition), Offset::ZERO);
        let mut first = reading.consumer.assign_more(&[start(0)]).expect("it exists").remove(0);
        assert_eq!(values(&reading.read_to(&mut first, Offset(2))), ["0.0", "0.1"]);
        let mut more = reading.consumer.assign_more(&[start(1), start(2)]).expect("they exist");
        assert_eq!(values(&reading.read_to(&mut more[1], Offset(2))), ["2.0", "2.1"]);
        assert_eq!(values(&reading.read_to(&mut more[0], Offset(2))), ["1.0", "1.1"]);
        assert!(reading.consumer.assign_more(&[start(1)]).is_err(), "it is assigned already");

        reading.consumer.unassign_some(&[at(&topic, 1)]).expect("it was assigned");
        write(2, 3);
        assert_eq!(values(&reading.read_to(&mut first, Offset(3))), ["0.2"]);
        assert_eq!(values(&reading.read_to(&mut more[1], Offset(3))), ["2.2"]);
        assert_eq!(more[0].read(10, &mut |fetched| panic!("{fetched:?}")), 0);

        let again = (at(&topic, 1), Offset(1));
        let mut again = reading.consumer.assign_more(&[again]).expect("it is free").remove(0);
        assert_eq!(values(&reading.read_to(&mut again, Offset(3))), ["1.1", "1.2"]);
        assert_eq!(more[0].read(10, &mut |fetched| panic!("{fetched:?}")), 0);
        drop(more);
        write(3, 4);
        assert_eq!(values(&reading.read_to(&mut again, Offset(4))), ["1.3"]);
        assert_eq!(values(&reading.read_to(&mut first, Offset(4))), ["0.3"]);
    });
}

#[test]
fn a_log_is_read_on_from_where_its_deleted_records_ended() {
    simulate_some(|world| {
        let topic = world.topic("deleted", 1);
        let mut producer = world.producer(&[]);
        (0..4).for_each(|n| send(&mut producer, &at(&topic, 0), &n.to_string()));
        producer.flush(PATIENCE).expect("the broker answers");
        let below = [(at(&topic, 0), Offset(3))];
        let admin = world.admin();
        assert_eq!(admin.delete_records(&below, PATIENCE).as_deref(), Ok(&below[..]));
        let asked = [at(&topic, 0)];
        let earliest = admin
            .list_offsets(&asked, OffsetSpec::Earliest, Isolation::ReadCommitted, PATIENCE)
            .expect("the broker answers");
        assert_eq!(earliest, below);
        let mut readers = world.consumer(&[]);
        let mut reader = readers.consumer.assign(&earliest).expect("it exists").remove(0);
        assert_eq!(values(&readers.read_to(&mut reader, Offset(4))), ["3"]);
    });
}
