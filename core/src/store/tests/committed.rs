//! What reaches the changelog and the storage, and when.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::record::{Offset, Partition, StreamTime, TopicPartition};
use crate::serdes::{i64, optional};

fn checkpoint(commit_number: u64, changelog: i64, input: i64) -> Checkpoint {
    let partition = TopicPartition::new("in", Partition(0));
    let position = InputPosition { offset: Offset(input), partition_time: StreamTime::UNKNOWN };
    Checkpoint {
        commit_number,
        changelogs: BTreeMap::from([("s".to_owned(), Offset(changelog))]),
        inputs: BTreeMap::from([(partition, position)]),
    }
}

#[test]
fn each_dirty_key_is_logged_and_staged_once_in_the_order_of_the_last_write() {
    let mut fixture = Fixture::new(StoreKind::TimestampedKeyValue, i64());
    let store = fixture.timestamped();
    for (name, value, timestamp) in [("a", 1, 10), ("b", 2, 20), ("a", 3, 15)] {
        let value = ValueAndTimestamp { value, timestamp: Timestamp(timestamp) };
        store.put(&key(name), value).unwrap();
    }
    fixture.commit(0);
    let value = |number: i64| Some(number.to_be_bytes().to_vec());
    let expected =
        [(b"b".to_vec(), value(2), Timestamp(20)), (b"a".to_vec(), value(3), Timestamp(15))];
    assert_eq!(fixture.log, expected);
    let stored = [15_i64.to_be_bytes(), 3_i64.to_be_bytes()].concat();
    assert_eq!(fixture.committed("a"), Some(stored));
    fixture.commit(0);
    assert_eq!(fixture.log.len(), 2, "a clean entry was logged again");
}

#[test]
fn restoring_a_changelog_record_gives_the_stored_bytes() {
    let mut out = vec![9];
    StoreSpec::new("s", StoreKind::TimestampedKeyValue).stored_value(7, b"v", &mut out);
    assert_eq!(out, [&7_i64.to_be_bytes()[..], b"v"].concat());
    StoreSpec::new("s", StoreKind::KeyValue).stored_value(7, b"v", &mut out);
    assert_eq!(out, b"v");
}

#[test]
fn without_logging_nothing_goes_to_the_changelog() {
    let spec = StoreSpec { logging: false, ..StoreSpec::new("s", StoreKind::KeyValue) };
    let mut fixture = Fixture::with_spec(spec, i64());
    fixture.handle().put(&key("a"), 1).unwrap();
    fixture.commit(0);
    assert!(fixture.log.is_empty());
    assert!(fixture.committed("a").is_some());
}

