//! Bad records: three handlers, three answers each, dead letters, panics.
#![expect(clippy::unwrap_used, reason = "a test may, also in its helpers")]

mod support;

use std::sync::{Arc, Mutex};

use support::{Fixture, NOW, Pass, record};
use tidemill_core::BoxError;
use tidemill_core::errors::{
    DeadLetterQueue, DeserializationExceptionHandler, ErrorHandlerContext, HandlerResponse,
    Handlers, LogAndContinue, ProcessingExceptionHandler, ProductionExceptionHandler, TaskError,
    TaskErrorKind,
};
use tidemill_core::processor::{Processor, ProcessorContext};
use tidemill_core::record::{Headers, Offset, OwnedRecord, Partition, Record, Timestamp};
use tidemill_core::serdes::{Encoded, Serde, SerdeError, string};
use tidemill_core::task::{Task, TaskIdle};
use tidemill_core::topology::{Consumed, Produced, Topology, TopologyError};

fn passing_to(topic: &str) -> Topology {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("pass", || Pass, &["source"]))
        .and_then(|t| t.add_sink("sink", topic, Produced::with(string(), string()), &["pass"]))
        .unwrap();
    topology
}

fn all(answer: impl Handler) -> Handlers {
    let answer = Arc::new(answer);
    Handlers { deserialization: answer.clone(), processing: answer.clone(), production: answer }
}

/// A handler of all three kinds.
trait Handler: DeserializationExceptionHandler + HandlesTheRest + 'static {}
impl<T: DeserializationExceptionHandler + HandlesTheRest + 'static> Handler for T {}

trait HandlesTheRest: ProcessingExceptionHandler + ProductionExceptionHandler {}
impl<T: ProcessingExceptionHandler + ProductionExceptionHandler> HandlesTheRest for T {}

fn with(topic: &str, handlers: Handlers) -> Fixture {
    Fixture::with(&passing_to(topic), TaskIdle::Never, handlers)
}

fn fail(fixture: &mut Fixture, bad: OwnedRecord) -> TaskError {
    fixture.task.enqueue(0, bad);
    fixture.task.process(&mut fixture.sent, NOW).unwrap_err()
}

fn not_text(offset: i64) -> OwnedRecord {
    OwnedRecord { value: Some(vec![0xff, 0]), key: None, ..record(offset, 5, "", "") }
}

fn header(record: &OwnedRecord, name: &str) -> String {
    let header = record.headers.last(&format!("__streams.errors.{name}")).unwrap();
    String::from_utf8(header.value.clone().unwrap()).unwrap()
}

#[test]
fn by_default_every_kind_of_failure_ends_the_turn_with_an_error_that_names_the_place() {
    let error = fail(&mut with("out", Handlers::default()), not_text(3));
    assert_eq!(error.kind, TaskErrorKind::Deserialization);
    assert!(error.to_string().starts_with(
        "task 0_0, node source: could not read record 3 of in-0: could not deserialize the key: "
    ));

    let error = fail(&mut with("out", Handlers::default()), record(4, 5, "k", "bad"));
    assert_eq!(error.kind, TaskErrorKind::Processing);
    let expected = "task 0_0, node pass: could not process record 4 of in-0: bad value";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.source_record, Some(("in".into(), Partition(0), Offset(4))));

    let error = fail(&mut with("full", Handlers::default()), record(5, 5, "k", "v"));
    assert_eq!(error.kind, TaskErrorKind::Production);
    let expected = "task 0_0, node sink: could not send the result of record 5 of in-0: \
                    topic full: too large";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn continue_drops_the_record_and_goes_on() {
    for (topic, bad) in [
        ("out", not_text(0)),
        ("out", OwnedRecord { timestamp: Timestamp(-1), ..record(0, 0, "k", "v") }),
        ("out", record(0, 5, "k", "bad")),
        ("full", record(0, 5, "k", "v")),
    ] {
        let mut fixture = with(topic, all(LogAndContinue));
        fixture.task.enqueue(0, bad);
        fixture.process_all();
        assert_eq!(fixture.task.counts().1, 1);
        assert_eq!(fixture.commit(), [1]);
        assert!(fixture.sent.sent.is_empty());
    }
}

