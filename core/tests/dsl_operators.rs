//! What each operator of a stream does to records, run by the test driver.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tidemill_core::BoxError;
use tidemill_core::driver::{DriverConfig, DriverError, TopologyTestDriver};
use tidemill_core::dsl::{Branched, KStream, Repartitioned, StreamsBuilder};
use tidemill_core::errors::{DeadLetterQueue, LogAndContinue};
use tidemill_core::processor::{
    FixedKeyProcessor, FixedKeyProcessorContext, FixedKeyRecord, Processor, ProcessorContext,
};
use tidemill_core::record::{Headers, Record, Timestamp};
use tidemill_core::serdes::{bytes, i64, optional, string};
use tidemill_core::store::KeyValueStore;
use tidemill_core::topology::{Consumed, Produced, key_value_store};

type Strings = KStream<String, String>;

fn consumed() -> Consumed<String, String> {
    Consumed::with(string(), string())
}

fn produced() -> Produced<String, String> {
    Produced::with(string(), string())
}

/// Builds a topology from `in` to `out`.
fn driver(build: impl FnOnce(Strings) -> Strings, config: DriverConfig) -> TopologyTestDriver {
    let builder = StreamsBuilder::new();
    build(builder.stream("in", consumed())).to("out", produced());
    TopologyTestDriver::new(builder.build().unwrap(), config).unwrap()
}

/// Pipes `key:value` records with the timestamps 0, 1, .. and returns what was written to a topic,
/// as `key:value@timestamp`.
fn pipe(driver: &TopologyTestDriver, input: &str) -> Result<(), DriverError> {
    let mut topic = driver.create_input_topic("in", string(), string())?;
    for (at, record) in input.split_whitespace().enumerate() {
        let (key, value) = record.split_once(':').unwrap();
        topic.pipe_input_at(key.to_owned(), value.to_owned(), Timestamp(at as i64))?;
    }
    Ok(())
}

fn written(driver: &TopologyTestDriver, topic: &str) -> String {
    let mut topic = driver.create_output_topic(topic, string(), string()).unwrap();
    let records = topic.read_records_to_list().unwrap();
    let one = |record: &Record<String, String>| {
        format!("{}:{}@{}", record.key, record.value, record.timestamp.0)
    };
    records.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// Compares what comes out of a topology with what is expected.
fn check(build: impl FnOnce(Strings) -> Strings, input: &str, expected: &str) {
    let driver = driver(build, DriverConfig::default());
    pipe(&driver, input).unwrap();
    assert_eq!(written(&driver, "out"), expected);
}

#[test]
fn filters_keep_what_the_predicate_says() {
    check(|s| s.filter(|k, v| k == "a" && v == "1"), "a:1 b:1 a:2", "a:1@0");
    check(|s| s.filter_not(|k, v| k == "a" && v == "1"), "a:1 b:1 a:2", "b:1@1 a:2@2");
}

#[test]
fn mapping_changes_key_and_value_and_keeps_the_timestamp() {
    check(|s| s.map(|k, v| (v, k)), "a:1 b:2", "1:a@0 2:b@1");
    check(|s| s.map_values(|v| v.repeat(2)), "a:1 b:2", "a:11@0 b:22@1");
    check(|s| s.map_values_with_key(|k, v| format!("{k}{v}")), "a:1", "a:a1@0");
    check(|s| s.select_key(|k, v| format!("{k}{v}")), "a:1", "a1:1@0");
}

#[test]
fn flat_mapping_gives_any_number_of_records_in_order() {
    let letters = |v: String| v.chars().map(String::from).collect::<Vec<_>>();
    check(move |s| s.flat_map_values(letters), "a:xyz b:q", "a:x@0 a:y@0 a:z@0 b:q@1");
    check(|s| s.flat_map_values(|_| None::<String>), "a:xyz", "");
    let with_key = |k: &String, v: String| vec![k.clone(), v];
    check(move |s| s.flat_map_values_with_key(with_key), "a:x", "a:a@0 a:x@0");
    check(|s| s.flat_map(|k, v| [(k.clone(), v.clone()), (v, k)]), "a:x", "a:x@0 x:a@0");
}

#[test]
fn headers_travel_with_every_record_that_is_made() {
    let twice = |s: Strings| s.flat_map_values(|v| [v.clone(), v]).map(|k, v| (v, k));
    let driver = driver(twice, DriverConfig::default());
    let mut headers = Headers::new();
    headers.add("trace", Some(b"7".to_vec()));
    let record = Record::new("a".to_owned(), "x".to_owned(), Timestamp(1));
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    input.pipe_record(record.with_headers(headers.clone())).unwrap();
    let mut output = driver.create_output_topic("out", string(), string()).unwrap();
    let seen = output.read_records_to_list().unwrap();
    assert_eq!(seen.iter().map(|r| &r.headers).collect::<Vec<_>>(), [&headers, &headers]);
}

#[test]
fn peek_passes_on_and_for_each_ends() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (peeked, consumed) = (Arc::clone(&seen), Arc::clone(&seen));
    let build = move |s: Strings| {
        let s = s.peek(move |k, v| peeked.lock().unwrap().push(format!("peek {k}{v}")));
        s.for_each(move |k, v| consumed.lock().unwrap().push(format!("each {k}{v}")));
        s
    };
    check(build, "a:1 b:2", "a:1@0 b:2@1");
    assert_eq!(*seen.lock().unwrap(), ["peek a1", "each a1", "peek b2", "each b2"]);
}

