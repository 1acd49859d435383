//! Processors that read global stores, by the test driver.

use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, DriverError, TopologyTestDriver};
use tidemill_core::dsl::{Joined, Materialized, StreamsBuilder};
use tidemill_core::processor::{FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord};
use tidemill_core::processor::{Processor, ProcessorContext};
use tidemill_core::record::{Record, Timestamp};
use tidemill_core::serdes::{optional, string};
use tidemill_core::store::{ReadOnlyKeyValueStore, StoreError};
use tidemill_core::topology::{Consumed, Produced, key_value_store};

use super::{Words, out, strings};

/// Forwards everything there is from the value on, and the same backwards.
#[derive(Default)]
struct From(Option<ReadOnlyKeyValueStore<String, String>>);

impl Processor<String, String, String, String> for From {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result<(), BoxError> {
        let wrong = context.global_key_value_store::<String, i64>("words").map(|_| ());
        assert!(matches!(wrong, Err(StoreError::WrongType { .. })), "{wrong:?}");
        let unknown = context.global_key_value_store::<String, String>("w").map(|_| ());
        let text = unknown.expect_err("there is none").to_string();
        assert_eq!(
            text,
            "processor KSTREAM-PROCESSOR-0000000003: w is no global store (there are: \
                          words)"
        );
        let own = context.key_value_store::<String, String>("words").map(|_| ());
        let text = own.expect_err("it is not connected").to_string();
        assert!(text.contains("global_key_value_store"), "{text}");
        self.0 = Some(context.global_key_value_store("words")?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        let words = self.0.as_ref().ok_or("not initialised")?;
        let mut text = String::new();
        for found in words.range(record.value.clone()..)? {
            let (word, keys) = found?;
            text += &format!("{word}={keys} ");
        }
        text += "|";
        for found in words.reverse_range(record.value.clone()..)? {
            text += &format!(" {}", found?.0);
        }
        assert_eq!(words.approximate_num_entries(), words.all()?.count() as u64);
        let one = words.get_with_timestamp(&record.value)?;
        assert_eq!(one.map(|found| found.value), words.get(&record.value)?);
        context.forward(record.with_value(text))
    }
}

/// Looks the value up.
#[derive(Default)]
struct LookUp(Option<ReadOnlyKeyValueStore<String, String>>);

impl FixedKeyProcessor<String, String, String> for LookUp {
    fn init(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, String, String>,
    ) -> Result<(), BoxError> {
        self.0 = Some(context.global_key_value_store("words")?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, String, String>,
        record: FixedKeyRecord<String, String>,
    ) -> Result<(), BoxError> {
        let words = self.0.as_ref().ok_or("not initialised")?;
        let found = words.get(record.value())?.unwrap_or_else(|| "-".to_owned());
        context.forward(record.with_value(found))
    }
}

fn words() -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    let store = key_value_store("words", string(), string());
    builder.add_global_store(store, "texts", strings(), Words::default);
    let stream = builder.stream("s", strings());
    stream.process(From::default, &[]).to("from", out());
    stream.process_values(LookUp::default, &[]).to("found", out());
    let topology = builder.build().expect("the topology is right");
    TopologyTestDriver::new(topology, DriverConfig::default()).expect("it has a source")
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn every_processor_reads_what_a_processor_of_its_own_has_written() {
    let driver = words();
    let mut texts = driver.create_input_topic("texts", string(), string()).unwrap();
    let mut s = driver.create_input_topic("s", string(), string()).unwrap();
    let mut from = driver.create_output_topic("from", string(), string()).unwrap();
    let mut found = driver.create_output_topic("found", string(), string()).unwrap();
    let mut ask = |value: &str| {
        s.pipe_input(text("k"), text(value)).unwrap();
        (from.read_value().unwrap(), found.read_value().unwrap())
    };
    assert_eq!(ask("b"), (text("|"), text("-")));
    for (key, value) in [("1", "b"), ("2", "c"), ("3", "a"), ("4", "b")] {
        texts.pipe_input(text(key), text(value)).unwrap();
    }
    assert_eq!(ask("b"), (text("b=14 c=2 | c b"), text("14")));
    assert_eq!(ask("a"), (text("a=3 b=14 c=2 | c b a"), text("3")));
    // more than one page of a scan
    for number in 0..600 {
        texts.pipe_input(text("x"), format!("d{number:03}")).unwrap();
    }
    let (all, _) = ask("d");
    assert_eq!(all.matches("=x").count(), 600);
    assert!(all.ends_with("d001 d000"), "{all}");
    // a test sees the store, and may prepare it
    let store = driver.key_value_store::<String, String>("words").unwrap();
    assert_eq!(store.get(&text("b")).unwrap(), Some(text("14")));
    store.put(&text("z"), text("prepared")).unwrap();
    assert_eq!(ask("z").1, "prepared");
    assert_eq!(driver.state_store_names().unwrap(), ["words"]);
    assert_eq!(driver.produced_topic_names().unwrap(), ["found", "from"], "no changelog");
}

#[test]
fn an_error_of_the_processor_that_fills_a_store_is_nobodys_to_absorb() {
    let config = DriverConfig::default().with_handlers(tidemill_core::errors::Handlers {
        processing: std::sync::Arc::new(tidemill_core::errors::LogAndContinue),
        ..Default::default()
    });
    let builder = StreamsBuilder::new();
    let store = key_value_store("words", string(), string());
    builder.add_global_store(store, "texts", strings(), Words::default);
    builder.stream("s", strings()).to("out", out());
    let driver = TopologyTestDriver::new(builder.build().unwrap(), config).unwrap();
    let mut texts = driver.create_input_topic("texts", string(), string()).unwrap();
    texts.pipe_input(text("1"), text("good")).unwrap();
    let error = texts.pipe_input(text("2"), text("bad")).expect_err("as in Kafka Streams");
    assert!(error.to_string().contains("a bad word"), "{error}");
    let stopped = texts.pipe_input(text("3"), text("good"));
    assert!(matches!(stopped, Err(DriverError::Stopped(_))), "{stopped:?}");
}

#[test]
fn a_selector_may_find_no_key_and_a_join_may_fail() {
    let builder = StreamsBuilder::new();
    let table = builder.global_table("t", strings(), Materialized::default());
    assert_eq!(table.queryable_store_name(), None);
    let nullable = || Consumed::with(string(), optional(string()));
    let stream = builder.stream("s", nullable());
    let part = |_: &String, value: &Option<String>| {
        value.as_ref().and_then(|text| text.split_once(':')).map(|(key, _)| key.to_owned())
    };
    let serdes = || Joined::with(string(), optional(string()));
    let show = |value: Option<String>| value.unwrap_or_else(|| text("null"));
    stream
        .join_global_table(&table, part, move |v, t: &String| format!("{} {t}", show(v)), serdes())
        .to("inner", out());
    stream
        .try_left_join_global_table(
            &table,
            move |key, value| match key.as_str() {
                "fail" => Err("no selection".into()),
                _ => Ok(part(key, value)),
            },
            move |key, v, t: Option<&String>| Ok(format!("{key} {} {t:?}", show(v))),
            serdes(),
        )
        .to("left", out());
    let driver = TopologyTestDriver::new(builder.build().unwrap(), DriverConfig::default());
    let driver = driver.unwrap();
    let mut t = driver.create_input_topic("t", string(), string()).unwrap();
    let mut s = driver.create_input_topic("s", string(), optional(string())).unwrap();
    t.pipe_input_at(text("a"), text("A"), Timestamp(50)).unwrap();
    let found = driver.timestamped_key_value_store::<String, String>("t-STATE-STORE-0000000000");
    assert_eq!(found.unwrap().get(&text("a")).unwrap().unwrap().timestamp, Timestamp(50));
    for (key, value) in [("k", Some("a:1")), ("k", Some("b:2")), ("k", Some("none")), ("k", None)] {
        s.pipe_input_at(text(key), value.map(text), Timestamp(7)).unwrap();
    }
    let all = |topic| {
        let mut output = driver.create_output_topic(topic, string(), string()).unwrap();
        let records = output.read_records_to_list().unwrap();
        let time = records.iter().all(|record| record.timestamp == Timestamp(7));
        assert!(time, "results have the time of the stream's record");
        records.into_iter().map(|record| record.value).collect::<Vec<_>>()
    };
    assert_eq!(all("inner"), ["a:1 A"]);
    assert_eq!(all("left"), ["k a:1 Some(\"A\")", "k b:2 None", "k none None"]);
    assert_eq!(driver.counts().unwrap(), (4, 3), "inner: a key and a value missing; left: a value");
    let failed = s.pipe_input(text("fail"), Some(text("a:1"))).expect_err("no handler absorbs it");
    assert!(failed.to_string().contains("no selection"), "{failed}");
}

#[test]
fn a_key_may_change_before_and_after_without_a_repartition_topic_for_the_join() {
    let builder = StreamsBuilder::new();
    let table = builder.global_table("t", strings(), Materialized::as_("table"));
    let joined = builder
        .stream("s", strings())
        .select_key(|_, value| value.clone())
        .named("enriched")
        .join_global_table(&table, |key, _| key.clone(), |_, t| t.clone(), Joined::default());
    joined.to("out", Produced::with(string(), string()));
    let topology = builder.build().unwrap();
    assert!(topology.repartitions().is_empty());
    let text = topology.describe().to_string();
    assert!(text.contains("Processor: enriched (stores: [])"), "{text}");
}