#[test]
fn a_dead_letter_has_the_original_bytes_and_headers_that_say_why_and_where_from() {
    let mut fixture = with("out", all(DeadLetterQueue("dlq".to_owned())));
    let mut bad = not_text(7);
    bad.headers.add("trace", Some(b"1".to_vec()));
    fixture.task.enqueue(0, bad.clone());
    fixture.process_all();
    let (topic, _, letter) = &fixture.sent.sent[0];
    assert_eq!(topic, "dlq");
    assert_eq!((&letter.key, &letter.value), (&None, &bad.value), "null is not empty");
    assert_eq!(letter.timestamp, Timestamp(5));
    assert_eq!(letter.headers.last("trace"), bad.headers.last("trace"));
    assert_eq!(header(letter, "exception"), "tidemill.DeserializationError");
    assert!(header(letter, "message").starts_with("could not deserialize the key: null"));
    assert!(header(letter, "stacktrace").starts_with("could not deserialize"));
    assert_eq!(header(letter, "topic"), "in");
    assert_eq!(header(letter, "partition"), "0");
    assert_eq!(header(letter, "offset"), "7");
    assert_eq!(fixture.commit(), [8], "the offset moves past a poison record at the tail");
}

#[test]
fn a_record_that_fails_in_a_processor_or_a_sink_is_a_dead_letter_as_it_came() {
    for (topic, value, exception, message) in [
        ("out", "bad", "tidemill.ProcessingError", "bad value"),
        ("full", "v", "tidemill.ProductionError", "topic full: too large"),
    ] {
        let mut fixture = with(topic, all(DeadLetterQueue("dlq".to_owned())));
        fixture.task.enqueue(0, record(0, 9, "key", value));
        fixture.process_all();
        let (to, _, letter) = &fixture.sent.sent[0];
        assert_eq!(to, "dlq");
        assert_eq!(letter.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(letter.value.as_deref(), Some(value.as_bytes()));
        assert_eq!(header(letter, "exception"), exception);
        assert_eq!(header(letter, "message"), message);
        assert_eq!(fixture.commit(), [1]);
    }
}

#[test]
fn a_dead_letter_of_a_record_without_timestamp_has_the_time_of_the_clock() {
    let mut fixture = with("out", all(DeadLetterQueue("dlq".to_owned())));
    fixture.task.enqueue(0, OwnedRecord { timestamp: Timestamp(-1), ..record(0, 0, "k", "v") });
    fixture.process(1_234);
    assert_eq!(fixture.sent.sent[0].2.timestamp, Timestamp(1_234));
    assert!(header(&fixture.sent.sent[0].2, "message").contains("no timestamp"));
}

#[test]
fn a_dead_letter_that_can_not_be_written_ends_the_turn_and_names_the_first_failure_too() {
    for queue in ["missing", "full", "down"] {
        let mut fixture = with("out", all(DeadLetterQueue(queue.to_owned())));
        let error = fail(&mut fixture, record(0, 5, "k", "bad"));
        assert_eq!(error.kind, TaskErrorKind::Runtime);
        let text = error.to_string();
        assert!(text.contains(queue) && text.contains("because: bad value"), "{text}");
    }
}

#[test]
fn a_client_that_takes_nothing_more_is_no_question_for_a_handler() {
    let error = fail(&mut with("down", all(LogAndContinue)), record(0, 5, "k", "v"));
    assert_eq!(error.kind, TaskErrorKind::Runtime);
}

#[test]
fn forwarding_to_a_child_that_is_not_there_names_the_children() {
    let error = fail(&mut with("out", Handlers::default()), record(0, 5, "k", "astray"));
    assert_eq!(error.cause.to_string(), "pass has no child nobody (children: sink)");
}

/// Notes what it is told.
#[derive(Default)]
struct Listening(Mutex<Vec<String>>);

impl Listening {
    fn note(&self, context: &ErrorHandlerContext<'_>, text: String) -> HandlerResponse {
        let offset = context.offset.map(|offset| offset.0);
        let node = context.processor_node_id;
        self.0.lock().unwrap().push(format!("{node} {offset:?} {text}"));
        HandlerResponse::Continue
    }
}

type Cause<'a> = &'a (dyn std::error::Error + Send + Sync + 'static);

impl DeserializationExceptionHandler for Listening {
    fn handle(&self, context: &ErrorHandlerContext<'_>, error: Cause<'_>) -> HandlerResponse {
        self.note(context, format!("read: {error}"))
    }
}
impl ProcessingExceptionHandler for Listening {
    fn handle(&self, context: &ErrorHandlerContext<'_>, error: Cause<'_>) -> HandlerResponse {
        self.note(context, format!("process: {error}"))
    }
}
impl ProductionExceptionHandler for Listening {
    fn handle(
        &self,
        context: &ErrorHandlerContext<'_>,
        to: &str,
        error: Cause<'_>,
    ) -> HandlerResponse {
        self.note(context, format!("send to {to}: {error}"))
    }
}

/// Forwards and passes errors on.
struct Twice;

impl Processor<String, String, String, String> for Twice {
    fn process(
        &mut self,
        context: &mut ProcessorContext<'_, '_, String, String>,
        record: Record<String, String>,
    ) -> Result<(), BoxError> {
        context.forward(record.clone())?;
        context.forward(record)
    }
}

fn chain() -> Topology {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("twice", || Twice, &["source"]))
        .and_then(|t| t.add_processor("pass", || Pass, &["twice"]))
        .and_then(|t| t.add_sink("sink", "full", Produced::with(string(), string()), &["pass"]))
        .unwrap();
    topology
}

#[test]
fn each_failure_is_one_question_to_one_handler_at_the_node_where_it_happened() {
    let listening = Arc::new(Listening::default());
    let handlers = Handlers {
        deserialization: listening.clone(),
        processing: listening.clone(),
        production: listening.clone(),
    };
    let mut fixture = Fixture::with(&chain(), TaskIdle::Never, handlers);
    for (offset, value) in (0..).zip(["bad", "good"]) {
        fixture.task.enqueue(0, record(offset, 1, "k", value));
    }
    fixture.process_all();
    let asked = listening.0.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            "pass Some(0) process: bad value",
            "pass Some(0) process: bad value",
            "sink Some(1) send to full: topic full: too large",
            "sink Some(1) send to full: topic full: too large",
        ]
    );
}

