//! A shop: accounts with versions in a database, an outbox beside them, and what must be in Kafka.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tidemill_connect::outbox::{
    MessageRelay, MessageRelayBuilder, MessageRelayHandle, Outbox, OutboxEvent, OutboxPosition,
    PollingOutbox,
};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::source::{BatchLimits, PositionAdmin, RelayError, Stop};
use tidemill_connect::testing::{Broker, PgOptions, PgServer, unique, until};
use tokio::runtime::Runtime;

/// One server for all tests that do not break theirs.
pub(crate) fn server() -> &'static PgServer {
    static SERVER: OnceLock<PgServer> = OnceLock::new();
    SERVER.get_or_init(|| PgServer::start(PgOptions::default()).unwrap())
}

/// Accounts, each with a version that only grows: event n of an account tells of its version n, so
/// the table of accounts is the truth about all events.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    pub(crate) database: String,
    pub(crate) broker: Broker,
    pub(crate) relay: String,
    pub(crate) positions: String,
    /// Topics are this, a dot and the aggregate's type.
    pub(crate) prefix: String,
}

pub(crate) struct Verdict {
    pub(crate) events: usize,
    pub(crate) lost: usize,
    pub(crate) duplicated: usize,
    pub(crate) misordered: usize,
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(work)
}

impl Shop {
    pub(crate) fn new(name: &str) -> Self {
        Self::in_database(&server().new_database(name).unwrap())
    }

    pub(crate) fn in_database(database: &str) -> Self {
        Self::on(database, Broker::shared())
    }

    pub(crate) fn on(database: &str, broker: Broker) -> Self {
        let shop = Self {
            database: database.to_owned(),
            broker,
            relay: unique("relay"),
            positions: unique("positions"),
            prefix: unique("shop"),
        };
        shop.broker.create(&shop.topic(), 3, &[]).unwrap();
        block_on(async {
            let mut client = shop.connect().await;
            shop.outbox().ensure_schema(&mut client).await.unwrap();
            let sql = "CREATE TABLE account (id text PRIMARY KEY, version bigint NOT NULL)";
            client.batch_execute(sql).await.unwrap();
        });
        shop
    }

