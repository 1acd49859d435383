//! One PostgreSQL, one broker, a ledger that shows every effect, and a sink as a process.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use tidemill::client::{ClientConfig, Outgoing, Producer, SendError};
use tidemill::record::{Headers, Offset, Partition, Timestamp, TopicPartition};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::sink::postgres::{AppliedPositions, PostgresTarget, PostgresWriter};
use tidemill_connect::sink::{OnPoison, PostgresSink, Sink, SinkHandle, SinkOptions};
use tidemill_connect::testing::{Broker, Child, PATIENCE, PgOptions, PgServer, unique};
use tokio_postgres::Config;

pub(crate) fn server() -> &'static PgServer {
    static SERVER: OnceLock<PgServer> = OnceLock::new();
    SERVER.get_or_init(|| PgServer::start(PgOptions::default()).unwrap())
}

/// A topic, a database with a ledger, and a sink's name.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) database: String,
    pub(crate) topic: String,
    pub(crate) sink: String,
}

/// Nothing in it makes a repetition harmless: each effect is one more row.
const LEDGER: &str = "CREATE TABLE ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text, partition int, record_offset bigint, amount bigint NOT NULL CHECK (amount < 1000))";

impl Stage {
    pub(crate) async fn new(partitions: i32) -> Self {
        let broker = Broker::shared();
        let topic = broker.topic("payments", partitions).unwrap();
        let database = server().new_database("ledger").unwrap();
        let stage = Self { broker, database, topic, sink: unique("sink") };
        stage.make_ledger().await;
        stage
    }

    pub(crate) async fn make_ledger(&self) {
        self.client().await.batch_execute(LEDGER).await.unwrap();
    }

    pub(crate) fn config(&self) -> Config {
        self.database.parse().unwrap()
    }

    pub(crate) async fn client(&self) -> Connection {
        connect(&self.config()).await.unwrap()
    }

    pub(crate) fn at(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(&*self.topic, Partition(partition))
    }

    /// A sink into the ledger, with these settings of the Kafka client.
    pub(crate) fn sink(&self, kafka: &[(&str, &str)]) -> Sink<PostgresTarget<impl PostgresWriter>> {
        ledger_sink(self.postgres(kafka))
    }

    pub(crate) fn postgres(&self, kafka: &[(&str, &str)]) -> PostgresSink {
        let mut config = self.broker.config();
        config.set("fetch.wait.max.ms", "50");
        for (name, value) in kafka {
            config.set(*name, *value);
        }
        PostgresSink::new(&config, &self.config(), &self.sink).topics([&*self.topic])
    }

    /// Starts the sink as a process of its own.
    pub(crate) fn process(&self, failpoint: &str, more: &[(&str, &str)]) -> Child {
        let mut variables = vec![
            ("SINK_KAFKA", self.broker.address()),
            ("SINK_DATABASE", &*self.database),
            ("SINK_TOPIC", &*self.topic),
            ("SINK_NAME", &*self.sink),
            ("TIDEMILL_TEST_FAILPOINT", failpoint),
        ];
        variables.extend(more);
        Child::start("support::sink_process", &variables).unwrap()
    }

    /// The last record of each partition that is committed now.
    fn last(&self) -> BTreeMap<TopicPartition, Offset> {
        let seen = self.broker.committed(&self.topic).unwrap();
        seen.iter().map(|one| (self.at(one.partition), Offset(one.offset))).collect()
    }

    /// Waits until this sink knows that it has applied everything that is committed now.
    pub(crate) async fn told(&self, handle: &SinkHandle) {
        for (partition, offset) in self.last() {
            handle.applied_up_to(&partition, offset).await.unwrap();
        }
    }

    /// Waits until the sink has applied everything that is committed now.
    pub(crate) async fn drained(&self) {
        let positions = AppliedPositions::new(&self.config(), "sink_offset", &self.sink).unwrap();
        for (partition, offset) in self.last() {
            positions.applied_up_to(&partition, offset, PATIENCE).await.unwrap();
        }
    }

    /// Compares the ledger with the log: nothing lost, nothing twice, order kept. Returns how many
    /// effects there are.
    pub(crate) async fn verify(&self) -> usize {
        self.verify_without(|_| false).await
    }