#[test]
fn a_null_key_and_damaged_bytes_are_errors_that_name_the_store() {
    let fixture = Fixture::new(StoreKind::TimestampedKeyValue, i64());
    let mut storage = fixture.storage.borrow_mut();
    storage.stage(StoreIndex(0), b"short", Some(&[1, 2, 3]));
    storage.stage(StoreIndex(0), b"long", Some(&[0; 17]));
    storage.publish(checkpoint(1, 0, 0), Acknowledged::by_broker()).unwrap();
    drop(storage);
    for damaged in ["short", "long"] {
        let error = fixture.handle().get(&key(damaged)).unwrap_err();
        let expected = "could not deserialize a value of store s";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    let core = StoreCore::<Option<String>, i64>::new(StoreParts {
        spec: StoreSpec::new("nullable", StoreKind::KeyValue),
        index: StoreIndex(0),
        application_id: "app".to_owned(),
        key_serde: Arc::new(optional(string())),
        value_serde: Arc::new(i64()),
        storage: Rc::new(RefCell::new(MemoryStorage::new())),
        now: Rc::new(Cell::new(Timestamp(0))),
        origin: Rc::new(Cell::new(Origin::NONE)),
    });
    let store = KeyValueStore::new(Rc::new(RefCell::new(core)));
    assert!(
        matches!(store.put(&None, 1), Err(StoreError::NullKey { store }) if store == "nullable")
    );
}

#[test]
fn inv_2_what_is_staged_is_not_there_before_the_commit_is_acknowledged() {
    let mut storage = MemoryStorage::new();
    storage.stage(StoreIndex(0), b"a", Some(b"1"));
    let all = (Bound::Unbounded, Bound::Unbounded);
    let count = |storage: &MemoryStorage| {
        storage.scan(StoreIndex(0), all, Order::Ascending, 10).unwrap().len()
    };
    assert!(!storage.get(StoreIndex(0), b"a", &mut |_| {}).unwrap());
    assert_eq!(count(&storage), 0);
    storage.discard();
    storage.publish(checkpoint(1, 0, 0), Acknowledged::by_broker()).unwrap();
    assert_eq!(count(&storage), 0, "an aborted write came back");
    storage.stage(StoreIndex(0), b"a", Some(b"1"));
    storage.publish(checkpoint(2, 1, 1), Acknowledged::by_broker()).unwrap();
    assert_eq!((count(&storage), storage.approximate_len(StoreIndex(0))), (1, 1));
}

#[test]
fn inv_3_contents_and_checkpoint_change_together() {
    let mut storage = MemoryStorage::new();
    storage.stage(StoreIndex(0), b"a", Some(b"1"));
    assert_eq!(storage.checkpoint(), &Checkpoint::default());
    storage.publish(checkpoint(1, 3, 5), Acknowledged::by_broker()).unwrap();
    assert!(storage.get(StoreIndex(0), b"a", &mut |value| assert_eq!(value, b"1")).unwrap());
    assert_eq!(storage.checkpoint(), &checkpoint(1, 3, 5));
}

#[test]
fn inverted_and_empty_ranges_have_no_entries() {
    let mut storage = MemoryStorage::new();
    storage.stage(StoreIndex(0), b"b", Some(b"1"));
    storage.publish(checkpoint(1, 0, 0), Acknowledged::by_broker()).unwrap();
    use Bound::{Excluded, Included};
    for range in [
        (Included(&b"c"[..]), Included(&b"a"[..])),
        (Excluded(&b"b"[..]), Excluded(&b"b"[..])),
        (Included(&b"b"[..]), Excluded(&b"b"[..])),
    ] {
        assert!(storage.scan(StoreIndex(0), range, Order::Ascending, 9).unwrap().is_empty());
    }
    let one = (Included(&b"b"[..]), Included(&b"b"[..]));
    assert_eq!(storage.scan(StoreIndex(0), one, Order::Descending, 9).unwrap().len(), 1);
}

#[test]
#[should_panic(expected = "INV-2: commit number went back from 2 to 1")]
fn inv_2_a_commit_number_does_not_go_back() {
    checkpoint(1, 0, 0).assert_follows(&checkpoint(2, 0, 0));
}

#[test]
#[should_panic(expected = "INV-2: changelog position of store s went back from 5 to 4")]
fn inv_2_a_changelog_position_does_not_go_back() {
    checkpoint(1, 4, 0).assert_follows(&checkpoint(1, 5, 0));
}

#[test]
#[should_panic(expected = "INV-8: input position of in-0 went back from 7 to 6")]
fn inv_8_an_input_position_does_not_go_back() {
    checkpoint(1, 0, 6).assert_follows(&checkpoint(1, 0, 7));
}

#[test]
#[should_panic(expected = "INV-9: partition time of in-0 went back from 7 to -1")]
fn inv_9_a_partition_time_does_not_go_back() {
    let mut before = checkpoint(1, 0, 0);
    for position in before.inputs.values_mut() {
        position.partition_time = StreamTime::from_millis(7);
    }
    checkpoint(2, 0, 0).assert_follows(&before);
}

#[test]
fn inv_2_a_checkpoint_may_stay_where_it_is_or_go_forward() {
    checkpoint(1, 1, 1).assert_follows(&Checkpoint::default());
    checkpoint(1, 1, 1).assert_follows(&checkpoint(1, 1, 1));
    checkpoint(2, 9, 9).assert_follows(&checkpoint(1, 1, 1));
}

proptest! {
    /// Whatever lies on a disk: a value that it is, or an error that names the store.
    #[test]
    fn any_stored_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        for kind in [StoreKind::KeyValue, StoreKind::TimestampedKeyValue] {
            let fixture = Fixture::new(kind, i64());
            let mut storage = fixture.storage.borrow_mut();
            storage.stage(StoreIndex(0), b"k", Some(&bytes));
            storage.publish(checkpoint(1, 0, 0), Acknowledged::by_broker()).unwrap();
            drop(storage);
            let length = if kind == StoreKind::KeyValue { 8 } else { 16 };
            match fixture.handle().get(&key("k")) {
                Ok(found) => prop_assert!(found.is_some() && bytes.len() == length),
                Err(error) => prop_assert!(error.to_string().contains("of store s"), "{}", error),
            }
            prop_assert_eq!(fixture.handle().all().unwrap().count(), 1);
        }
    }
}
