//! A request that may be refused: decided once, by the own consumer, when it is applied.

use serde::{Deserialize, Serialize};
use tidemill_connect::listen::{Emitter, Event, SelfRead};
use tidemill_connect::sink::Sink;
use tidemill_connect::sink::postgres::{PostgresTarget, PostgresWriter};
use tidemill_connect::testing::{Broker, Child, PATIENCE};
use uuid::Uuid;

use super::shop::{client, number, options, server, until};

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

/// Stock for three of each item; facts are staged for the relay in the same transaction.
const TABLES: &str =
    "CREATE TABLE stock (item text PRIMARY KEY, left_over int CHECK (left_over >= 0));
    INSERT INTO stock SELECT 'item-' || n, 3 FROM generate_series(0, 3) AS n;
    CREATE TABLE facts (id bigint GENERATED ALWAYS AS IDENTITY, type text, order_id text)";

fn service(
    broker: &Broker,
    database: &str,
    topic: &str,
) -> Sink<PostgresTarget<impl PostgresWriter>> {
    let mut kafka = broker.config();
    kafka.set("group.instance.id", "stock-1").set("session.timeout.ms", "6000");
    let database = database.parse().unwrap();
    SelfRead::<OrderRequested>::new(&kafka, &database, &format!("stock-{topic}"), topic)
        .apply(|tx, requested| {
            Box::pin(async move {
                let taken = tx
                    .execute(
                        "UPDATE stock SET left_over = left_over - 1
                          WHERE item = $1 AND left_over > 0",
                        &[&requested.item],
                    )
                    .await?;
                let fact = if taken == 1 { "OrderPlaced" } else { "OrderRejected" };
                let sql = "INSERT INTO facts (type, order_id) VALUES ($1, $2)";
                tx.execute(sql, &[&fact, &requested.order]).await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn ly5_out_of_stock_is_one_rejection_and_no_stuck_partition() {
    let broker = Broker::shared();
    let topic = broker.topic("requests", 2).unwrap();
    let database = server().new_database("stock").unwrap();
    let own = client(&database).await;
    own.batch_execute(TABLES).await.unwrap();
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
    for failpoint in ["SK1B:1:kill", "SK1C:1:kill"] {
        assert!(!start(failpoint).wait(PATIENCE).unwrap().success(), "it was not killed");
    }
    let _service = start("");
    until("all are decided", async || {
        number(&own, "SELECT count(DISTINCT order_id) FROM facts").await == 20
    })
    .await;
    // the partitions go on behind the last rejection
    emitter.emit(&request(20)).await.unwrap();
    until("the next is decided", async || {
        number(&own, "SELECT count(*) FROM facts WHERE order_id = 'order-20'").await == 1
    })
    .await;
    let count = async |kind: &str| {
        number(&own, &format!("SELECT count(*) FROM facts WHERE type = '{kind}'")).await
    };
    assert_eq!((count("OrderPlaced").await, count("OrderRejected").await), (12, 9));
    assert_eq!(number(&own, "SELECT sum(left_over) FROM stock").await, 0);
}