#[test]
fn an_error_that_no_handler_absorbed_is_not_asked_about_again_on_its_way_up() {
    let error = fail(&mut Fixture::new(&chain()), record(0, 1, "k", "bad"));
    assert_eq!((error.kind, &*error.node), (TaskErrorKind::Processing, "pass"));
}

#[test]
fn a_panic_of_a_processor_is_an_error_about_which_no_handler_is_asked() {
    let mut fixture = with("out", all(LogAndContinue));
    let error = fail(&mut fixture, record(0, 5, "k", "panic"));
    assert_eq!(error.kind, TaskErrorKind::Panic);
    assert_eq!(error.cause.to_string(), "panicked: value was panic");
    assert!(error.to_string().contains("record 0 of in-0"));
}

/// Panics on the value `panic`, both ways.
struct PanickingSerde;

impl Serde<String> for PanickingSerde {
    fn serialize(
        &self,
        topic: &str,
        value: &String,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, SerdeError> {
        assert!(value != "panic out", "serializer");
        string().serialize(topic, value, out)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<String, SerdeError> {
        assert!(bytes != Some(b"panic in"), "deserializer");
        string().deserialize(topic, bytes)
    }
}

#[test]
fn a_panic_of_a_serde_is_an_error_too() {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), PanickingSerde), &["in"])
        .and_then(|t| {
            let produced = Produced::with(string(), PanickingSerde);
            t.add_sink("sink", "out", produced, &["source"])
        })
        .unwrap();
    for value in ["panic in", "panic out"] {
        let mut fixture = Fixture::with(&topology, TaskIdle::Never, all(LogAndContinue));
        let error = fail(&mut fixture, record(0, 1, "k", value));
        assert_eq!(error.kind, TaskErrorKind::Panic);
        assert!(error.cause.to_string().contains("serializer"), "{error}");
    }
}

