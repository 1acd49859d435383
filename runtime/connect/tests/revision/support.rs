//! What the tests share: one server, tables of prices, waiting for a lock, and drawers of revisions
//! whose order is checked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::revision::RevisionedTable;
use tidemill_connect::revision::service::{
    RevisionClient, RevisionClientConfig, RevisionService, RevisionServiceConfig,
};
use tidemill_connect::testing::{PATIENCE, PgOptions, PgServer};
use tokio_postgres::Config;

/// A database of its own on the server that all tests share.
pub(crate) fn database(name: &str) -> Config {
    static SERVER: OnceLock<PgServer> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let settings = vec![("max_connections".into(), "200".into())];
        PgServer::start(PgOptions { settings }).unwrap()
    });
    server.new_database(name).unwrap().parse().unwrap()
}

pub(crate) async fn connected(config: &Config) -> Connection {
    connect(config).await.unwrap()
}

/// A database with prices of an umbrella and a hat, and a sequence.
pub(crate) async fn shop(name: &str) -> (Config, RevisionedTable) {
    let config = database(name);
    let sql = "CREATE TABLE price (sku text PRIMARY KEY, cents bigint NOT NULL, revision bigint);
               INSERT INTO price VALUES ('umbrella', 1, NULL), ('hat', 1, 0);
               CREATE TABLE event (sku text, cents bigint, revision bigint);
               CREATE SEQUENCE drawn";
    connected(&config).await.batch_execute(sql).await.unwrap();
    (config, RevisionedTable::new("price", "sku", "revision").unwrap())
}

/// Cents and revision of a row.
pub(crate) async fn price(client: &Connection, sku: &str) -> (i64, i64) {
    let sql = "SELECT cents, COALESCE(revision, -1) FROM price WHERE sku = $1";
    let row = client.query_one(sql, &[&sku]).await.unwrap();
    (row.get(0), row.get(1))
}

/// Draws from the sequence, without any lock.
pub(crate) async fn nextval(client: &Connection) -> i64 {
    client.query_one("SELECT nextval('drawn')", &[]).await.unwrap().get(0)
}

/// Waits until somebody waits for a lock in this database.
pub(crate) async fn until_locked_out(client: &Connection) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until(async || client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0).await;
}

pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn start(config: &RevisionServiceConfig) -> RevisionService {
    RevisionService::start(config).await.unwrap()
}

pub(crate) fn client(service: &RevisionService) -> RevisionClient {
    let url = format!("http://{}", service.address());
    RevisionClient::new(&RevisionClientConfig::new(&url)).unwrap()
}

/// All that was drawn, from however many clients: nothing twice, and each number larger than all
/// that were answered before it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Drawn {
    answered: AtomicI64,
    count: AtomicU64,
    all: Mutex<BTreeSet<i64>>,
}

impl Drawn {
    /// Draws `count` numbers; the order is checked against all other drawers.
    pub(crate) async fn draw(&self, client: &RevisionClient, count: u32) {
        let before = self.answered.load(Ordering::SeqCst);
        let drawn = client.next_revisions(count).await.unwrap();
        assert!(*drawn.start() > before, "{drawn:?} was asked for after {before} was answered");
        self.answered.fetch_max(*drawn.end(), Ordering::SeqCst);
        self.keep(drawn);
    }

    pub(crate) fn keep(&self, drawn: std::ops::RangeInclusive<i64>) {
        let mut all = self.all.lock().unwrap();
        for number in drawn {
            assert!(all.insert(number), "{number} was given out twice");
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) fn largest(&self) -> i64 {
        self.all.lock().unwrap().last().copied().unwrap_or(0)
    }

    /// Numbers between the smallest and the largest that nobody got.
    pub(crate) fn gaps(&self) -> i64 {
        let all = self.all.lock().unwrap();
        all.last().unwrap() - all.first().unwrap() + 1 - i64::try_from(all.len()).unwrap()
    }
}