#[test]
fn merge_takes_the_records_of_both_streams() {
    check(|s| s.filter(|_, v| v == "1").merge(&s.map(|k, v| (v, k))), "a:1", "a:1@0 1:a@0");
    check(|s| s.merge(&s), "a:1", "a:1@0");
}

#[test]
fn a_record_goes_to_the_first_branch_that_takes_it() {
    let builder = StreamsBuilder::new();
    let branches = builder
        .stream("in", consumed())
        .named("size-")
        .split()
        .branch(|_, v: &String| v.len() > 2, Branched::as_("large"))
        .branch(|_, v| v.len() > 1, Branched::as_("medium"))
        .default_branch(Branched::as_("small"));
    for (name, branch) in &branches {
        branch.to(name, produced());
    }
    let driver =
        TopologyTestDriver::new(builder.build().unwrap(), DriverConfig::default()).unwrap();
    pipe(&driver, "a:x a:xyz a:xy b:xyzz").unwrap();
    assert_eq!(written(&driver, "size-large"), "a:xyz@1 b:xyzz@3");
    assert_eq!(written(&driver, "size-medium"), "a:xy@2");
    assert_eq!(written(&driver, "size-small"), "a:x@0");
}

#[test]
fn a_record_that_no_branch_takes_is_dropped_without_a_default() {
    let only = |s: Strings| {
        let branches = s.split().branch(|k, _| k == "a", Branched::as_("-a")).no_default_branch();
        assert_eq!(branches.keys().collect::<Vec<_>>(), ["KSTREAM-BRANCH-0000000001-a"]);
        branches.into_values().next().unwrap()
    };
    check(only, "a:1 b:1", "a:1@0");
}

#[test]
fn a_repartition_topic_gives_back_what_was_written_but_null_keys() {
    let builder = StreamsBuilder::new();
    let consumed = Consumed::with(optional(string()), string());
    let stream = builder
        .stream("in", consumed)
        .select_key(|key, value: &String| if value == "no key" { None } else { key.clone() });
    let options = Repartitioned::with(optional(string()), string()).with_name("mid");
    stream.repartition(options).to("out", Produced::with(optional(string()), string()));
    let driver =
        TopologyTestDriver::new(builder.build().unwrap(), DriverConfig::default()).unwrap();
    let mut input = driver.create_input_topic("in", string(), string()).unwrap();
    input.pipe_input_at("a".to_owned(), "x".to_owned(), Timestamp(5)).unwrap();
    input.pipe_input_at("a".to_owned(), "no key".to_owned(), Timestamp(6)).unwrap();
    input.pipe_input_at("b".to_owned(), "y".to_owned(), Timestamp(3)).unwrap();
    assert_eq!(written(&driver, "out"), "a:x@5 b:y@3");
    assert_eq!(written(&driver, "test-mid-repartition"), "a:x@5 b:y@3");
    // as in Kafka Streams, the filter is silent
    assert_eq!(driver.counts().unwrap().1, 0);
}

/// Forwards the first record of each key.
#[derive(Default)]
struct Deduplicate {
    seen: Option<KeyValueStore<String, i64>>,
}

