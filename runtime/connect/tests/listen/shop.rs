//! A shop: orders and points, in two databases, both fed by the topic of orders.

use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::client::ClientConfig;
use tidemill_connect::listen::{EmitError, Emitter, Event, SelfRead};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::sink::postgres::{PostgresTarget, PostgresWriter};
use tidemill_connect::sink::{Sink, SinkOptions};
use tidemill_connect::testing::{Broker, Child, PATIENCE, PgOptions, PgServer};
use uuid::Uuid;

pub(crate) fn server() -> &'static PgServer {
    static SERVER: OnceLock<PgServer> = OnceLock::new();
    SERVER.get_or_init(|| PgServer::start(PgOptions::default()).unwrap())
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderPlaced {
    pub(crate) event_id: Uuid,
    pub(crate) order: String,
    pub(crate) customer: String,
    pub(crate) points: i64,
}

impl OrderPlaced {
    /// The same order each time it is asked for, its id included: what a client resends.
    pub(crate) fn number(number: u64) -> Self {
        let order = format!("order-{number}");
        let event_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, order.as_bytes());
        let (customer, points) = (format!("customer-{}", number % 7), (number % 10) as i64 + 1);
        Self { event_id, order, customer, points }
    }
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "OrderPlaced";

    fn event_id(&self) -> Uuid {
        self.event_id
    }

    fn key(&self) -> String {
        self.order.clone()
    }
}

/// No constraint of these tables would hide a second effect.
const TABLES: &str = "CREATE TABLE orders (id text, customer text, points bigint);
    CREATE TABLE points (customer text PRIMARY KEY, points bigint NOT NULL);
    CREATE TABLE replied (number bigint)";

pub(crate) struct Shop {
    pub(crate) broker: Broker,
    pub(crate) topic: String,
    /// The order service's.
    pub(crate) orders: String,
    /// The rewards service's.
    pub(crate) rewards: String,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        let broker = Broker::shared();
        let topic = broker.topic("orders", 3).unwrap();
        let database = |name| server().new_database(name).unwrap();
        let shop = Self { broker, topic, orders: database("orders"), rewards: database("rewards") };
        for database in [&shop.orders, &shop.rewards] {
            client(database).await.batch_execute(TABLES).await.unwrap();
        }
        shop
    }

    pub(crate) fn kafka(&self, member: &str) -> ClientConfig {
        let mut config = self.broker.config();
        config.set("fetch.wait.max.ms", "50");
        if !member.is_empty() {
            // one that comes back does not wait for its old self to time out
            config.set("group.instance.id", member).set("session.timeout.ms", "6000");
        }
        config
    }

    pub(crate) fn emitter(&self) -> Emitter<OrderPlaced> {
        Emitter::new(&self.broker.config(), &self.topic).unwrap()
    }

    /// Names are unique by the topic's.
    pub(crate) fn consumer(&self, service: &str) -> String {
        format!("{service}-{}", self.topic)
    }

    pub(crate) fn order_service(&self, member: &str) -> Sink<PostgresTarget<impl PostgresWriter>> {
        let (kafka, database) = (self.kafka(member), self.orders.parse().unwrap());
        SelfRead::<OrderPlaced>::new(&kafka, &database, &self.consumer("orders"), &self.topic)
            .apply(|tx, placed| {
                Box::pin(async move {
                    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
                        [&placed.order, &placed.customer, &placed.points];
                    tx.execute("INSERT INTO orders VALUES ($1, $2, $3)", &values).await?;
                    Ok(())
                })
            })
            .options(options())
    }

    pub(crate) fn rewards_service(
        &self,
        member: &str,
    ) -> Sink<PostgresTarget<impl PostgresWriter>> {
        let (kafka, database) = (self.kafka(member), self.rewards.parse().unwrap());
        SelfRead::<OrderPlaced>::new(&kafka, &database, &self.consumer("rewards"), &self.topic)
            .apply(|tx, placed| {
                Box::pin(async move {
                    // adding is not idempotent: applied twice it would show
                    tx.execute(
                        "INSERT INTO points AS p VALUES ($1, $2)
                         ON CONFLICT (customer) DO UPDATE SET points = p.points + excluded.points",
                        &[&placed.customer, &placed.points],
                    )
                    .await?;
                    Ok(())
                })
            })
            .options(options())
    }

    /// Starts a service, or the client, as a process of its own.
    pub(crate) fn process(&self, part: &str, failpoint: &str, orders: u64) -> Child {
        let orders = orders.to_string();
        let variables = [
            ("SHOP_KAFKA", self.broker.address()),
            ("SHOP_TOPIC", &*self.topic),
            ("SHOP_ORDERS", &*self.orders),
            ("SHOP_REWARDS", &*self.rewards),
            ("SHOP_PART", part),
            ("SHOP_COUNT", &*orders),
            ("TIDEMILL_TEST_FAILPOINT", failpoint),
        ];
        Child::start("shop::shop_process", &variables).unwrap()
    }

    /// Waits until both services have applied all these orders, then checks that each was once.
    pub(crate) async fn verify(&self, orders: u64) {
        let expected = expected_points(orders);
        let (own, rewards) = (client(&self.orders).await, client(&self.rewards).await);
        until("all orders are there", async || {
            number(&own, "SELECT count(DISTINCT id) FROM orders").await as u64 >= orders
                && number(&rewards, "SELECT COALESCE(sum(points), 0)::bigint FROM points").await
                    >= expected
        })
        .await;
        // whatever comes again would come now: let both reach the end of the log
        let last = self.broker.committed(&self.topic).unwrap();
        for (database, service) in [(&self.orders, "orders"), (&self.rewards, "rewards")] {
            let positions = tidemill_connect::sink::postgres::AppliedPositions::new(
                &database.parse().unwrap(),
                "sink_offset",
                &self.consumer(service),
            );
            let positions = positions.unwrap();
            for record in &last {
                let partition = tidemill::record::TopicPartition::new(
                    &*self.topic,
                    tidemill::record::Partition(record.partition),
                );
                let offset = tidemill::record::Offset(record.offset);
                positions.applied_up_to(&partition, offset, PATIENCE).await.unwrap();
            }
        }
        assert_eq!(number(&own, "SELECT count(*) FROM orders").await as u64, orders, "duplicated");
        let sum = "SELECT sum(points)::bigint FROM";
        assert_eq!(number(&own, &format!("{sum} orders")).await, expected);
        assert_eq!(number(&rewards, &format!("{sum} points")).await, expected);
        let by_customer = "SELECT customer, sum(points)::bigint FROM orders
                            GROUP BY customer ORDER BY customer";
        let earned = "SELECT customer, points FROM points ORDER BY customer";
        assert_eq!(pairs(&own, by_customer).await, pairs(&rewards, earned).await);
    }
}