/// Fails or panics where a task is built, flushed or closed.
struct Late(&'static str);

impl Processor<String, String, String, String> for Late {
    fn init(&mut self, _: &mut ProcessorContext<'_, '_, String, String>) -> Result<(), BoxError> {
        assert!(self.0 != "panic in init", "in init");
        if self.0 == "init" { Err("not ready".into()) } else { Ok(()) }
    }

    fn process(
        &mut self,
        _: &mut ProcessorContext<'_, '_, String, String>,
        _: Record<String, String>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    fn flush(&mut self, _: &mut ProcessorContext<'_, '_, String, String>) -> Result<(), BoxError> {
        assert!(self.0 != "panic in flush", "in flush");
        if self.0 == "flush" { Err("not now".into()) } else { Ok(()) }
    }

    fn close(&mut self) {
        assert!(self.0 != "panic in close", "in close");
    }
}

fn late(at: &'static str) -> Topology {
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("late", move || Late(at), &["source"]))
        .unwrap();
    topology
}

#[test]
fn a_failure_or_panic_in_init_refuses_the_task() {
    for (at, expected) in [("init", "not ready"), ("panic in init", "panicked: in init")] {
        let mut sent = support::Recorder::default();
        let config = support::config(TaskIdle::Never, Handlers::default());
        let storage = support::storage();
        let task = Task::<OwnedRecord>::new(&late(at), config, storage, &mut sent, NOW);
        let error = task.err().unwrap();
        assert!(matches!(error, TopologyError::Init(_)));
        assert!(error.to_string().ends_with(expected), "{error}");
    }
}

#[test]
fn a_failure_or_panic_in_flush_ends_the_commit_whatever_the_handlers_say() {
    for (at, kind) in
        [("flush", TaskErrorKind::Processing), ("panic in flush", TaskErrorKind::Panic)]
    {
        let mut fixture = Fixture::with(&late(at), TaskIdle::Never, all(LogAndContinue));
        let error = fixture.task.prepare_commit(&mut fixture.sent, NOW).unwrap_err();
        assert_eq!((error.kind, &*error.node), (kind, "late"));
    }
}

#[test]
fn a_panic_in_close_goes_no_further() {
    Fixture::new(&late("panic in close")).task.close();
}

#[test]
fn a_sink_to_a_topic_that_does_not_exist_refuses_the_task() {
    let mut sent = support::Recorder::default();
    let storage = support::storage();
    let config = support::config(TaskIdle::Never, Handlers::default());
    let topology = passing_to("missing");
    let task = Task::<OwnedRecord>::new(&topology, config, storage, &mut sent, NOW);
    assert_eq!(task.err().unwrap().to_string(), "node sink: no such topic");
}

#[test]
fn records_are_forwarded_depth_first_in_the_order_of_attachment() {
    let mut topology = Topology::new();
    let to = |_: &str| Produced::with(string(), string());
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("first", || Twice, &["source"]))
        .and_then(|t| t.add_processor("second", || Pass, &["source"]))
        .and_then(|t| t.add_sink("c", "c", to("c"), &["second"]))
        .and_then(|t| t.add_sink("a", "a", to("a"), &["first"]))
        .and_then(|t| t.add_sink("b", "b", to("b"), &["first"]))
        .unwrap();
    let mut fixture = Fixture::new(&topology);
    fixture.task.enqueue(0, record(0, 1, "k", "v"));
    fixture.process_all();
    let topics: Vec<_> = fixture.sent.sent.iter().map(|(topic, ..)| topic.as_str()).collect();
    assert_eq!(topics, ["a", "b", "a", "b", "c"]);
}

