//! The deciding and the folding operator, command by command.

use tidemill::driver::{DriverConfig, TestInputTopic, TestOutputTopic, TopologyTestDriver};
use tidemill::dsl::StreamsBuilder;
use tidemill::serdes::{json, string};
use tidemill::topology::Produced;
use tidemill_connect::event_sourcing::{
    Command, EventEnvelope, EventSourced, EventSourcing, ExpectedVersion, Outcome, Recorded, Reply,
    Stream, Upcasters, Version,
};
use uuid::Uuid;

use crate::stock::{Happened, Item, No, Stock, Want, received, reserve, reserved};

type Answer = Reply<Happened, No>;

struct Bench {
    driver: TopologyTestDriver,
    commands: TestInputTopic<String, Command<Want>>,
    events: TestOutputTopic<String, EventEnvelope>,
    replies: TestOutputTopic<String, Answer>,
}

fn bench(options: EventSourced) -> Bench {
    let builder = StreamsBuilder::new();
    builder
        .event_sourced::<Item>("commands", "events", options)
        .to("replies", Produced::with(string(), json::<Answer>()));
    let driver =
        TopologyTestDriver::new(builder.build().unwrap(), DriverConfig::default()).unwrap();
    Bench {
        commands: driver.create_input_topic("commands", string(), json()).unwrap(),
        events: driver.create_output_topic("events", string(), json()).unwrap(),
        replies: driver.create_output_topic("replies", string(), json()).unwrap(),
        driver,
    }
}

impl Bench {
    fn ask(&mut self, stream: &str, command: Command<Want>) -> (Vec<EventEnvelope>, Answer) {
        self.commands.pipe_input(stream.to_owned(), command).unwrap();
        let events = self.events.read_key_values_to_list().unwrap();
        let mut replies = self.replies.read_key_values_to_list().unwrap();
        assert_eq!(replies.len(), 1, "one answer for one command");
        assert!(events.iter().all(|(key, _)| key == stream));
        let (key, reply) = replies.remove(0);
        assert_eq!(key, stream);
        (events.into_iter().map(|(_, event)| event).collect(), reply)
    }

    fn stock(&self, stream: &str) -> Option<(Version, Stock)> {
        let store = self.driver.key_value_store("items").unwrap();
        let stored: Option<tidemill_connect::event_sourcing::StoredStream<Stock>> =
            store.get(&stream.to_owned()).unwrap();
        stored.map(|stored| (stored.version, stored.state))
    }
}

fn command(number: u128, want: Want) -> Command<Want> {
    Command::new(Uuid::from_u128(number), want)
}

fn versions(events: &[EventEnvelope]) -> Vec<i64> {
    events.iter().map(|event| event.version.0).collect()
}

#[test]
fn a_command_becomes_events_a_state_and_an_answer() {
    let mut bench = bench(EventSourced::as_("items"));
    let (events, reply) = bench.ask("bolt", command(1, Want::Receive(3)));
    assert_eq!(versions(&events), [1]);
    assert_eq!((&*events[0].event_type, events[0].schema), ("Received", 1));
    let first = Recorded { version: Version(1), event_id: events[0].event_id, event: received(3) };
    let outcome = Outcome::Accepted { events: vec![first], version: Version(1) };
    let expected = Reply { command_id: Uuid::from_u128(1), repeated: false, outcome };
    assert_eq!(reply, expected);

    let (events, _) = bench.ask("bolt", command(2, reserve("a", 3)));
    assert_eq!(versions(&events), [2, 3], "two events of one command");
    let (events, reply) = bench.ask("bolt", command(3, reserve("b", 1)));
    assert!(events.is_empty());
    let no = Outcome::Rejected { rejection: No::NotEnough { free: 0 }, version: Version(3) };
    assert_eq!(reply.outcome, no);
    let (version, stock) = bench.stock("bolt").unwrap();
    assert_eq!((version, stock.reserved["a"]), (Version(3), 3));
    assert_eq!(bench.stock("nut"), None, "streams are apart");
}

#[test]
fn events_tell_readers_id_type_and_version_in_headers() {
    let mut bench = bench(EventSourced::as_("items"));
    bench.commands.pipe_input("bolt".to_owned(), command(1, Want::Receive(3))).unwrap();
    let record = bench.events.read_record().unwrap();
    let header = |name: &str| {
        String::from_utf8(record.headers.last(name).unwrap().value.clone().unwrap()).unwrap()
    };
    assert_eq!(header("id"), record.value.event_id.to_string());
    assert_eq!((header("type"), header("revision")), ("Received".to_owned(), "1".to_owned()));
}