    /// The same, where some records are to have no effect.
    pub(crate) async fn verify_without(&self, skipped: impl Fn(i64) -> bool) -> usize {
        let log: Vec<(i32, i64, i64)> = self
            .broker
            .committed(&self.topic)
            .unwrap()
            .into_iter()
            .map(|record| (record.partition, record.offset, record.value_text().parse().unwrap()))
            .filter(|(_, _, amount)| !skipped(*amount))
            .collect();
        let sql = "SELECT partition, record_offset, amount FROM ledger ORDER BY partition, id";
        let rows = self.client().await.query(sql, &[]).await.unwrap();
        let ledger: Vec<(i32, i64, i64)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        if ledger != log {
            let lost = log.iter().filter(|one| !ledger.contains(one)).count();
            let distinct: std::collections::BTreeSet<_> = ledger.iter().collect();
            let duplicated = ledger.len() - distinct.len();
            panic!("lost={lost} duplicated={duplicated} of {}, or out of order", log.len());
        }
        ledger.len()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Sends amounts, one after the other over the partitions, outside of transactions.
    pub(crate) fn send(&self, amounts: impl IntoIterator<Item = i64>) {
        let amounts = amounts.into_iter().map(|amount| (None, amount.to_string()));
        send(&self.broker, &self.topic, amounts);
    }
}

pub(crate) fn ledger_sink(sink: PostgresSink) -> Sink<PostgresTarget<impl PostgresWriter>> {
    let sink = sink.with(|tx, records| {
        Box::pin(async move {
            for record in records {
                let amount: i64 = record.json()?;
                tx.execute(
                    "INSERT INTO ledger (topic, partition, record_offset, amount)
                     VALUES ($1, $2, $3, $4)",
                    &[&&*record.topic, &record.partition.0, &record.offset.0, &amount],
                )
                .await?;
            }
            Ok(())
        })
    });
    sink.options(options())
}

/// As by default, but small and quick.
pub(crate) fn options() -> SinkOptions {
    SinkOptions {
        batch_records: 50,
        retry_first: Duration::from_millis(20),
        retry_max: Duration::from_millis(300),
        housekeeping: Duration::from_millis(500),
        patience: Duration::from_secs(5),
        ..SinkOptions::default()
    }
}

/// Sends keys and values. Records without a key go round the partitions one by one.
pub(crate) fn send(
    broker: &Broker,
    topic: &str,
    records: impl IntoIterator<Item = (Option<String>, String)>,
) {
    let mut config = broker.config();
    config.set("partitioner", "murmur2_random").set("sticky.partitioning.linger.ms", "0");
    config.set("enable.idempotence", "true");
    let mut producer = Producer::new(&config).unwrap();
    for (key, value) in records {
        send_one(&mut producer, topic, None, key.as_deref(), Some(&value));
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.delivery_error(), None);
}

pub(crate) fn send_one(
    producer: &mut Producer,
    topic: &str,
    partition: Option<i32>,
    key: Option<&str>,
    value: Option<&str>,
) {
    send_with(producer, topic, partition, key, value, &Headers::new());
}

pub(crate) fn send_with(
    producer: &mut Producer,
    topic: &str,
    partition: Option<i32>,
    key: Option<&str>,
    value: Option<&str>,
    headers: &Headers,
) {
    let topic = producer.topic(topic).unwrap();
    let record = Outgoing {
        topic,
        partition: partition.map(Partition),
        key: key.map(str::as_bytes),
        value: value.map(str::as_bytes),
        timestamp: Timestamp(1),
        headers,
        position: None,
    };
    while let Err(error) = producer.send(&record) {
        assert_eq!(error, SendError::QueueFull);
        producer.poll(Duration::from_millis(10));
    }
}

pub(crate) fn transactional(broker: &Broker, id: &str) -> Producer {
    let mut config: ClientConfig = broker.config();
    config.set("transactional.id", id);
    let mut producer = Producer::new(&config).unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

/// Waits for the sink to end, and returns its error with all causes.
pub(crate) async fn failure(handle: SinkHandle) -> String {
    let ended = tokio::time::timeout(PATIENCE, handle.ended()).await;
    let error = ended.expect("the sink goes on").expect_err("a sink ends by an error only");
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(" <- ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Looks again and again until the question is answered with true.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, ask: impl Fn() -> F) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !ask().await {
        assert!(std::time::Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How often the long tests kill.
pub(crate) fn kills() -> u32 {
    std::env::var("TIDEMILL_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the body of a process that other tests start"]
async fn sink_process() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let stage = Stage {
        broker: Broker::at(&variable("SINK_KAFKA")),
        database: variable("SINK_DATABASE"),
        topic: variable("SINK_TOPIC"),
        sink: variable("SINK_NAME"),
    };
    let instance = match &*variable("SINK_MEMBER") {
        "" => stage.sink.clone(),
        member => member.to_owned(),
    };
    // a static member that comes back does not wait for its old self to time out
    let kafka = [("group.instance.id", &*instance), ("session.timeout.ms", "6000")];
    let idle =
        variable("SINK_IDLE_MS").parse().map_or(Duration::from_secs(10), Duration::from_millis);
    let poison =
        if variable("SINK_DEAD_LETTERS") == "yes" { OnPoison::DeadLetter } else { OnPoison::Halt };
    let sink = ledger_sink(stage.postgres(&kafka).idle_limit(idle));
    sink.on_poison(poison).run().await.unwrap();
}