impl Processor<String, String, String, String> for Deduplicate {
    fn init(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
    ) -> Result<(), BoxError> {
        self.seen = Some(context.key_value_store("seen")?);
        Ok(())
    }

    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        let seen = self.seen.as_ref().unwrap();
        match seen.put_if_absent(&record.key, record.timestamp.0)? {
            None => context.forward(record),
            Some(_) => Ok(()),
        }
    }
}

struct Twice;

impl FixedKeyProcessor<String, String, String> for Twice {
    fn process(
        &mut self,
        context: &mut FixedKeyProcessorContext<'_, '_, '_, String, String>,
        record: FixedKeyRecord<String, String>,
    ) -> Result<(), BoxError> {
        context.forward(record.clone())?;
        let again = format!("{}!", record.value());
        context.forward(record.with_value(again))
    }
}

#[test]
fn processors_run_with_their_stores_inside_a_stream() {
    let builder = StreamsBuilder::new();
    builder.add_state_store(key_value_store("seen", string(), i64()));
    let stream = builder.stream("in", consumed()).process(Deduplicate::default, &["seen"]);
    stream.process_values(|| Twice, &[]).to("out", produced());
    let driver =
        TopologyTestDriver::new(builder.build().unwrap(), DriverConfig::default()).unwrap();
    pipe(&driver, "a:1 a:2 b:3").unwrap();
    assert_eq!(written(&driver, "out"), "a:1@0 a:1!@0 b:3@2 b:3!@2");
    let seen = driver.key_value_store::<String, i64>("seen").unwrap();
    assert_eq!(seen.get(&"b".to_owned()).unwrap(), Some(2));
}

fn refuse(value: &str) -> Result<(), BoxError> {
    if value == "bad" { Err("refused".into()) } else { Ok(()) }
}

/// Runs an operator that refuses the value `bad`.
fn check_refusal(build: impl Fn(Strings) -> Strings) {
    let mut config = DriverConfig::default();
    let failing = driver(&build, config.clone());
    let error = pipe(&failing, "a:bad").unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");

    config.handlers.processing = Arc::new(LogAndContinue);
    let going_on = driver(&build, config.clone());
    pipe(&going_on, "a:1 a:bad a:2").unwrap();
    assert_eq!(going_on.counts().unwrap().1, 1);
    let values = written(&going_on, "out");
    assert!(values.contains('1') && values.contains('2') && !values.contains("bad"), "{values}");

    config.handlers.processing = Arc::new(DeadLetterQueue("dead".to_owned()));
    let queueing = driver(&build, config);
    pipe(&queueing, "a:1 a:bad").unwrap();
    let mut dead = queueing.create_output_topic("dead", string(), bytes()).unwrap();
    assert_eq!(dead.read_value().unwrap(), b"bad");
}

#[test]
fn an_error_of_any_closure_goes_to_the_processing_handler() {
    check_refusal(|s| s.try_filter(|_, v| refuse(v).map(|()| true)));
    check_refusal(|s| s.try_map(|k, v| refuse(&v).map(|()| (k, v))));
    check_refusal(|s| s.try_map_values(|v| refuse(&v).map(|()| v)));
    check_refusal(|s| s.try_map_values_with_key(|_, v| refuse(&v).map(|()| v)));
    check_refusal(|s| s.try_flat_map(|k, v| refuse(&v).map(|()| [(k, v)])));
    check_refusal(|s| s.try_flat_map_values(|v| refuse(&v).map(|()| [v])));
    check_refusal(|s| s.try_flat_map_values_with_key(|_, v| refuse(&v).map(|()| [v])));
    check_refusal(|s| s.try_select_key(|k, v| refuse(v).map(|()| k.clone())));
    check_refusal(|s| {
        let branched = Branched::as_("-all");
        let branches = s.split().try_branch(|_, v| refuse(v).map(|()| true), branched);
        branches.no_default_branch().into_values().next().unwrap()
    });
}

#[test]
fn an_error_of_try_for_each_goes_to_the_processing_handler() {
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let build = move |s: Strings| {
        s.try_for_each(move |_, v| {
            refuse(&v)?;
            count.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        s
    };
    let mut config = DriverConfig::default();
    config.handlers.processing = Arc::new(LogAndContinue);
    let driver = driver(build, config);
    pipe(&driver, "a:1 a:bad a:2").unwrap();
    assert_eq!((done.load(Ordering::Relaxed), driver.counts().unwrap().1), (2, 1));
}
