//! Orchestrator and participants as processes of their own, and what the test sees of them.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidemill::client::{Outgoing, Producer};
use tidemill::dsl::StreamsBuilder;
use tidemill::record::{Headers, Timestamp};
use tidemill::{Config, Tidemill};
use tidemill_connect::postgres::{Connection, TableName, connect};
use tidemill_connect::saga::participant::{ParticipantService, PgParticipant, ServiceOptions};
use tidemill_connect::saga::{OrchestrateSagas, Outcome, Status, Transition};
use tidemill_connect::testing::{Broker, Child, PATIENCE, PgOptions, PgServer, unique};

use crate::checkout::{SERVICES, effect, prepare, saga, topics};
use crate::order::Order;

const PARTITIONS: i32 = 2;

/// A shop of one test: topics, a database, and processes.
pub(crate) struct Shop {
    pub(crate) broker: Broker,
    pub(crate) prefix: String,
    pub(crate) database: String,
    folder: TempDir,
    timeout: Duration,
    attempts: u32,
}

/// What the processes have to say, if RUST_LOG asks for it.
fn tell() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// The body of the orchestrator's process.
#[test]
#[ignore = "the body of a process that other tests start"]
fn orchestrator_process() {
    tell();
    let variable = |name: &str| std::env::var(name).unwrap();
    let prefix = variable("SAGA_PREFIX");
    let timeout = Duration::from_millis(variable("SAGA_TIMEOUT").parse().unwrap());
    let attempts = variable("SAGA_ATTEMPTS").parse().unwrap();
    let builder = StreamsBuilder::new();
    let _ = builder.saga(&saga(&prefix, timeout, attempts), &topics(&prefix));
    let config = Config::new(&prefix, variable("SAGA_KAFKA"))
        .with_state_dir(variable("SAGA_STATE"))
        .with_commit_interval(Duration::from_millis(20))
        .with_session_timeout(Duration::from_secs(6))
        .with_heartbeat_interval(Duration::from_secs(2));
    let mut application = Tidemill::new(builder.build().unwrap(), config).unwrap();
    application.start().unwrap();
    loop {
        std::thread::park_timeout(PATIENCE);
    }
}

