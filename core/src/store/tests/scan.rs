//! Range scans against a model: own writes over committed entries, over page boundaries.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::serdes::i64;

type Range = (Bound<String>, Bound<String>);

#[derive(Debug, Clone)]
enum Step {
    Put(u16, i64),
    Delete(u16),
    Commit { cache_bytes: usize },
    Scan(Range),
}

/// Keys of four digits, so that byte order is number order.
fn name(number: u16) -> String {
    format!("{number:04}")
}

fn bound() -> impl Strategy<Value = Bound<String>> {
    (0..4_u8, 0..1_000_u16).prop_map(|(kind, number)| match kind {
        0 => Bound::Unbounded,
        1 => Bound::Excluded(name(number)),
        _ => Bound::Included(name(number)),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..1_000_u16, any::<i64>()).prop_map(|(number, value)| Step::Put(number, value)),
        4 => (0..1_000_u16).prop_map(Step::Delete),
        1 => prop_oneof![Just(0), Just(1 << 30)]
            .prop_map(|cache_bytes| Step::Commit { cache_bytes }),
        2 => (bound(), bound()).prop_map(Step::Scan),
    ]
}

fn check(store: &KeyValueStore<String, i64>, model: &BTreeMap<String, i64>, range: &Range) {
    let inside = |key: &String| std::ops::RangeBounds::contains(range, key);
    let inside = model.iter().filter(|(key, _)| inside(key));
    let expected: Vec<_> = inside.map(|(key, value)| (key.clone(), *value)).collect();
    let found: Result<Vec<_>, _> = store.range(range.clone()).unwrap().collect();
    assert_eq!(found.unwrap(), expected);
    let found: Result<Vec<_>, _> = store.reverse_range(range.clone()).unwrap().collect();
    let reversed: Vec<_> = expected.into_iter().rev().collect();
    assert_eq!(found.unwrap(), reversed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A page holds 256 entries: 0 to 1,000 committed ones are up to four pages.
    #[test]
    fn inv_12_scans_merge_own_writes_with_committed_entries_in_byte_order(
        committed in 0..1_000_u16,
        stride in 1..4_u16,
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut fixture = Fixture::new(StoreKind::KeyValue, i64());
        let store = fixture.handle();
        let mut model = BTreeMap::new();
        for number in (0..committed).step_by(usize::from(stride)) {
            store.put(&name(number), i64::from(number)).unwrap();
            model.insert(name(number), i64::from(number));
        }
        fixture.commit(0);
        for step in steps {
            match step {
                Step::Put(number, value) => {
                    store.put(&name(number), value).unwrap();
                    model.insert(name(number), value);
                }
                Step::Delete(number) => {
                    let deleted = store.delete(&name(number)).unwrap();
                    prop_assert_eq!(deleted, model.remove(&name(number)));
                }
                Step::Commit { cache_bytes } => fixture.commit(cache_bytes),
                Step::Scan(range) => check(&store, &model, &range),
            }
        }
        check(&store, &model, &(Bound::Unbounded, Bound::Unbounded));
        fixture.commit(0);
        check(&store, &model, &(Bound::Unbounded, Bound::Unbounded));
    }
}

#[test]
fn deleted_pages_do_not_end_a_scan() {
    let mut fixture = Fixture::new(StoreKind::KeyValue, i64());
    let store = fixture.handle();
    (0..900).for_each(|number| store.put(&name(number), 1).unwrap());
    fixture.commit(0);
    (0..600).for_each(|number| store.delete(&name(number)).map(drop).unwrap());
    let first = store.all().unwrap().next().unwrap().unwrap();
    assert_eq!(first.0, name(600));
    assert_eq!(store.all().unwrap().count(), 300);
}

#[test]
fn a_prefix_scan_gives_the_keys_that_begin_with_it_and_no_others() {
    let mut fixture = Fixture::new(StoreKind::KeyValue, crate::serdes::i64());
    let store = fixture.handle();
    let entries = ["a", "ab", "abc", "ac", "b", ""].map(key).into_iter().zip(0..);
    store.put_all(entries).unwrap();
    fixture.commit(0);
    store.put(&key("abd"), 9).unwrap();
    let keys = |found: Result<KeyValueIterator<String, i64>, StoreError>| {
        found.unwrap().map(|entry| entry.unwrap().0).collect::<Vec<_>>()
    };
    assert_eq!(keys(store.prefix_scan(&key("ab"), &string())), ["ab", "abc", "abd"]);
    assert_eq!(keys(store.prefix_scan(&key(""), &string())).len(), 7);
    assert_eq!(keys(store.reverse_all()), ["b", "ac", "abd", "abc", "ab", "a", ""]);
    let bytes = crate::serdes::bytes();
    assert!(keys(store.prefix_scan(&vec![0xff, 0xff], &bytes)).is_empty());
}
