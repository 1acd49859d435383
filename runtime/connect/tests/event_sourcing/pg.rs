//! The store in PostgreSQL: conflicts, repeated commands, snapshots, old schemas, replays.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use serde_json::json;
use tidemill::record::Timestamp;
use tidemill_connect::event_sourcing::{
    Command, EventStoreError, ExpectedVersion, Outcome, PgEventStore, Until, Upcasters, Version,
    VersionError,
};
use tidemill_connect::postgres::{Connection, TableName, connect};
use tidemill_connect::testing::{PgOptions, PgServer};
use tokio_postgres::Config;
use uuid::Uuid;

use crate::stock::{Item, No, Want, received, reserve, reserved};

/// A database of its own: how to connect to it, as text and parsed.
pub(crate) fn new_database() -> (String, Config) {
    static SERVER: OnceLock<PgServer> = OnceLock::new();
    let server = SERVER.get_or_init(|| PgServer::start(PgOptions::default()).unwrap());
    let text = server.new_database("events").unwrap();
    let config = text.parse().unwrap();
    (text, config)
}

pub(crate) fn store() -> PgEventStore<Item> {
    PgEventStore::new(TableName::new("stock_events").unwrap(), "item").unwrap()
}

pub(crate) async fn ready() -> (Config, Connection, PgEventStore<Item>) {
    let (_, config) = new_database();
    let client = connect(&config).await.unwrap();
    let store = store();
    store.ensure_schema(&client).await.unwrap();
    (config, client, store)
}

pub(crate) fn command(number: u128, want: Want) -> Command<Want> {
    Command::new(Uuid::from_u128(number), want)
}

async fn audit_passes(client: &mut Connection, store: &PgEventStore<Item>) {
    let audit = store.audit(client).await.unwrap();
    assert!(audit.passed(), "{audit:?}");
}