/// The body of a process with all participants, or with some.
#[test]
#[ignore = "the body of a process that other tests start"]
fn participants_process() {
    tell();
    let variable = |name: &str| std::env::var(name).unwrap();
    let prefix = variable("SAGA_PREFIX");
    let services: Vec<ParticipantService> = variable("SAGA_SERVICES")
        .split(',')
        .map(|service| {
            let kafka = Broker::at(&variable("SAGA_KAFKA")).config();
            let database = variable("SAGA_DATABASE").parse().unwrap();
            let topic = format!("{prefix}-{service}");
            let mut options = ServiceOptions::new(kafka, database, &topic, &topic)
                .session_timeout(Duration::from_secs(6));
            if let Ok(instance) = std::env::var("SAGA_INSTANCE") {
                options = options.instance(instance);
            }
            let table = TableName::new(&format!("{service}_commands")).unwrap();
            let participant = PgParticipant::new(table).unwrap();
            ParticipantService::start(options, participant, effect).unwrap()
        })
        .collect();
    while services.iter().all(ParticipantService::is_running) {
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// The server that the tests of this program share.
fn server() -> &'static PgServer {
    static SERVER: OnceLock<PgServer> = OnceLock::new();
    SERVER.get_or_init(|| PgServer::start(PgOptions::default()).unwrap())
}

impl Shop {
    pub(crate) async fn open(timeout: Duration, attempts: u32) -> Self {
        let (broker, prefix) = (Broker::shared(), unique("shop"));
        let news = ["requests", "replies", "outcomes", "transitions"];
        for topic in news.iter().chain(&SERVICES) {
            broker.create(&format!("{prefix}-{topic}"), PARTITIONS, &[]).unwrap();
        }
        let database = server().new_database("shop").unwrap();
        prepare(&database.parse().unwrap()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { broker, prefix, database, folder, timeout, attempts }
    }

    pub(crate) async fn connect(&self) -> Connection {
        connect(&self.database.parse().unwrap()).await.unwrap()
    }

    fn start(&self, test: &str, failpoint: &str, more: &[(&str, &str)]) -> Child {
        let state = self.folder.path().join("state");
        let (timeout, attempts) = (self.timeout.as_millis().to_string(), self.attempts.to_string());
        let mut variables = vec![
            ("SAGA_PREFIX", &*self.prefix),
            ("SAGA_KAFKA", self.broker.address()),
            ("SAGA_DATABASE", &self.database),
            ("SAGA_STATE", state.to_str().unwrap()),
            ("SAGA_TIMEOUT", &timeout),
            ("SAGA_ATTEMPTS", &attempts),
            ("TIDEMILL_TEST_FAILPOINT", failpoint),
        ];
        variables.extend(more);
        Child::start(&format!("processes::{test}"), &variables).unwrap()
    }

    /// Starts the orchestrator, armed with a fail point or with none.
    pub(crate) fn orchestrator(&self, failpoint: &str) -> Child {
        self.start("orchestrator_process", failpoint, &[])
    }

    /// Starts participants in one process.
    pub(crate) fn participants(&self, services: &[&str], failpoint: &str) -> Child {
        let services = services.join(",");
        self.start("participants_process", failpoint, &[("SAGA_SERVICES", &services)])
    }

    /// Starts all participants in one process that is known to its groups, so that it goes on at
    /// once when it comes back.
    pub(crate) fn known_participants(&self, failpoint: &str) -> Child {
        let more = [("SAGA_SERVICES", &*SERVICES.join(",")), ("SAGA_INSTANCE", "1")];
        self.start("participants_process", failpoint, &more)
    }

    /// Requests sagas.
    pub(crate) fn request(&self, orders: &[(String, Order)]) {
        let mut config = self.broker.config();
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        let mut producer = Producer::new(&config).unwrap();
        let topic = producer.topic(&format!("{}-requests", self.prefix)).unwrap();
        for (id, order) in orders {
            let record = Outgoing {
                topic,
                partition: None,
                key: Some(id.as_bytes()),
                value: Some(&serde_json::to_vec(order).unwrap()),
                timestamp: Timestamp(1),
                headers: &Headers::new(),
                position: None,
            };
            producer.send(&record).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        assert_eq!(producer.delivery_error(), None);
    }

    /// How the sagas ended so far, as a read_committed reader sees it. No saga ends twice.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, Status> {
        let mut ends = BTreeMap::new();
        for seen in self.broker.committed(&format!("{}-outcomes", self.prefix)).unwrap() {
            let outcome: Outcome<Order> = serde_json::from_str(&seen.value_text()).unwrap();
            let before = ends.insert(seen.key_text(), outcome.status);
            assert_eq!(before, None, "{} ended twice", seen.key_text());
        }
        ends
    }

    pub(crate) fn transitions(&self) -> Vec<Transition> {
        let seen = self.broker.committed(&format!("{}-transitions", self.prefix)).unwrap();
        seen.iter().map(|seen| serde_json::from_str(&seen.value_text()).unwrap()).collect()
    }

    /// Waits until so many sagas ended: for as long as something happens.
    pub(crate) fn until_ended(&self, count: usize) -> BTreeMap<String, Status> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let ends = self.outcomes();
            if ends.len() >= count {
                return ends;
            }
            if ends.len() > last {
                (last, since) = (ends.len(), Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "{last} of {count} sagas ended, and no more do");
            // a look costs the broker more than the sagas do
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the database says so.
    pub(crate) async fn until_count(&self, sql: &str, count: i64) {
        let client = self.connect().await;
        let deadline = Instant::now() + PATIENCE;
        while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) != count {
            assert!(Instant::now() < deadline, "{sql} is not {count}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What is there and what sagas hold is what was there; sagas hold what they should: all of
    /// those that are completed, nothing else; and the shop knows.
    pub(crate) async fn verify(&self, ends: &BTreeMap<String, Status>) {
        let client = self.connect().await;
        let sql = "SELECT count(*) FROM account LEFT JOIN (
                       SELECT service, whose, sum(amount) AS held FROM holding GROUP BY 1, 2
                   ) AS held USING (service, whose)
                   WHERE free + coalesce(held, 0) <> $1::bigint";
        let wrong: i64 = client.query_one(sql, &[&crate::checkout::INITIAL]).await.unwrap().get(0);
        assert_eq!(wrong, 0, "accounts that do not add up");
        let completed: Vec<&String> =
            ends.iter().filter(|(_, end)| **end == Status::Completed).map(|(id, _)| id).collect();
        for (what, sql) in [
            ("points", "SELECT saga_id FROM holding WHERE service = 'points'"),
            ("payments", "SELECT saga_id FROM holding WHERE service = 'payments'"),
            ("orders", "SELECT saga_id FROM shop_order WHERE status = 'CONFIRMED'"),
        ] {
            let rows = client.query(&format!("{sql} ORDER BY saga_id"), &[]).await.unwrap();
            let mut found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            found.sort();
            assert_eq!(found.iter().collect::<Vec<_>>(), completed, "{what}");
        }
        let sql = "SELECT count(*) FROM shop_order WHERE status = 'PENDING'";
        let pending: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(pending, 0, "orders in between");
    }
}
