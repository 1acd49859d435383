//! The table published as an outbox: every event once in the topic, in the order of its stream,
//! while the relay is killed; and what stops the relay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_connect::event_sourcing::{
    EventLog, EventStoreError, EventTableSource, ExpectedVersion, Stream, Until,
};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::source::{RelayError, SourceRunner, Stop};
use tidemill_connect::testing::{Broker, Child, unique, until};
use tokio_postgres::Config;
use uuid::Uuid;

use crate::pg::{new_database, store};
use crate::stock::{Item, Stock, received};

struct Publishing {
    broker: Broker,
    database: String,
    config: Config,
    client: Connection,
    topic: String,
    positions: String,
    relay: String,
}

fn runner(
    (kafka, database): (&Broker, &str),
    (relay, topic, positions): (&str, &str, &str),
) -> SourceRunner<EventTableSource<Item>> {
    let source = EventTableSource::new(database.parse().unwrap(), store(), topic);
    SourceRunner::new(relay, source, kafka.config(), positions)
}

impl Publishing {
    async fn begin() -> Self {
        let broker = Broker::shared();
        let topic = broker.topic("published", 3).unwrap();
        let (database, config) = new_database();
        let client = connect(&config).await.unwrap();
        store().ensure_schema(&client).await.unwrap();
        let (positions, relay) = (unique("positions"), unique("relay"));
        Self { broker, database, config, client, topic, positions, relay }
    }

    fn child(&self) -> Child {
        let variables = [
            ("RELAY_KAFKA", self.broker.address()),
            ("RELAY_DATABASE", &*self.database),
            ("RELAY_NAME", &*self.relay),
            ("RELAY_TOPIC", &*self.topic),
            ("RELAY_POSITIONS", &*self.positions),
        ];
        Child::start("published::relay_process", &variables).unwrap()
    }

    async fn append(&mut self, item: &str, events: i64) {
        let transaction = self.client.transaction().await.unwrap();
        let events: Vec<_> = (0..events).map(received).collect();
        let id = Uuid::from_u128(fastrand::u128(..));
        let any = ExpectedVersion::Any;
        store().append(&transaction, item, any, id, &events).await.unwrap();
        transaction.commit().await.unwrap();
    }

    async fn count(&self) -> usize {
        let row = self.client.query_one("SELECT count(*) FROM stock_events", &[]).await.unwrap();
        usize::try_from(row.get::<_, i64>(0)).unwrap()
    }

    /// Runs a relay in this process until everything is published, or it stops.
    async fn publish(&self) -> Result<(), RelayError> {
        let expected = self.count().await;
        let names = (&*self.relay, &*self.topic, &*self.positions);
        let handle = runner((&self.broker, &self.database), names).spawn().unwrap();
        let (broker, topic) = (self.broker.clone(), self.topic.clone());
        tokio::task::spawn_blocking(move || {
            until("all events", || {
                let done = broker.committed(&topic).unwrap().len() >= expected;
                (done || handle.is_ended()).then_some(())
            });
            handle.stop();
            handle.wait()
        })
        .await
        .unwrap()
    }

    /// The topic has each event once, and its folds are those of the table.
    async fn verify(&self) {
        let seen = self.broker.committed(&self.topic).unwrap();
        assert_eq!(seen.len(), self.count().await, "lost or duplicated");
        assert!(seen.iter().all(|seen| seen.header("id").is_some()));
        let log = EventLog::new(self.broker.config(), &*self.topic);
        // fails on any event that is missing, twice, or out of order
        let published: BTreeMap<String, Stream<Stock>> = log.replay::<Item>(Until::End).unwrap();
        let sql = "SELECT DISTINCT aggregateid FROM stock_events";
        let rows = self.client.query(sql, &[]).await.unwrap();
        assert_eq!(published.len(), rows.len());
        for row in rows {
            let item: String = row.get(0);
            let loaded = store().load(&*self.client, &item).await.unwrap();
            assert_eq!(published[&item], loaded);
        }
    }
}

/// Publishes until it is killed.
#[test]
#[ignore = "the body of a process that other tests start"]
fn relay_process() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let broker = Broker::at(&variable("RELAY_KAFKA"));
    let names =
        (&*variable("RELAY_NAME"), &*variable("RELAY_TOPIC"), &*variable("RELAY_POSITIONS"));
    runner((&broker, &variable("RELAY_DATABASE")), names).run_until(&Stop::new()).unwrap();
}

async fn write(config: Config, stop: Arc<AtomicBool>, seed: u64) {
    let mut client = connect(&config).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    while !stop.load(Ordering::Relaxed) {
        let transaction = client.transaction().await.unwrap();
        if rng.bool() {
            transaction.execute("SELECT pg_current_xact_id()", &[]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(rng.u64(..5))).await;
        }
        let item = format!("item-{}", rng.u8(..8));
        let events: Vec<_> = (0..rng.i64(1..4)).map(received).collect();
        let id = Uuid::from_u128(rng.u128(..));
        match store().append(&transaction, &item, ExpectedVersion::Any, id, &events).await {
            Ok(_) | Err(EventStoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if rng.u8(..6) > 0 {
            transaction.commit().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(..5))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn chaos_event_store_published() {
    let kills = std::env::var("TIDEMILL_TEST_KILLS").ok();
    let kills: u64 = kills.map_or(8, |kills| kills.parse().unwrap());
    let publishing = Publishing::begin().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|seed| tokio::spawn(write(publishing.config.clone(), Arc::clone(&stop), seed)))
        .collect();
    for _ in 0..kills {
        let mut child = publishing.child();
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..700))).await;
        assert!(child.ended().unwrap().is_none(), "the relay ended by itself");
        child.kill().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    publishing.publish().await.unwrap();
    publishing.verify().await;
    println!("{kills} kills: {} events, lost=0 duplicated=0", publishing.count().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn es7_a_relay_goes_on_where_it_stopped_and_refuses_every_doubt() {
    let mut publishing = Publishing::begin().await;
    publishing.append("bolt", 1500).await;
    publishing.append("nut", 3).await;
    publishing.publish().await.unwrap();
    publishing.append("bolt", 3).await;
    publishing.publish().await.unwrap();
    publishing.verify().await;

    // the position is gone
    let positions = std::mem::replace(&mut publishing.positions, unique("positions"));
    let text = |error: RelayError| {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        text
    };
    publishing.append("bolt", 1).await;
    let refused = text(publishing.publish().await.unwrap_err());
    assert!(refused.contains("the position is missing"), "{refused}");
    publishing.positions = positions;
    // the tables came from elsewhere
    let sql = "UPDATE stock_events_cluster SET system_identifier = 'elsewhere'";
    publishing.client.batch_execute(sql).await.unwrap();
    let refused = text(publishing.publish().await.unwrap_err());
    assert!(refused.contains("belongs to cluster elsewhere"), "{refused}");
    let sql = "UPDATE stock_events_cluster SET system_identifier =
                   (SELECT system_identifier::text FROM pg_control_system())";
    publishing.client.batch_execute(sql).await.unwrap();
    publishing.publish().await.unwrap();
    publishing.verify().await;
}
