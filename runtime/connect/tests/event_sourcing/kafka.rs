//! The deciding operator on a real broker, in a process that is killed: ES2, ES3, ES8, and the long
//! loop of kills.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use tempfile::TempDir;
use tidemill::client::{Outgoing, Producer};
use tidemill::dsl::StreamsBuilder;
use tidemill::record::{Headers, Timestamp};
use tidemill::serdes::{json, string};
use tidemill::topology::{Produced, partition_for_key};
use tidemill::{Config, Tidemill};
use tidemill_connect::event_sourcing::{
    Command, EventEnvelope, EventLog, EventLogError, EventSourced, EventSourcing, LogAudit,
    Outcome, Recorded, Reply, Until, Upcasters, Version,
};
use tidemill_connect::testing::{Broker, Child, Seen, unique, until};
use uuid::Uuid;

use crate::stock::{Happened, Item, No, Want, received, reserve, ship};

const PARTITIONS: u32 = 3;
const STORE: &str = "items";

type Answer = Reply<Happened, No>;

/// Topics, a folder, and what was sent.
struct Shop {
    broker: Broker,
    application: String,
    commands: String,
    events: String,
    replies: String,
    folder: TempDir,
    producer: Producer,
    sent: Vec<(String, Command<Want>)>,
    rng: fastrand::Rng,
}

impl Shop {
    fn open(seed: u64) -> Self {
        let broker = Broker::shared();
        let partitions = i32::try_from(PARTITIONS).unwrap();
        let [commands, events, replies] = ["commands", "events", "replies"].map(|name| {
            let topic = unique(name);
            broker.create(&topic, partitions, &[("retention.ms", "-1")]).unwrap();
            topic
        });
        let producer = Producer::new(&broker.config()).unwrap();
        Self {
            application: unique("shop"),
            commands,
            events,
            replies,
            folder: tempfile::tempdir().unwrap(),
            producer,
            sent: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            broker,
        }
    }

    fn start(&self, failpoint: Option<&str>) -> Child {
        let folder = self.folder.path().display().to_string();
        let mut variables = vec![
            ("SHOP_KAFKA", self.broker.address()),
            ("SHOP_APPLICATION", &*self.application),
            ("SHOP_COMMANDS", &*self.commands),
            ("SHOP_EVENTS", &*self.events),
            ("SHOP_REPLIES", &*self.replies),
            ("SHOP_FOLDER", &*folder),
        ];
        variables.extend(failpoint.map(|armed| ("TIDEMILL_TEST_FAILPOINT", armed)));
        Child::start("kafka::shop_process", &variables).unwrap()
    }

    fn produce(&mut self, topic: &str, key: &str, value: &[u8]) {
        let topic = self.producer.topic(topic).unwrap();
        let record = Outgoing {
            topic,
            partition: Some(partition_for_key(key.as_bytes(), PARTITIONS)),
            key: Some(key.as_bytes()),
            value: Some(value),
            timestamp: Timestamp(1_700_000_000_000),
            headers: &Headers::new(),
            position: None,
        };
        self.producer.send(&record).unwrap();
    }

    /// Sends commands; one in eight is an earlier one over again.
    fn send(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.sent.len();
            let again = number > 0 && self.rng.u8(..8) == 0;
            let (item, command) = if again {
                self.sent[self.rng.usize(number.saturating_sub(50)..number)].clone()
            } else {
                let order = format!("order-{}", self.rng.u8(..30));
                let want = match self.rng.u8(..3) {
                    0 => Want::Receive(self.rng.i64(1..4)),
                    1 => reserve(&order, self.rng.i64(1..4)),
                    _ => ship(&order),
                };
                let id = Uuid::from_u128(number as u128 + 1);
                (format!("item-{}", self.rng.u8(..7)), Command::new(id, want))
            };
            let value = serde_json::to_vec(&command).unwrap();
            let topic = self.commands.clone();
            self.produce(&topic, &item, &value);
            self.sent.push((item, command));
        }
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    fn read<T: serde::de::DeserializeOwned>(&self, topic: &str) -> Vec<(Seen, T)> {
        let seen = self.broker.committed(topic).unwrap();
        let value = |seen: &Seen| serde_json::from_slice(seen.value.as_deref().unwrap()).unwrap();
        seen.into_iter().map(|seen| (seen.clone(), value(&seen))).collect()
    }

    fn log(&self) -> EventLog {
        EventLog::new(self.broker.config(), &*self.events)
    }

    fn audit(&self) -> LogAudit {
        let changelog = format!("{}-{STORE}-changelog", self.application);
        self.log().audit::<Item>(&changelog).unwrap()
    }

