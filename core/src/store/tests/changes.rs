//! Reads and updates within a commit interval, and what is forwarded of them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::record::Headers;
use crate::serdes::{i64, optional};

type Change<K> = (K, Option<i64>, Option<i64>, i64);

/// Adds to a key, as an aggregation does.
fn add(fixture: &Fixture<i64>, to: &str, number: i64, timestamp: i64) -> Option<Change<()>> {
    let mut core = fixture.shared.core.borrow_mut();
    let apply = |before: Option<i64>| Ok(Some(before.unwrap_or(0) + number));
    let headers = Headers::new();
    let update = core.update(&key(to), Timestamp(timestamp), &headers, false, apply).unwrap();
    update.map(|update| ((), update.new, update.old, update.timestamp.0))
}

fn unforwarded(fixture: &Fixture<i64>) -> Vec<Change<String>> {
    let updates = fixture.shared.core.borrow_mut().take_unforwarded().unwrap();
    updates.into_iter().map(|u| (u.key, u.new, u.old, u.timestamp.0)).collect()
}

#[test]
fn inv_12_a_task_reads_its_own_uncommitted_writes() {
    let mut fixture = Fixture::new(StoreKind::KeyValue, i64());
    let store = fixture.handle();
    store.put(&key("a"), 1).unwrap();
    assert_eq!(store.get(&key("a")).unwrap(), Some(1));
    assert_eq!(fixture.committed("a"), None);
    fixture.commit(0);
    assert_eq!(store.get(&key("a")).unwrap(), Some(1));
    store.put(&key("a"), 2).unwrap();
    assert_eq!(store.get(&key("a")).unwrap(), Some(2));
    assert_eq!(fixture.committed("a"), Some(1_i64.to_be_bytes().to_vec()));
}

#[test]
fn inv_12_a_tombstone_hides_what_is_committed() {
    let mut fixture = Fixture::new(StoreKind::KeyValue, i64());
    let store = fixture.handle();
    store.put(&key("a"), 1).unwrap();
    fixture.commit(1 << 20);
    assert_eq!(store.delete(&key("a")).unwrap(), Some(1));
    assert_eq!(store.get(&key("a")).unwrap(), None);
    assert_eq!(store.all().unwrap().count(), 0);
    assert!(fixture.committed("a").is_some());
    fixture.commit(1 << 20);
    assert_eq!(fixture.committed("a"), None);
    assert_eq!(store.delete(&key("a")).unwrap(), None);
}

#[test]
fn a_value_that_stands_for_null_deletes_the_key() {
    let mut fixture = Fixture::new(StoreKind::KeyValue, optional(i64()));
    let store = fixture.handle();
    store.put(&key("a"), Some(1)).unwrap();
    fixture.commit(0);
    fixture.now.set(Timestamp(9));
    store.put(&key("a"), None).unwrap();
    assert_eq!(store.get(&key("a")).unwrap(), None);
    fixture.now.set(Timestamp(10));
    fixture.commit(0);
    assert_eq!(fixture.committed("a"), None);
    assert_eq!(fixture.log.last(), Some(&(b"a".to_vec(), None, Timestamp(9))));
}

#[test]
fn put_if_absent_writes_only_where_nothing_is() {
    let fixture = Fixture::new(StoreKind::KeyValue, i64());
    let store = fixture.handle();
    assert_eq!(store.put_if_absent(&key("a"), 1).unwrap(), None);
    assert_eq!(store.put_if_absent(&key("a"), 2).unwrap(), Some(1));
    assert_eq!(store.get(&key("a")).unwrap(), Some(1));
}

#[test]
fn a_fallible_update_that_fails_keeps_the_value_before() {
    let fixture = Fixture::new(StoreKind::TimestampedKeyValue, i64());
    add(&fixture, "a", 1, 5);
    let mut core = fixture.shared.core.borrow_mut();
    let fail = |_: Option<i64>| Err("no".into());
    let failed = core.update(&key("a"), Timestamp(9), &Headers::new(), true, fail);
    assert_eq!(failed.unwrap_err().to_string(), "no");
    drop(core);
    let kept = ValueAndTimestamp { value: 1, timestamp: Timestamp(5) };
    assert_eq!(fixture.timestamped().get(&key("a")).unwrap(), Some(kept));
}

#[test]
fn a_panic_inside_an_infallible_update_poisons_the_store() {
    let mut fixture = Fixture::new(StoreKind::TimestampedKeyValue, i64());
    add(&fixture, "a", 1, 5);
    let update = AssertUnwindSafe(|| {
        let mut core = fixture.shared.core.borrow_mut();
        let apply = |_: Option<i64>| panic!("half done");
        core.update(&key("a"), Timestamp(6), &Headers::new(), false, apply).map(drop)
    });
    assert!(catch_unwind(update).is_err());
    let poisoned =
        |error: &StoreError| matches!(error, StoreError::Poisoned { store } if store == "s");
    assert!(fixture.handle().get(&key("b")).is_err_and(|error| poisoned(&error)));
    let error = fixture.flush().unwrap_err();
    assert!(error.downcast_ref().is_some_and(poisoned), "{error}");
    assert!(fixture.log.is_empty());
}