    /// As a process finds it that another one told.
    pub(crate) fn from_environment() -> Self {
        let get = |name: &str| std::env::var(name).unwrap();
        Self {
            database: get("SHOP_DATABASE"),
            broker: Broker::at(&get("SHOP_BROKER")),
            relay: get("SHOP_RELAY"),
            positions: get("SHOP_POSITIONS"),
            prefix: get("SHOP_PREFIX"),
        }
    }

    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        vec![
            ("SHOP_DATABASE", &self.database),
            ("SHOP_BROKER", self.broker.address()),
            ("SHOP_RELAY", &self.relay),
            ("SHOP_POSITIONS", &self.positions),
            ("SHOP_PREFIX", &self.prefix),
        ]
    }

    pub(crate) async fn connect(&self) -> Connection {
        connect(&self.database.parse().unwrap()).await.unwrap()
    }

    pub(crate) fn topic(&self) -> String {
        format!("{}.account", self.prefix)
    }

    pub(crate) fn outbox(&self) -> Outbox {
        let template = format!("{}.{{aggregatetype}}", self.prefix);
        Outbox::new("outbox").unwrap().topic_by_aggregate_type(&template).unwrap()
    }

    pub(crate) fn builder(&self) -> MessageRelayBuilder<PollingOutbox> {
        self.builder_of(self.outbox())
    }

    pub(crate) fn builder_of(&self, outbox: Outbox) -> MessageRelayBuilder<PollingOutbox> {
        let source = PollingOutbox::new(self.database.parse().unwrap(), outbox);
        MessageRelay::builder(&self.relay)
            .source(source)
            .kafka(self.broker.config())
            .positions_topic(&self.positions)
            .replication_factor(1)
            .batch(BatchLimits { wait: Duration::from_millis(50), ..BatchLimits::default() })
    }

    /// Runs a relay until the table is empty, that is, all of it is published and cleaned up.
    pub(crate) fn drain(&self) {
        let handle = self.builder().build().unwrap().spawn().unwrap();
        self.wait_until_empty(&handle);
        handle.stop();
        handle.wait().unwrap();
    }

    pub(crate) fn wait_until_empty(&self, handle: &MessageRelayHandle) {
        until("an empty outbox", || {
            assert!(!handle.is_ended(), "the relay ended: {:?}", handle.metrics());
            (self.rows() == 0).then_some(())
        });
    }

    /// What ends a relay that can't go on.
    pub(crate) fn refusal(&self) -> RelayError {
        self.builder().build().unwrap().run_until(&Stop::new()).unwrap_err()
    }

    pub(crate) fn rows(&self) -> i64 {
        self.number("SELECT count(*) FROM outbox")
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        // on a thread of its own: it may be asked for in the middle of something asynchronous
        let ask =
            || block_on(async { self.connect().await.query_one(sql, &[]).await.unwrap().get(0) });
        std::thread::scope(|scope| scope.spawn(ask).join().unwrap())
    }

    pub(crate) fn execute(&self, sql: &str) {
        block_on(async { self.connect().await.batch_execute(sql).await.unwrap() });
    }

    pub(crate) fn admin(&self) -> PositionAdmin {
        PositionAdmin::new(&self.relay, self.broker.config(), &self.positions).unwrap()
    }

    pub(crate) fn position(&self) -> Option<OutboxPosition> {
        let stored = self.admin().show().unwrap()?;
        Some(serde_json::from_value(stored.position).unwrap())
    }

    /// Changes an account and tells of it, as a service does; returns its new version.
    pub(crate) async fn change(&self, client: &mut Connection, account: &str, ends: End) -> i64 {
        let outbox = self.outbox();
        let mut tx = outbox.begin(client).await.unwrap();
        let row = tx
            .query_one(
                "INSERT INTO account VALUES ($1, 1)
                 ON CONFLICT (id) DO UPDATE SET version = account.version + 1 RETURNING version",
                &[&account],
            )
            .await
            .unwrap();
        let version: i64 = row.get(0);
        tx.stage(event(account, version)).unwrap();
        match ends {
            End::Commit => tx.commit().await.unwrap(),
            End::RollBack => tx.rollback().await.unwrap(),
        }
        version
    }

    /// Changes these accounts one after the other.
    pub(crate) fn change_all(&self, accounts: &[&str]) {
        block_on(async {
            let mut client = self.connect().await;
            for account in accounts {
                self.change(&mut client, account, End::Commit).await;
            }
        });
    }

    /// Changes so many accounts, one after the other.
    pub(crate) async fn change_all_on(&self, count: usize) {
        let mut client = self.connect().await;
        for number in 0..count {
            self.change(&mut client, &format!("c{}", number % 5), End::Commit).await;
        }
    }

    /// Changes accounts at random until told to stop; one in seven transactions rolls back, one in
    /// five waits with its locks. Errors of the connection begin a new one.
    pub(crate) async fn keep_writing(&self, seed: u64, done: &AtomicBool) {
        let mut random = numbers(seed);
        let mut client = self.connect().await;
        while !done.load(Ordering::SeqCst) {
            let account = format!("a{}", random() % 12);
            let ends = if random().is_multiple_of(7) { End::RollBack } else { End::Commit };
            let outbox = self.outbox();
            let mut tx = outbox.begin(&mut client).await.unwrap();
            // takes its transaction id long before its place in the order
            tx.execute("SELECT pg_current_xact_id()", &[]).await.unwrap();
            if random().is_multiple_of(5) {
                tokio::time::sleep(Duration::from_millis(random() % 15)).await;
            }
            let sql = "INSERT INTO account VALUES ($1, 1)
                 ON CONFLICT (id) DO UPDATE SET version = account.version + 1 RETURNING version";
            let version: i64 = tx.query_one(sql, &[&account]).await.unwrap().get(0);
            tx.stage(event(&account, version)).unwrap();
            match ends {
                End::Commit => tx.commit().await.unwrap(),
                End::RollBack => tx.rollback().await.unwrap(),
            }
        }
    }

    /// Compares the accounts with what a read_committed reader sees.
    pub(crate) fn verdict(&self) -> Verdict {
        let truth: BTreeMap<String, i64> = block_on(async {
            let client = self.connect().await;
            let rows = client.query("SELECT id, version FROM account", &[]).await.unwrap();
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        });
        let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for record in self.broker.committed(&self.topic()).unwrap() {
            let payload: serde_json::Value =
                serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let version = payload["version"].as_i64().unwrap();
            assert_eq!(payload["account"], record.key_text());
            assert_eq!(record.header("revision"), Some(version.to_string()));
            seen.entry(record.key_text()).or_default().push(version);
        }
        let mut verdict = Verdict { events: 0, lost: 0, duplicated: 0, misordered: 0 };
        assert!(seen.keys().all(|account| truth.contains_key(account)), "events of nobody");
        for (account, version) in truth {
            let versions = seen.remove(&account).unwrap_or_default();
            verdict.events += versions.len();
            verdict.misordered += versions.windows(2).filter(|pair| pair[0] >= pair[1]).count();
            for expected in 1..=version {
                match versions.iter().filter(|seen| **seen == expected).count() {
                    0 => verdict.lost += 1,
                    count => verdict.duplicated += count - 1,
                }
            }
            let phantom = versions.iter().filter(|seen| **seen > version).count();
            assert_eq!(phantom, 0, "{account}: events of changes that were never committed");
        }
        verdict
    }

    pub(crate) fn assert_exactly_once(&self) -> usize {
        let Verdict { events, lost, duplicated, misordered } = self.verdict();
        assert_eq!((lost, duplicated, misordered), (0, 0, 0), "of {events} events");
        events
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Commit,
    RollBack,
}

pub(crate) fn event(account: &str, version: i64) -> OutboxEvent {
    let payload = json!({"account": account, "version": version});
    OutboxEvent::json("account", account, "AccountChanged", &payload).unwrap().revision(version)
}

/// Numbers that look random, the same for a seed.
pub(crate) fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    move || random.u64(..) >> 1
}

/// Everything that an error says, its causes included.
pub(crate) fn told(error: &RelayError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