    /// Waits until every command is answered; then nothing is lost, nothing is there twice, and
    /// every state is the fold of its events.
    fn verify(&self) -> LogAudit {
        let replies: Vec<(Seen, Answer)> = until("an answer to each command", || {
            let replies = self.read::<Answer>(&self.replies);
            (replies.len() >= self.sent.len()).then_some(replies)
        });
        assert_eq!(replies.len(), self.sent.len(), "one answer for each command");
        let mut first: BTreeMap<Uuid, Answer> = BTreeMap::new();
        for (_, reply) in replies {
            match first.get(&reply.command_id) {
                None => {
                    assert!(!reply.repeated, "{reply:?}");
                    first.insert(reply.command_id, reply);
                }
                Some(before) => {
                    assert_eq!((&before.outcome, true), (&reply.outcome, reply.repeated));
                }
            }
        }
        let sent: BTreeSet<Uuid> = self.sent.iter().map(|(_, command)| command.id).collect();
        assert!(first.keys().eq(sent.iter()), "lost, or from nowhere");
        let told: BTreeSet<Uuid> = first
            .values()
            .filter_map(|reply| match &reply.outcome {
                Outcome::Accepted { events, .. } => Some(events),
                _ => None,
            })
            .flat_map(|events| events.iter().map(|event| event.event_id))
            .collect();
        let events = self.read::<EventEnvelope>(&self.events);
        let found: BTreeSet<Uuid> = events.iter().map(|(_, event)| event.event_id).collect();
        assert_eq!(found.len(), events.len(), "an event is there twice");
        assert_eq!(found, told, "events and answers");
        let audit = self.audit();
        assert!(audit.passed(), "{audit:?}");
        assert_eq!((audit.events, audit.events_beyond), (events.len() as u64, 0));
        for (item, stream) in self.log().replay::<Item>(Until::End).unwrap() {
            assert!(stream.state.free >= 0, "{item} was oversold: {stream:?}");
        }
        audit
    }
}

/// Decides until it is killed.
#[test]
#[ignore = "the body of a process that other tests start"]
fn shop_process() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let builder = StreamsBuilder::new();
    let (commands, events) = (variable("SHOP_COMMANDS"), variable("SHOP_EVENTS"));
    builder
        .event_sourced::<Item>(&commands, &events, EventSourced::as_(STORE))
        .to(&variable("SHOP_REPLIES"), Produced::with(string(), json::<Answer>()));
    let config = Config::new(variable("SHOP_APPLICATION"), variable("SHOP_KAFKA"))
        .with_state_dir(variable("SHOP_FOLDER"))
        .with_commit_interval(Duration::from_millis(20))
        .with_session_timeout(Duration::from_secs(6))
        .with_heartbeat_interval(Duration::from_secs(2));
    let mut app = Tidemill::new(builder.build().unwrap(), config).unwrap();
    app.start().unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn es2_killed_at_each_step_of_the_commit_events_and_states_stay_together() {
    let mut shop = Shop::open(2);
    for step in ["S1", "S2", "S3", "S4", "S5", "S6", "S7"] {
        shop.send(30);
        let mut process = shop.start(Some(&format!("{step}:2:kill")));
        let ended = until(step, || {
            shop.send(3);
            process.ended().unwrap()
        });
        assert_eq!(ended.signal(), Some(9), "{step}");
        let audit = shop.audit();
        assert!(audit.passed(), "{step}: {audit:?}");
    }
    let _process = shop.start(None);
    shop.send(30);
    shop.verify();
}

#[test]
fn es3_a_deleted_state_store_is_rebuilt_and_equals_the_fold_of_the_events() {
    let mut shop = Shop::open(3);
    let mut process = shop.start(None);
    shop.send(300);
    let before = shop.verify();
    process.kill().unwrap();
    shop.folder.close().unwrap();
    shop.folder = tempfile::tempdir().unwrap();
    let _process = shop.start(None);
    shop.send(100);
    let after = shop.verify();
    assert!(after.events > before.events && after.compared >= before.compared);
    // and what was true then can be seen again
    let (item, stream) = shop.log().replay::<Item>(Until::End).unwrap().pop_last().unwrap();
    let half = Version(stream.version.0 / 2);
    let then = shop.log().replay_stream::<Item>(&item, Until::Version(half)).unwrap();
    assert_eq!(then.version, half);
    let now = shop.log().replay_stream::<Item>(&item, Until::End).unwrap();
    assert_eq!(now, stream);
}