#[test]
fn an_update_takes_the_larger_timestamp_while_there_is_a_value() {
    let fixture = Fixture::new(StoreKind::TimestampedKeyValue, i64());
    let store = fixture.timestamped();
    let time = |store: &TimestampedKeyValueStore<String, i64>| {
        store.get(&key("a")).unwrap().map(|stored| stored.timestamp.0)
    };
    add(&fixture, "a", 1, 10);
    add(&fixture, "a", 1, 5);
    assert_eq!(time(&store), Some(10));
    add(&fixture, "a", 1, 12);
    assert_eq!(time(&store), Some(12));
    store.delete(&key("a")).unwrap();
    add(&fixture, "a", 1, 3);
    assert_eq!(time(&store), Some(3), "the timestamp of a deleted value does not count");
}

#[test]
fn without_caching_each_update_is_a_change() {
    let fixture = Fixture::new(StoreKind::TimestampedKeyValue, i64());
    assert_eq!(add(&fixture, "a", 1, 1), Some(((), Some(1), None, 1)));
    assert_eq!(add(&fixture, "a", 1, 2), Some(((), Some(2), None, 2)));
    fixture.shared.core.borrow_mut().send_old_values = true;
    assert_eq!(add(&fixture, "a", 1, 3), Some(((), Some(3), Some(2), 3)));
    assert!(unforwarded(&fixture).is_empty());
}

#[test]
fn deleting_what_is_not_there_is_a_change_only_without_caching_as_in_java() {
    let none = |_: Option<i64>| Ok(None);
    let plain = Fixture::new(StoreKind::TimestampedKeyValue, i64());
    let mut core = plain.shared.core.borrow_mut();
    let change = core.update(&key("a"), Timestamp(1), &Headers::new(), false, none).unwrap();
    assert!(change.is_some_and(|change| change.new.is_none() && change.old.is_none()));
    let cached = Fixture::cached(i64());
    let mut core = cached.shared.core.borrow_mut();
    let change = core.update(&key("a"), Timestamp(1), &Headers::new(), false, none).unwrap();
    assert!(change.is_none() && core.take_unforwarded().unwrap().is_empty());
}

#[test]
fn a_tombstone_carries_the_timestamp_of_the_record_that_deleted_as_in_java() {
    let none = |_: Option<i64>| Ok(None);
    let mut cached = Fixture::cached(i64());
    assert_eq!(add(&cached, "a", 1, 20), None);
    assert_eq!(unforwarded(&cached).len(), 1);
    cached.commit(0);
    {
        let mut core = cached.shared.core.borrow_mut();
        core.update(&key("a"), Timestamp(15), &Headers::new(), false, none).unwrap();
    }
    assert_eq!(unforwarded(&cached).len(), 1);
    cached.commit(0);
    assert_eq!(cached.log.last(), Some(&(b"a".to_vec(), None, Timestamp(15))));
}

#[test]
fn cached_changes_come_once_a_key_in_the_order_of_the_last_write() {
    let mut fixture = Fixture::cached(i64());
    fixture.shared.core.borrow_mut().send_old_values = true;
    for (to, timestamp) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
        assert_eq!(add(&fixture, to, 1, timestamp), None);
    }
    let changes =
        [(key("b"), Some(1), None, 2), (key("c"), Some(1), None, 3), (key("a"), Some(2), None, 4)];
    assert_eq!(unforwarded(&fixture), changes);
    assert!(unforwarded(&fixture).is_empty());
    fixture.commit(0);
    add(&fixture, "a", 1, 5);
    add(&fixture, "a", 1, 6);
    assert_eq!(unforwarded(&fixture), [(key("a"), Some(4), Some(2), 6)], "old as last forwarded");
}

#[test]
fn a_cached_key_that_came_and_went_is_no_change() {
    let mut fixture = Fixture::cached(i64());
    add(&fixture, "a", 1, 1);
    let mut core = fixture.shared.core.borrow_mut();
    let gone = |_: Option<i64>| Ok(None);
    core.update(&key("a"), Timestamp(2), &Headers::new(), false, gone).unwrap();
    drop(core);
    assert!(unforwarded(&fixture).is_empty());
    fixture.commit(0);
    assert_eq!(fixture.log, [], "nor is it in the changelog");
}

#[test]
#[should_panic(expected = "flushed before its updates were forwarded")]
fn inv_1_a_store_is_not_flushed_before_its_changes_are_forwarded() {
    let mut fixture = Fixture::cached(i64());
    add(&fixture, "a", 1, 1);
    let _ = fixture.flush();
}