pub(crate) fn expected_points(orders: u64) -> i64 {
    (0..orders).map(|number| OrderPlaced::number(number).points).sum()
}

async fn pairs(client: &Connection, sql: &str) -> Vec<(String, i64)> {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

pub(crate) async fn client(database: &str) -> Connection {
    connect(&database.parse().unwrap()).await.unwrap()
}

pub(crate) async fn number(client: &Connection, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

pub(crate) fn options() -> SinkOptions {
    SinkOptions {
        batch_records: 20,
        retry_first: Duration::from_millis(20),
        retry_max: Duration::from_millis(300),
        housekeeping: Duration::from_millis(500),
        ..SinkOptions::default()
    }
}

pub(crate) async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !ask().await {
        assert!(std::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Emits an order as a client does: again and again, with the same id, until there is a receipt.
pub(crate) async fn place(
    emitter: &Emitter<OrderPlaced>,
    order: &OrderPlaced,
) -> tidemill_connect::listen::Receipt {
    loop {
        match emitter.emit(order).await {
            Ok(receipt) => return receipt,
            Err(EmitError::Unknown { .. } | EmitError::NotSent { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the body of a process that other tests start"]
async fn shop_process() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let shop = Shop {
        broker: Broker::at(&variable("SHOP_KAFKA")),
        topic: variable("SHOP_TOPIC"),
        orders: variable("SHOP_ORDERS"),
        rewards: variable("SHOP_REWARDS"),
    };
    match &*variable("SHOP_PART") {
        "orders" => shop.order_service("orders-1").run().await.unwrap(),
        "rewards" => shop.rewards_service("rewards-1").run().await.unwrap(),
        _ => {
            // what was not answered is asked again, with the same id
            let memory = client(&shop.orders).await;
            let emitter = shop.emitter();
            for order in 0..variable("SHOP_COUNT").parse().unwrap() {
                let sql = "SELECT count(*) FROM replied WHERE number = $1";
                let replied = memory.query_one(sql, &[&(order as i64)]).await.unwrap();
                if replied.get::<_, i64>(0) == 0 {
                    place(&emitter, &OrderPlaced::number(order)).await;
                    let sql = "INSERT INTO replied VALUES ($1)";
                    memory.execute(sql, &[&(order as i64)]).await.unwrap();
                }
            }
        }
    }
}