#[test]
fn es8_an_audit_finds_second_writers_gaps_and_wrong_states() {
    let mut shop = Shop::open(8);
    let mut process = shop.start(None);
    shop.send(100);
    let clean = shop.verify();
    process.kill().unwrap();
    let streams = shop.log().replay::<Item>(Until::End).unwrap();
    let mut streams = streams.into_iter();
    let events = shop.events.clone();
    let write = |shop: &mut Shop, item: &str, version: Version| {
        let event_id = Uuid::from_u128(77);
        let recorded = Recorded { version, event_id, event: received(1) };
        let envelope = EventEnvelope::of(&recorded, Uuid::from_u128(7)).unwrap();
        shop.produce(&events, item, &serde_json::to_vec(&envelope).unwrap());
    };
    let (twice, stream) = streams.next().unwrap();
    write(&mut shop, &twice, stream.version);
    let (gap, stream) = streams.next().unwrap();
    write(&mut shop, &gap, Version(stream.version.0 + 2));
    let (beyond, stream) = streams.next().unwrap();
    write(&mut shop, &beyond, stream.version.next());
    shop.produce(&events, "noise", b"not an event");
    shop.producer.flush(Duration::from_secs(30)).unwrap();
    let audit = shop.audit();
    let text = audit.findings.join("\n");
    assert_eq!(audit.wrong, 3, "{text}");
    assert!(text.contains("somebody else writes"), "{text}");
    assert!(text.contains("events in between are missing"), "{text}");
    assert!(text.contains("is no event"), "{text}");
    assert_eq!(audit.events_beyond, 1, "no operator decided on it");
    assert_ne!(audit.fingerprint, clean.fingerprint);
    let error = shop.log().replay::<Item>(Until::End).unwrap_err();
    assert!(matches!(error, EventLogError::Version(_) | EventLogError::NoEvent { .. }), "{error}");
    // a state that is not the fold
    let changelog = format!("{}-{STORE}-changelog", shop.application);
    let states = shop.read::<serde_json::Value>(&changelog);
    let (untouched, stream) = streams.next().unwrap();
    let of_it = |(seen, _): &(Seen, serde_json::Value)| seen.key_text() == untouched;
    let (_, mut state) = states.into_iter().rfind(of_it).unwrap();
    state["state"]["free"] = serde_json::json!(1_000_000);
    let value = serde_json::to_vec(&state).unwrap();
    shop.produce(&changelog, &untouched, &value);
    shop.producer.flush(Duration::from_secs(30)).unwrap();
    let audit = shop.audit();
    let version = stream.version;
    let wrong =
        format!("stream {untouched}: the state of version {version} is not the fold of its events");
    assert_eq!(audit.wrong, 4, "{:?}", audit.findings);
    assert!(audit.findings.contains(&wrong), "{:?} lacks {wrong}", audit.findings);
}

#[test]
fn es4_a_log_with_old_events_is_replayed() {
    let mut shop = Shop::open(4);
    let events = shop.events.clone();
    for (version, schema, data) in [
        (1, 0, serde_json::json!({"Received": {"dozens": 1}})),
        (2, 1, serde_json::json!({"Received": {"pieces": 3}})),
    ] {
        let envelope = EventEnvelope {
            version: Version(version),
            event_id: Uuid::from_u128(u128::from(version.unsigned_abs())),
            command_id: Uuid::nil(),
            event_type: "Received".to_owned(),
            schema,
            data,
        };
        shop.produce(&events, "bolt", &serde_json::to_vec(&envelope).unwrap());
    }
    shop.producer.flush(Duration::from_secs(30)).unwrap();
    let error = shop.log().replay::<Item>(Until::End).unwrap_err();
    assert!(matches!(error, EventLogError::Event { .. }), "{error}");
    let log = shop.log().with_upcasters(Upcasters::new().step("Received", 0, |old| {
        let dozens = old["Received"]["dozens"].as_i64().ok_or("no dozens")?;
        Ok(serde_json::json!({"Received": {"pieces": dozens * 12}}))
    }));
    assert_eq!(log.replay_stream::<Item>("bolt", Until::End).unwrap().state.free, 15);
}

#[test]
fn chaos_event_sourced_kafka() {
    let kills = std::env::var("TIDEMILL_TEST_KILLS").ok();
    let kills: u64 = kills.map_or(8, |kills| kills.parse().unwrap());
    let mut shop = Shop::open(fastrand::u64(..));
    for _ in 0..kills {
        let mut process = shop.start(None);
        let pause = Duration::from_millis(shop.rng.u64(20..700));
        shop.send(20);
        std::thread::sleep(pause);
        shop.send(20);
        process.kill().unwrap();
    }
    let _process = shop.start(None);
    shop.send(20);
    let audit = shop.verify();
    println!(
        "{kills} kills: {} commands, {} events, lost=0 duplicated=0, {} states are folds",
        shop.sent.len(),
        audit.events,
        audit.compared
    );
}
