//! A request that may be refused: decided once, by the own consumer, when it is applied.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidemill_connect::listen::{Emitter, Event, SelfRead};
use tidemill_connect::outbox::{
    MessageRelay, MessageRelayHandle, Outbox, OutboxEvent, PollingOutbox,
};
use tidemill_connect::sink::Sink;
use tidemill_connect::sink::postgres::{PostgresTarget, PostgresWriter};
use tidemill_connect::testing::{Broker, Child, PATIENCE, unique};
use uuid::Uuid;

use super::shop::{client, number, options, server};

#[derive(Debug, Serialize, Deserialize)]
struct OrderRequested {
    event_id: Uuid,
    order: String,
    item: String,
}

impl Event for OrderRequested {
    const TYPE: &'static str = "OrderRequested";

    fn event_id(&self) -> Uuid {
        self.event_id
    }

    fn key(&self) -> String {
        self.item.clone()
    }
}

fn request(number: u128) -> OrderRequested {
    let item = format!("item-{}", number % 4);
    OrderRequested { event_id: Uuid::from_u128(number), order: format!("order-{number}"), item }
}

/// Stock for three of each item.
const TABLES: &str =
    "CREATE TABLE stock (item text PRIMARY KEY, left_over int CHECK (left_over >= 0));
    INSERT INTO stock SELECT 'item-' || n, 3 FROM generate_series(0, 3) AS n";

/// Where the facts go: what was decided, for everybody.
fn facts(topic: &str) -> Outbox {
    Outbox::new("facts").unwrap().topic_by_aggregate_type(&format!("facts-{topic}")).unwrap()
}

fn service(
    broker: &Broker,
    database: &str,
    topic: &str,
) -> Sink<PostgresTarget<impl PostgresWriter>> {
    let mut kafka = broker.config();
    kafka.set("group.instance.id", "stock-1").set("session.timeout.ms", "6000");
    let (database, topic_of_facts) = (database.parse().unwrap(), topic.to_owned());
    SelfRead::<OrderRequested>::new(&kafka, &database, &format!("stock-{topic}"), topic)
        .apply(move |tx, requested| {
            let outbox = facts(&topic_of_facts);
            Box::pin(async move {
                let taken = tx
                    .execute(
                        "UPDATE stock SET left_over = left_over - 1
                          WHERE item = $1 AND left_over > 0",
                        &[&requested.item],
                    )
                    .await?;
                let fact = if taken == 1 { "OrderPlaced" } else { "OrderRejected" };
                let fact = OutboxEvent::json("order", &requested.order, fact, &requested.item)?;
                outbox.insert(tx, &[fact]).await?;
                Ok(())
            })
        })
        .options(options())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the body of a process that other tests start"]
async fn stock_process() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let broker = Broker::at(&variable("STOCK_KAFKA"));
    let sink = service(&broker, &variable("STOCK_DATABASE"), &variable("STOCK_TOPIC"));
    sink.run().await.unwrap();
}

fn relay(broker: &Broker, database: &str, topic: &str) -> MessageRelayHandle {
    let source = PollingOutbox::new(database.parse().unwrap(), facts(topic));
    let relay = MessageRelay::builder(&unique("facts-relay"))
        .source(source)
        .kafka(broker.config())
        .positions_topic(&unique("facts-positions"))
        .replication_factor(1);
    relay.build().unwrap().spawn().unwrap()
}

/// Waits until so many orders are decided, and returns all that was said: order and fact.
fn decided(broker: &Broker, topic: &str, orders: usize) -> Vec<(String, String)> {
    tidemill_connect::testing::until("all are decided", || {
        let seen = broker.committed(&format!("facts-{topic}")).unwrap();
        let facts = seen.iter().map(|seen| (seen.key_text(), seen.header("type").unwrap()));
        let facts: Vec<_> = facts.collect();
        let distinct: BTreeSet<&String> = facts.iter().map(|(order, _)| order).collect();
        (distinct.len() >= orders).then(|| facts.clone())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn ly5_out_of_stock_is_one_rejection_and_no_stuck_partition() {
    let broker = Broker::shared();
    let topic = broker.topic("requests", 2).unwrap();
    broker.create(&format!("facts-{topic}"), 2, &[]).unwrap();
    let database = server().new_database("stock").unwrap();
    let mut own = client(&database).await;
    own.batch_execute(TABLES).await.unwrap();
    facts(&topic).ensure_schema(&mut own).await.unwrap();
    let start = |failpoint: &str| {
        let variables = [
            ("STOCK_KAFKA", broker.address()),
            ("STOCK_DATABASE", &*database),
            ("STOCK_TOPIC", &*topic),
            ("TIDEMILL_TEST_FAILPOINT", failpoint),
        ];
        Child::start("requests::stock_process", &variables).unwrap()
    };
    let emitter = Emitter::new(&broker.config(), &topic).unwrap();
    // 20 requests for 12 pieces, every third of them sent twice
    for number in 0..20 {
        for _ in 0..if number % 3 == 0 { 2 } else { 1 } {
            emitter.emit(&request(number)).await.unwrap();
        }
    }
    let relay = relay(&broker, &database, &topic);
    for failpoint in ["SK1B:1:kill", "SK1C:1:kill"] {
        assert!(!start(failpoint).wait(PATIENCE).unwrap().success(), "it was not killed");
    }
    let _service = start("");
    decided(&broker, &topic, 20);
    // the partitions go on behind the last rejection
    emitter.emit(&request(20)).await.unwrap();
    let facts = decided(&broker, &topic, 21);
    assert_eq!(facts.len(), 21, "an order is decided twice: {facts:?}");
    let count = |kind: &str| facts.iter().filter(|(_, fact)| fact == kind).count();
    assert_eq!((count("OrderPlaced"), count("OrderRejected")), (12, 9));
    assert_eq!(number(&own, "SELECT sum(left_over) FROM stock").await, 0);
    relay.stop();
    relay.wait().unwrap();
}