#[test]
fn es1_of_two_commands_at_the_same_version_one_gets_a_conflict() {
    let mut bench = bench(EventSourced::as_("items"));
    bench.ask("bolt", command(1, Want::Receive(3)));
    let at_one = ExpectedVersion::Exact(Version(1));
    let (events, _) = bench.ask("bolt", command(2, reserve("a", 1)).expecting(at_one));
    assert_eq!(versions(&events), [2]);
    let late = command(3, reserve("b", 1)).expecting(at_one);
    let (events, reply) = bench.ask("bolt", late.clone());
    assert!(events.is_empty());
    let conflict = Outcome::Conflict { expected: at_one, actual: Version(2) };
    assert_eq!((reply.outcome, reply.repeated), (conflict, false));
    // on fresh state, under the same id: the conflict was no decision
    let at_two = ExpectedVersion::Exact(Version(2));
    let (events, reply) = bench.ask("bolt", late.expecting(at_two));
    assert_eq!(versions(&events), [3]);
    assert!(matches!(reply.outcome, Outcome::Accepted { .. }));
    assert_eq!(bench.stock("bolt").unwrap().1.free, 1, "no update is lost");
}

#[test]
fn es6_a_command_that_comes_again_is_answered_as_before() {
    let mut bench = bench(EventSourced::as_("items"));
    bench.ask("bolt", command(1, Want::Receive(3)));
    let (_, accepted) = bench.ask("bolt", command(2, reserve("a", 2)));
    let (_, rejected) = bench.ask("bolt", command(3, reserve("b", 2)));
    bench.ask("bolt", command(4, Want::Receive(10)));
    let at_one = ExpectedVersion::Exact(Version(1));
    for (again, before) in [
        (command(2, reserve("a", 2)), accepted.clone()),
        (command(2, reserve("a", 2)).expecting(at_one), accepted),
        (command(3, reserve("b", 2)), rejected),
    ] {
        let (events, reply) = bench.ask("bolt", again);
        assert!(events.is_empty());
        assert_eq!(reply, Reply { repeated: true, ..before });
    }
    let (events, reply) = bench.ask("bolt", command(2, reserve("x", 1)));
    assert!(events.is_empty());
    assert_eq!(reply.outcome, Outcome::IdTaken, "another command under that id");
    let (events, _) = bench.ask("nut", command(2, Want::Receive(1)));
    assert_eq!(versions(&events), [1], "ids are those of a stream");
}

#[test]
fn es6_what_is_remembered_is_bounded() {
    let mut bench = bench(EventSourced::as_("items").remember_commands(3));
    for number in 1..=20 {
        bench.ask("bolt", command(number, Want::Receive(1)));
    }
    let mut live = std::collections::BTreeMap::new();
    for record in bench.driver.changelog("items-answers").unwrap() {
        live.insert(record.key.unwrap(), record.value);
    }
    let live = live.values().filter(|value| value.is_some()).count();
    assert_eq!(live, 2 * 3, "an answer and its number each");
    for number in 18..=20 {
        assert!(bench.ask("bolt", command(number, Want::Receive(1))).1.repeated);
    }
    let (events, reply) = bench.ask("bolt", command(17, Want::Receive(1)));
    assert_eq!((versions(&events), reply.repeated), (vec![21], false), "it was forgotten");
}

fn folding() -> (
    TopologyTestDriver,
    TestInputTopic<String, EventEnvelope>,
    TestOutputTopic<String, Stream<Stock>>,
) {
    let builder = StreamsBuilder::new();
    let options = EventSourced::as_("model").with_upcasters(Upcasters::new());
    builder
        .folded_events::<Item>("events", options)
        .to("streams", Produced::with(string(), json()));
    let driver =
        TopologyTestDriver::new(builder.build().unwrap(), DriverConfig::default()).unwrap();
    let events = driver.create_input_topic("events", string(), json()).unwrap();
    let streams = driver.create_output_topic("streams", string(), json()).unwrap();
    (driver, events, streams)
}

fn envelope(version: i64, id: u128, event: Happened) -> EventEnvelope {
    let event_id = Uuid::from_u128(id);
    let recorded = Recorded { version: Version(version), event_id, event };
    EventEnvelope::of(&recorded, Uuid::from_u128(id)).unwrap()
}

#[test]
fn a_read_model_folds_each_event_once() {
    let (_driver, mut events, mut streams) = folding();
    for (version, event) in [(1, received(5)), (2, reserved("a", 2)), (2, reserved("a", 2))] {
        let event = envelope(version, version.unsigned_abs().into(), event);
        events.pipe_input("bolt".to_owned(), event).unwrap();
    }
    let streams = streams.read_key_values_to_list().unwrap();
    let last = &streams.last().unwrap().1;
    assert_eq!((streams.len(), last.version, last.state.free), (2, Version(2), 3));
}

#[test]
fn es8_a_gap_stops_a_read_model() {
    let (_driver, mut events, _streams) = folding();
    events.pipe_input("bolt".to_owned(), envelope(1, 1, received(5))).unwrap();
    let gap = events.pipe_input("bolt".to_owned(), envelope(3, 3, received(5))).unwrap_err();
    assert!(gap.to_string().contains("goes from version 1 to 3"), "{gap}");
}

#[test]
fn es8_a_foreign_write_stops_a_read_model() {
    let (_driver, mut events, _streams) = folding();
    events.pipe_input("bolt".to_owned(), envelope(1, 1, received(5))).unwrap();
    let foreign = events.pipe_input("bolt".to_owned(), envelope(1, 9, received(5))).unwrap_err();
    assert!(foreign.to_string().contains("somebody else writes"), "{foreign}");
}
