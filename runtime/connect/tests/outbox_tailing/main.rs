//! The outbox read from PostgreSQL's log, against a real PostgreSQL and a real broker.

#![cfg(all(feature = "testing", feature = "postgres-cdc"))]
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tidemill_connect::cdc::{IdlePositions, PublicationSetup};
use tidemill_connect::outbox::{
    Cleanup, LogTailingOutbox, MessageRelay, Outbox, OutboxEvent, OutboxSource, PollingOutbox,
};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::testing::{Broker, Child, PgOptions, PgServer, Seen, unique, until};
use tokio::sync::watch;

struct Shop {
    database: String,
    broker: Broker,
    prefix: String,
    slot: String,
}

impl Shop {
    async fn new() -> Self {
        static SERVER: OnceLock<PgServer> = OnceLock::new();
        let server = SERVER.get_or_init(|| PgServer::start(PgOptions::default()).unwrap());
        let shop = Self {
            database: server.new_database("tailing").unwrap(),
            broker: Broker::shared(),
            prefix: unique("shop"),
            slot: unique("tailing"),
        };
        shop.broker.create(&shop.topic(), 3, &[]).unwrap();
        let mut client = shop.connect().await;
        shop.outbox().ensure_schema(&mut client).await.unwrap();
        let sql = "CREATE TABLE account (id int PRIMARY KEY, version bigint NOT NULL)";
        client.batch_execute(sql).await.unwrap();
        let setup = PublicationSetup::new(&shop.slot, &["outbox"]).unwrap().inserts_only();
        setup.create(&*client).await.unwrap();
        shop
    }

    async fn connect(&self) -> Connection {
        connect(&self.database.parse().unwrap()).await.unwrap()
    }

    fn topic(&self) -> String {
        format!("{}.account", self.prefix)
    }

    fn outbox(&self) -> Outbox {
        let template = format!("{}.{{aggregatetype}}", self.prefix);
        Outbox::new("outbox").unwrap().topic_by_aggregate_type(&template).unwrap()
    }

    fn tailing(&self) -> LogTailingOutbox {
        let config = self.database.parse().unwrap();
        let idle = IdlePositions { interval: Duration::from_millis(200), wal_bytes: 64 << 20 };
        LogTailingOutbox::new(config, self.outbox(), &self.slot, &self.slot)
            .unwrap()
            .publish_existing()
            .idle_positions(idle)
            .take_over(true)
    }

    fn relay<S: OutboxSource>(&self, source: S, cleanup: Cleanup) -> MessageRelay<S> {
        MessageRelay::builder(&unique_relay(&self.slot, &source))
            .source(source)
            .kafka(self.broker.config())
            .positions_topic(&format!("{}_positions", self.slot))
            .replication_factor(1)
            .cleanup(cleanup)
            .build()
            .unwrap()
    }

    fn start(&self, failpoint: &str) -> Child {
        let variables = [
            ("SHOP_DATABASE", self.database.as_str()),
            ("SHOP_BROKER", self.broker.address()),
            ("SHOP_PREFIX", &self.prefix),
            ("SHOP_SLOT", &self.slot),
            ("TIDEMILL_TEST_FAILPOINT", failpoint),
        ];
        Child::start("relay_process", &variables).unwrap()
    }

    async fn rows(&self) -> i64 {
        let client = self.connect().await;
        client.query_one("SELECT count(*) FROM outbox", &[]).await.unwrap().get(0)
    }
}

/// Two kinds of source must not share a position.
fn unique_relay<S>(slot: &str, _source: &S) -> String {
    let kind = std::any::type_name::<S>().rsplit(':').next().unwrap_or_default();
    format!("{slot}_{kind}")
}