#[tokio::test]
async fn a_command_becomes_rows_and_an_answer() {
    let (_, mut client, store) = ready().await;
    store.ensure_schema(&client).await.unwrap();
    let reply = store.execute(&mut client, "bolt", &command(1, Want::Receive(3))).await.unwrap();
    assert!(matches!(reply.outcome, Outcome::Accepted { version: Version(1), .. }));
    let reply = store.execute(&mut client, "bolt", &command(2, reserve("a", 3))).await.unwrap();
    let Outcome::Accepted { events, version } = reply.outcome else { panic!("{reply:?}") };
    assert_eq!((events.len(), version), (2, Version(3)));
    let reply = store.execute(&mut client, "bolt", &command(3, reserve("b", 1))).await.unwrap();
    let no = Outcome::Rejected { rejection: No::NotEnough { free: 0 }, version: Version(3) };
    assert_eq!(reply.outcome, no);
    let stream = store.load(&*client, "bolt").await.unwrap();
    assert_eq!((stream.version, stream.state.reserved["a"]), (Version(3), 3));
    let sql = "SELECT aggregatetype, aggregateid, type FROM stock_events ORDER BY id";
    let rows = client.query(sql, &[]).await.unwrap();
    let types: Vec<String> = rows.iter().map(|row| row.get(2)).collect();
    assert_eq!(types, ["Received", "Reserved", "SoldOut"]);
    assert_eq!((rows[0].get(0), rows[0].get(1)), ("item", "bolt"));
    audit_passes(&mut client, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn es1_of_writers_at_the_same_version_one_wins_and_the_others_are_told() {
    let (config, mut client, store) = ready().await;
    store.execute(&mut client, "bolt", &command(1, Want::Receive(100))).await.unwrap();
    let race = |number: u128, expected| {
        let (config, store) = (config.clone(), store.clone());
        tokio::spawn(async move {
            let mut client = connect(&config).await.unwrap();
            let one = command(number, reserve(&format!("order-{number}"), 1));
            store.execute(&mut client, "bolt", &one.expecting(expected)).await.unwrap()
        })
    };
    let at_one = ExpectedVersion::Exact(Version(1));
    let racers: Vec<_> = (10..18).map(|number| race(number, at_one)).collect();
    let mut accepted = 0;
    for racer in racers {
        match racer.await.unwrap().outcome {
            Outcome::Accepted { version: Version(2), .. } => accepted += 1,
            Outcome::Conflict { actual: Version(2), expected } if expected == at_one => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(accepted, 1);
    // who does not mind the version is decided again on the fresh state, and none is lost
    let racers: Vec<_> = (20..28).map(|number| race(number, ExpectedVersion::Any)).collect();
    for racer in racers {
        let reply = racer.await.unwrap();
        assert!(matches!(reply.outcome, Outcome::Accepted { .. }), "{reply:?}");
    }
    let stream = store.load(&*client, "bolt").await.unwrap();
    assert_eq!((stream.version, stream.state.free), (Version(10), 91));
    let sql = "SELECT array_agg(revision ORDER BY id) FROM stock_events";
    let by_id: Vec<i64> = client.query_one(sql, &[]).await.unwrap().get(0);
    assert!(by_id.is_sorted(), "ids are in the order of versions: {by_id:?}");
    audit_passes(&mut client, &store).await;
}

#[tokio::test]
async fn es1_a_conflict_leaves_the_callers_transaction_usable() {
    let (config, mut client, store) = ready().await;
    let mut other = connect(&config).await.unwrap();
    client.batch_execute("CREATE TABLE note (n int)").await.unwrap();
    let none = ExpectedVersion::NoStream;
    let mut append = async |expected, id: u128, keep: bool| {
        let transaction = client.transaction().await.unwrap();
        transaction.execute("INSERT INTO note VALUES (1)", &[]).await.unwrap();
        let id = Uuid::from_u128(id);
        let events = [received(1), received(2)];
        let appended = store.append(&transaction, "bolt", expected, id, &events).await;
        transaction.execute("INSERT INTO note VALUES (2)", &[]).await.unwrap();
        if keep {
            transaction.commit().await.unwrap();
        }
        appended.map(|events| events.len())
    };
    assert_eq!(append(none, 1, false).await.unwrap(), 2, "and rolled back");
    assert_eq!(append(none, 2, true).await.unwrap(), 2);
    let conflict = append(none, 3, true).await.unwrap_err();
    let EventStoreError::Conflict { actual, .. } = &conflict else { panic!("{conflict}") };
    assert_eq!((*actual, conflict.is_retriable()), (Version(2), true));
    let beyond = append(ExpectedVersion::Exact(Version(5)), 4, true).await;
    assert!(matches!(beyond, Err(EventStoreError::Conflict { actual: Version(2), .. })));
    let notes = "SELECT count(*) FROM note";
    assert_eq!(other.query_one(notes, &[]).await.unwrap().get::<_, i64>(0), 6);
    assert_eq!(store.load(&*other, "bolt").await.unwrap().state.free, 3);
    audit_passes(&mut other, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn es6_a_command_that_comes_again_appends_nothing() {
    let (config, mut client, store) = ready().await;
    store.execute(&mut client, "bolt", &command(1, Want::Receive(3))).await.unwrap();
    let first = store.execute(&mut client, "bolt", &command(2, reserve("a", 3))).await.unwrap();
    store.execute(&mut client, "bolt", &command(3, Want::Receive(9))).await.unwrap();
    let again = store.execute(&mut client, "bolt", &command(2, reserve("a", 3))).await.unwrap();
    assert_eq!((&again.outcome, again.repeated), (&first.outcome, true));
    // at the same moment, too
    let senders: Vec<_> = (0..6)
        .map(|_| {
            let (config, store) = (config.clone(), store.clone());
            tokio::spawn(async move {
                let mut client = connect(&config).await.unwrap();
                let same = command(7, reserve("b", 2));
                store.execute(&mut client, "bolt", &same).await.unwrap()
            })
        })
        .collect();
    let mut fresh = 0;
    for sender in senders {
        let reply = sender.await.unwrap();
        assert!(matches!(reply.outcome, Outcome::Accepted { version: Version(5), .. }));
        fresh += i32::from(!reply.repeated);
    }
    assert_eq!(fresh, 1);
    assert_eq!(store.load(&*client, "bolt").await.unwrap().version, Version(5));
}

#[tokio::test]
async fn es5_a_doubtful_snapshot_is_ignored() {
    let (_, mut client, store) = ready().await;
    let store = store.snapshot_every(NonZeroU32::new(5));
    for number in 1..=12 {
        store.execute(&mut client, "bolt", &command(number, Want::Receive(1))).await.unwrap();
    }
    let kept = "SELECT revision FROM stock_events_snapshots";
    assert_eq!(client.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 10);
    let expected = store.replay(&*client, "bolt", Until::End).await.unwrap();
    assert_eq!(store.load(&*client, "bolt").await.unwrap(), expected);
    // that it is used at all: a good fingerprint of a wrong state
    let mut wrong = expected.state.clone();
    wrong.free = 1_000;
    let fingerprint = tidemill_connect::event_sourcing::Fingerprint::of(&wrong).unwrap();
    let sql = "UPDATE stock_events_snapshots SET state = $1, fingerprint = $2";
    let wrong = serde_json::to_string(&wrong).unwrap();
    client.execute(sql, &[&wrong, &fingerprint.to_string()]).await.unwrap();
    assert_eq!(store.load(&*client, "bolt").await.unwrap().state.free, 1_002);
    let audit = store.audit(&mut client).await.unwrap();
    assert_eq!((audit.passed(), audit.snapshots), (false, 1));
    assert!(audit.findings[0].contains("is not the fold of its events"), "{audit:?}");

    for (damage, ignored) in [
        ("state = '{\"free\":'", 1),
        ("state = '{\"free\":7,\"reserved\":{},\"shipped\":0}'", 1),
        ("schema_version = 2", 1),
        ("schema_version = 0", 1),
        ("revision = 11", 0),
        ("event_id = gen_random_uuid()", 0),
    ] {
        client.batch_execute("DELETE FROM stock_events_snapshots").await.unwrap();
        store.snapshot(&*client, "bolt").await.unwrap();
        client.batch_execute("DELETE FROM stock_events WHERE revision > 12").await.unwrap();
        let sql = format!("UPDATE stock_events_snapshots SET {damage}");
        client.batch_execute(&sql).await.unwrap();
        assert_eq!(store.load(&*client, "bolt").await.unwrap(), expected, "{damage}");
        let audit = store.audit(&mut client).await.unwrap();
        assert_eq!((audit.snapshots_ignored, audit.wrong), (ignored, 0), "{damage}: {audit:?}");
        // and the next one replaces it
        if damage == "schema_version = 0" {
            store.snapshot(&*client, "bolt").await.unwrap();
            assert_eq!(store.audit(&mut client).await.unwrap().snapshots, 1);
        }
    }
}

#[tokio::test]
async fn es4_old_events_fold_to_the_same_state() {
    let (_, mut client, store) = ready().await;
    let new = [received(12), reserved("a", 5), received(24)];
    let transaction = client.transaction().await.unwrap();
    let any = ExpectedVersion::Any;
    store.append(&transaction, "new", any, Uuid::from_u128(1), &new).await.unwrap();
    store.append(&transaction, "old", any, Uuid::from_u128(2), &new).await.unwrap();
    // what a program of the past wrote: dozens
    for (version, dozens) in [(1_i64, 1), (3, 2)] {
        let sql = "SELECT payload FROM stock_events WHERE aggregateid = 'old' AND revision = $1";
        let payload: Vec<u8> = transaction.query_one(sql, &[&version]).await.unwrap().get(0);
        let mut envelope: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        envelope["schema"] = json!(0);
        envelope["data"] = json!({"Received": {"dozens": dozens}});
        let payload = serde_json::to_vec(&envelope).unwrap();
        let sql = "UPDATE stock_events SET payload = $1
                    WHERE aggregateid = 'old' AND revision = $2";
        transaction.execute(sql, &[&payload, &version]).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let error = store.load(&*client, "old").await.unwrap_err();
    assert!(matches!(error, EventStoreError::Event { .. }), "{error}");
    assert!(!store.audit(&mut client).await.unwrap().passed());

    let store = store.with_upcasters(Upcasters::new().step("Received", 0, |old| {
        let dozens = old["Received"]["dozens"].as_i64().ok_or("no dozens")?;
        Ok(json!({"Received": {"pieces": dozens * 12}}))
    }));
    let (old, new) = (store.load(&*client, "old").await, store.load(&*client, "new").await);
    assert_eq!(old.unwrap(), new.unwrap());
    audit_passes(&mut client, &store).await;
}

#[tokio::test]
async fn a_stream_is_replayed_to_any_version_and_time() {
    let (_, mut client, store) = ready().await;
    for number in 1..=5 {
        store.execute(&mut client, "bolt", &command(number, Want::Receive(1))).await.unwrap();
    }
    let sql = "UPDATE stock_events SET created_at = to_timestamp(revision * 1000)";
    client.batch_execute(sql).await.unwrap();
    let mut found = Vec::new();
    for until in [
        Until::Version(Version::NONE),
        Until::Version(Version(3)),
        Until::Time(Timestamp(999_999)),
        Until::Time(Timestamp(1_000_000)),
        Until::Time(Timestamp(4_000_001)),
        Until::End,
    ] {
        let stream = store.replay(&*client, "bolt", until).await.unwrap();
        assert_eq!(stream.state.free, stream.version.0);
        found.push(stream.version.0);
    }
    assert_eq!(found, [0, 3, 0, 1, 4, 5]);
}

#[tokio::test]
async fn es8_a_gap_and_a_foreign_row_are_found() {
    let (_, mut client, store) = ready().await;
    for number in 1..=4 {
        store.execute(&mut client, "bolt", &command(number, Want::Receive(1))).await.unwrap();
        store.execute(&mut client, "nut", &command(number, Want::Receive(1))).await.unwrap();
    }
    let sql = "DELETE FROM stock_events WHERE aggregateid = 'bolt' AND revision = 2";
    client.batch_execute(sql).await.unwrap();
    let error = store.load(&*client, "bolt").await.unwrap_err();
    let gap =
        VersionError::VersionGap { stream: "bolt".to_owned(), last: Version(1), found: Version(3) };
    assert!(matches!(&error, EventStoreError::Version(found) if *found == gap), "{error}");
    assert!(!error.is_retriable());
    let refused = store.execute(&mut client, "bolt", &command(9, Want::Receive(1))).await;
    assert!(matches!(refused, Err(EventStoreError::Version(_))), "no decision on half a stream");

    // a copy of another stream's row: the columns say one thing, the payload another
    let sql = "UPDATE stock_events AS to_be SET payload = other.payload FROM stock_events AS other
                WHERE to_be.aggregateid = 'nut' AND to_be.revision = 3
                  AND other.aggregateid = 'nut' AND other.revision = 2";
    client.batch_execute(sql).await.unwrap();
    let error = store.load(&*client, "nut").await.unwrap_err();
    assert!(matches!(error, EventStoreError::Event { .. }), "{error}");
    let audit = store.audit(&mut client).await.unwrap();
    assert_eq!((audit.wrong, audit.streams, audit.events), (2, 2, 7), "{audit:?}");
    let text = audit.findings.join("\n");
    assert!(text.contains("goes from version 1 to 3"), "{text}");
    assert!(text.contains("its payload is that of version 2"), "{text}");
}

#[tokio::test]
async fn names_and_values_never_become_sql() {
    let (_, config) = new_database();
    let mut client = connect(&config).await.unwrap();
    let evil = "a\"; DROP TABLE x; --'$1\\";
    let store = PgEventStore::<Item>::new(TableName::new(evil).unwrap(), evil).unwrap();
    store.ensure_schema(&client).await.unwrap();
    store.execute(&mut client, evil, &command(1, reserve(evil, 0))).await.unwrap();
    store.snapshot(&*client, evil).await.unwrap();
    let stream = store.load(&*client, evil).await.unwrap();
    assert_eq!(stream.state.reserved[evil], 0);
    audit_passes(&mut client, &store).await;
}
