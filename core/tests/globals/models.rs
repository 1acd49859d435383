//! Random histories of a global table and a stream, compared with a map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidemill_core::driver::{DriverConfig, TopologyTestDriver};
use tidemill_core::dsl::{Joined, Materialized, StreamsBuilder};
use tidemill_core::serdes::{optional, string};

use super::{out, strings};

/// Whether it is of the table; key, value (`-` deletes in the table, and names no key in the
/// stream).
type Step = (bool, String, String);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![4 => "[k-n]", 1 => Just("-".to_owned())];
    proptest::collection::vec((any::<bool>(), "[k-n]", value), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_stream_finds_what_the_table_has_at_that_moment(steps in steps(), cache in 0..400_usize) {
        let builder = StreamsBuilder::new();
        let table = builder.global_table("t", strings(), Materialized::as_("table"));
        let stream = builder.stream("s", strings());
        let key = |_: &String, value: &String| (value != "-").then(|| value.clone());
        let show = |value: String, found: Option<&String>| format!("{value}{found:?}");
        stream
            .join_global_table(&table, key, move |v, t| show(v, Some(t)), Joined::default())
            .to("inner", out());
        stream.left_join_global_table(&table, key, show, Joined::default()).to("left", out());
        let config = DriverConfig { store_cache_bytes_max: cache, ..DriverConfig::default() };
        let driver = TopologyTestDriver::new(builder.build().unwrap(), config).unwrap();
        let mut t = driver.create_input_topic("t", string(), optional(string())).unwrap();
        let mut s = driver.create_input_topic("s", string(), string()).unwrap();
        let mut model = BTreeMap::new();
        let (mut inner, mut left) = (Vec::new(), Vec::new());
        for (of_table, key, value) in steps {
            if of_table {
                let value = (value != "-").then_some(value);
                match &value {
                    Some(value) => drop(model.insert(key.clone(), value.clone())),
                    None => drop(model.remove(&key)),
                }
                t.pipe_input(key, value).unwrap();
                continue;
            }
            let found = model.get(&value);
            if found.is_some() {
                inner.push(show(value.clone(), found));
            }
            left.push(show(value.clone(), found));
            s.pipe_input(key, value).unwrap();
        }
        for (topic, expected) in [("inner", inner), ("left", left)] {
            let mut output = driver.create_output_topic(topic, string(), string()).unwrap();
            let records = output.read_records_to_list().unwrap();
            let values: Vec<String> = records.into_iter().map(|record| record.value).collect();
            prop_assert_eq!(values, expected, "{}", topic);
        }
        let store = driver.key_value_store::<String, String>("table").unwrap();
        let stored: BTreeMap<_, _> = store.all().unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(stored, model);
    }
}