/// Raises versions of accounts, each with an event; some transactions roll back.
async fn write(shop: &Shop, stop: watch::Receiver<bool>) {
    let (outbox, mut client) = (shop.outbox(), shop.connect().await);
    while !*stop.borrow() {
        let mut tx = outbox.begin(&mut client).await.unwrap();
        // in one order, so that no two wait for each other
        let mut accounts: Vec<i32> =
            (0..fastrand::i32(1..8)).map(|_| fastrand::i32(0..20)).collect();
        accounts.sort_unstable();
        for account in accounts {
            let sql = "INSERT INTO account VALUES ($1, 1) ON CONFLICT (id) DO UPDATE
                       SET version = account.version + 1 RETURNING version";
            let version: i64 = tx.query_one(sql, &[&account]).await.unwrap().get(0);
            let event = OutboxEvent::json("account", account, "Changed", &version).unwrap();
            tx.stage(event.revision(version)).unwrap();
        }
        if fastrand::u8(..10) == 0 {
            tx.rollback().await.unwrap();
        } else {
            tx.commit().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_outbox_tailing() {
    let kills = std::env::var("TIDEMILL_TEST_KILLS").map_or(8, |kills| kills.parse().unwrap());
    let shop = std::sync::Arc::new(Shop::new().await);
    let (stop, stopped) = watch::channel(false);
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (shop, stopped) = (std::sync::Arc::clone(&shop), stopped.clone());
            tokio::spawn(async move { write(&shop, stopped).await })
        })
        .collect();
    for kill in 0..kills {
        let point = ["OB3", "", "CD12A", "OB4", "", "CD12B", "OB5"][kill % 7];
        let armed = match point {
            "" => String::new(),
            point => format!("{point}:{}:kill", fastrand::u32(1..6)),
        };
        let mut process = shop.start(&armed);
        let until = Instant::now() + Duration::from_millis(fastrand::u64(300..1200));
        while Instant::now() < until && process.ended().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Some(status) = process.ended().unwrap() {
            assert!(status.code().is_none(), "the relay failed instead of being killed");
        }
        process.kill().unwrap();
    }
    stop.send(true).unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    let relay = shop.relay(shop.tailing(), Cleanup::DeleteAfterPublish { batch: 100 });
    let handle = relay.spawn().unwrap();
    let deadline = Instant::now() + tidemill_connect::testing::PATIENCE;
    while shop.rows().await > 0 {
        assert!(!handle.is_ended(), "{:?}", handle.metrics());
        assert!(Instant::now() < deadline, "rows are left: {:?}", handle.metrics());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    handle.stop();
    handle.wait().unwrap();
    let mut published = BTreeMap::<String, Vec<i64>>::new();
    for seen in shop.broker.committed(&shop.topic()).unwrap() {
        let version = seen.value_text().parse().unwrap();
        published.entry(seen.key_text()).or_default().push(version);
    }
    let client = shop.connect().await;
    let rows = client.query("SELECT id::text, version FROM account", &[]).await.unwrap();
    assert_eq!(published.len(), rows.len());
    for row in rows {
        let (account, version): (String, i64) = (row.get(0), row.get(1));
        let truth: Vec<i64> = (1..=version).collect();
        assert_eq!(published[&account], truth, "account {account}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_makes_the_records_that_polling_makes() {
    let shop = Shop::new().await;
    let (outbox, mut client) = (shop.outbox(), shop.connect().await);
    let mut tx = outbox.begin(&mut client).await.unwrap();
    for account in 0..20 {
        let event = OutboxEvent::json("account", account, "Opened", "\u{e4}\n\"").unwrap();
        tx.stage(event.revision(i64::MAX).header("trace", "a\"b")).unwrap();
        tx.stage(OutboxEvent::bytes("account", account, "Raw", vec![0, 255, 7])).unwrap();
        tx.stage(OutboxEvent::tombstone("account", account, "Closed")).unwrap();
    }
    tx.commit().await.unwrap();
    let published = |count: usize| {
        until("the events", || {
            let seen = shop.broker.committed(&shop.topic()).unwrap();
            assert!(seen.len() <= count);
            (seen.len() == count).then_some(seen)
        })
    };
    let handle = shop.relay(shop.tailing(), Cleanup::None).spawn().unwrap();
    let existing = published(60);
    let mut tx = outbox.begin(&mut client).await.unwrap();
    tx.stage(OutboxEvent::json("account", 3, "Later", &1).unwrap()).unwrap();
    tx.commit().await.unwrap();
    let tailed = published(61);
    assert_eq!(existing.len(), 60);
    handle.stop();
    handle.wait().unwrap();
    let polling = PollingOutbox::new(shop.database.parse().unwrap(), shop.outbox());
    let handle = shop.relay(polling, Cleanup::None).spawn().unwrap();
    let all = published(122);
    handle.stop();
    handle.wait().unwrap();
    let plain = |seen: &Seen| {
        (seen.partition, seen.key.clone(), seen.value.clone(), seen.headers.clone(), seen.timestamp)
    };
    for partition in 0..3 {
        let of = |seen: &[Seen]| {
            seen.iter().filter(|it| it.partition == partition).map(plain).collect::<Vec<_>>()
        };
        let (tailed, all) = (of(&tailed), of(&all));
        assert_eq!(all[..tailed.len()], tailed);
        assert_eq!(all[tailed.len()..], tailed, "polling made others");
    }
}

#[test]
#[ignore = "the body of a process that other tests start"]
fn relay_process() {
    let of = |name: &str| std::env::var(name).unwrap();
    let shop = Shop {
        database: of("SHOP_DATABASE"),
        broker: Broker::at(&of("SHOP_BROKER")),
        prefix: of("SHOP_PREFIX"),
        slot: of("SHOP_SLOT"),
    };
    let relay = shop.relay(shop.tailing(), Cleanup::DeleteAfterPublish { batch: 100 });
    relay.spawn().unwrap().wait().unwrap();
}