#[test]
fn a_keyed_record_goes_to_the_partition_of_its_key_and_others_where_the_client_likes() {
    use tidemill_core::serdes::optional;
    use tidemill_core::topology::partition_for_key;
    let mut topology = Topology::new();
    let nullable = || (optional(string()), string());
    let (k, v) = nullable();
    topology.add_source("source", Consumed::with(k, v), &["in"]).unwrap();
    let (k, v) = nullable();
    topology.add_sink("hashed", "hashed", Produced::with(k, v), &["source"]).unwrap();
    let (k, v) = nullable();
    let last = |_: &str, _: &Option<String>, value: &String, partitions: u32| {
        let beyond = value == "beyond";
        (value != "default").then_some(Partition(partitions as i32 - i32::from(!beyond)))
    };
    let chosen = Produced::with(k, v).with_stream_partitioner(last);
    topology.add_sink("chosen", "chosen", chosen, &["source"]).unwrap();
    let mut fixture = Fixture::with(&topology, TaskIdle::Never, all(LogAndContinue));
    fixture.task.enqueue(0, record(0, 1, "key", "v"));
    fixture.task.enqueue(0, OwnedRecord { key: None, ..record(1, 1, "", "default") });
    fixture.task.enqueue(0, record(2, 1, "key", "beyond"));
    fixture.process_all();
    let by_key = Some(partition_for_key(b"key", support::PARTITIONS));
    let sent: Vec<_> = fixture.sent.sent.iter().map(|(topic, at, _)| (&**topic, *at)).collect();
    let last = Some(Partition(support::PARTITIONS as i32 - 1));
    assert_eq!(
        sent,
        [
            ("hashed", by_key),
            ("chosen", last),
            ("hashed", None),
            ("chosen", None),
            ("hashed", by_key)
        ]
    );
    assert_eq!(fixture.task.counts().1, 1, "a partition beyond the last is a bad record");
}

#[test]
fn an_error_in_a_punctuation_has_no_source_record_and_its_dead_letter_no_bytes() {
    use std::time::Duration;
    use tidemill_core::processor::{Punctuation, PunctuationType};
    struct Failing;
    impl Processor<String, String, (), ()> for Failing {
        fn init(&mut self, context: &mut ProcessorContext<'_, '_, (), ()>) -> Result<(), BoxError> {
            context.schedule(Duration::from_millis(10), PunctuationType::WallClockTime);
            Ok(())
        }
        fn process(
            &mut self,
            _: &mut ProcessorContext<'_, '_, (), ()>,
            _: Record<String, String>,
        ) -> Result<(), BoxError> {
            Ok(())
        }
        fn punctuate(
            &mut self,
            _: &mut ProcessorContext<'_, '_, (), ()>,
            due: Punctuation,
        ) -> Result<(), BoxError> {
            assert!(due.timestamp < Timestamp(100), "too late");
            Err("never".into())
        }
    }
    let mut topology = Topology::new();
    topology
        .add_source("source", Consumed::with(string(), string()), &["in"])
        .and_then(|t| t.add_processor("failing", || Failing, &["source"]))
        .unwrap();
    let mut fixture = Fixture::new(&topology);
    let error = fixture.task.punctuate(&mut fixture.sent, Timestamp(10)).unwrap_err();
    let expected = "task 0_0, node failing: could not process a punctuation or commit: never";
    assert_eq!(error.to_string(), expected);

    let handlers = all(DeadLetterQueue("dlq".to_owned()));
    let mut fixture = Fixture::with(&topology, TaskIdle::Never, handlers);
    assert_eq!(fixture.task.punctuate(&mut fixture.sent, Timestamp(10)).unwrap(), 1);
    let (_, _, letter) = &fixture.sent.sent[0];
    assert_eq!((&letter.key, &letter.value, letter.timestamp), (&None, &None, Timestamp(10)));
    assert_eq!(header(letter, "offset"), "-1");
    assert!(letter.headers != Headers::new() && fixture.task.commit_needed());
    let error = fixture.task.punctuate(&mut fixture.sent, Timestamp(100)).unwrap_err();
    assert_eq!((error.kind, &*error.node), (TaskErrorKind::Panic, "failing"));
}
