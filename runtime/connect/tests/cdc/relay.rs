//! The whole relay as a process that is killed; afterwards a truth table in the database is
//! compared with what a `read_committed` reader sees.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::Shop;
use serde_json::Value;
use tidemill_connect::cdc::{CdcSource, LargeTransaction, Snapshot};
use tidemill_connect::postgres::connect;
use tidemill_connect::source::{BatchLimits, SourceRunner};
use tidemill_connect::testing::{Broker, Child, PATIENCE, unique, until};

/// Each change writes a row of the truth, under the lock of the row it tells of.
const TABLES: &str = "
    CREATE TABLE orders (id bigint PRIMARY KEY, version bigint NOT NULL, note text);
    CREATE TABLE truth (seq bigserial PRIMARY KEY, id bigint, op text, version bigint);
    CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO truth (id, op, version) VALUES (coalesce(NEW.id, OLD.id),
            CASE TG_OP WHEN 'INSERT' THEN 'c' WHEN 'UPDATE' THEN 'u' ELSE 'd' END, NEW.version);
        RETURN NULL; END $$;
    CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE ON orders
        FOR EACH ROW EXECUTE FUNCTION tell()";

/// A shop with a topic, and how its relay is started.
pub(crate) struct Relayed {
    pub(crate) shop: Shop,
    pub(crate) topic: String,
    positions: String,
    options: &'static str,
}

impl Relayed {
    pub(crate) async fn new(options: &'static str) -> Self {
        Self::with(Shop::new(TABLES, &["orders"]).await, options)
    }

    pub(crate) async fn at(database: &str, options: &'static str) -> Self {
        Self::with(Shop::at(database, TABLES, &["orders"]).await, options)
    }

    fn with(shop: Shop, options: &'static str) -> Self {
        let broker = Broker::shared();
        let topic = broker.topic("orders", 3).unwrap();
        let positions = unique("positions");
        Self { shop, topic, positions, options }
    }

    /// Starts the process, with fail points armed.
    pub(crate) fn start(&self, failpoint: &str) -> Child {
        let port = self.shop.config.get_ports()[0];
        let database = self.shop.config.get_dbname().unwrap();
        let database = format!("host=127.0.0.1 port={port} user=postgres dbname={database}");
        let broker = Broker::shared();
        let variables = [
            ("CDC_DATABASE", database.as_str()),
            ("CDC_SLOT", &self.shop.slot),
            ("CDC_PUBLICATION", &self.shop.publication),
            ("CDC_TOPIC", &self.topic),
            ("CDC_POSITIONS", &self.positions),
            ("CDC_KAFKA", broker.address()),
            ("CDC_OPTIONS", self.options),
            ("TIDEMILL_TEST_FAILPOINT", failpoint),
        ];
        Child::start("relay::relay_process", &variables).unwrap()
    }

    /// Runs it until it published something: what is committed from then on is published.
    pub(crate) async fn begin(&self) -> Child {
        let process = self.start("");
        let deadline = std::time::Instant::now() + PATIENCE;
        for id in i64::MIN.. {
            // one after the other, until the slot is there and the first comes through
            self.shop.execute(&format!("INSERT INTO orders VALUES ({id}, 0, 'begin')")).await;
            if !Broker::shared().committed(&self.topic).unwrap().is_empty() {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "nothing is published");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.shop.execute("TRUNCATE truth").await;
        process
    }

    /// Waits until the log up to this place is published: for as long as there is progress.
    async fn until_confirmed(&self, end: &str, process: &mut Child) {
        let sql = "SELECT confirmed_flush_lsn::text, confirmed_flush_lsn >= $2::text::pg_lsn
                   FROM pg_replication_slots WHERE slot_name = $1";
        let (mut last, mut since) = (None, std::time::Instant::now());
        loop {
            assert!(process.ended().unwrap().is_none(), "the relay ended");
            let row = self.shop.client.query_opt(sql, &[&self.shop.slot, &end]).await.unwrap();
            let now = row.map(|row| (row.get::<_, Option<String>>(0), row.get(1)));
            if let Some((_, Some(true))) = now {
                return;
            }
            if now != last {
                (last, since) = (now, std::time::Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "no progress behind {last:?}, towards {end}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Runs it until the last change is published, and compares.
    pub(crate) async fn compare(&self) -> usize {
        let before = self.shop.text("SELECT pg_current_wal_insert_lsn()::text").await;
        let sql = format!("INSERT INTO orders VALUES ({}, 0, 'the end')", i64::MAX);
        self.shop.execute(&sql).await;
        let mut process = self.start("");
        self.until_confirmed(&before, &mut process).await;
        let end = format!("{{\"id\":{}}}", i64::MAX);
        until("the last change", || {
            assert!(process.ended().unwrap().is_none(), "the relay ended");
            let seen = Broker::shared().committed(&self.topic).unwrap();
            seen.iter().any(|seen| seen.key_text() == end).then_some(())
        });
        // the ends of partitions are not asked for at the same time: once more, now that all is in
        let seen = Broker::shared().committed(&self.topic).unwrap();
        process.kill().unwrap();
        let mut published = BTreeMap::<i64, Vec<String>>::new();
        let mut places = BTreeMap::<i64, Vec<(i64, u64, u64)>>::new();
        for seen in &seen {
            let key: Value = serde_json::from_str(&seen.key_text()).unwrap();
            let value: Value = serde_json::from_str(&seen.value_text()).unwrap();
            let id = key["id"].as_i64().unwrap();
            if id < 0 {
                continue;
            }
            let event = format!("{} {}", value["op"].as_str().unwrap(), value["after"]["version"]);
            published.entry(id).or_default().push(event);
            let place = |name: &str| value["source"][name].as_u64().unwrap();
            places.entry(id).or_default().push((seen.offset, place("lsn"), place("ord")));
        }
        let rows = self.shop.client.query("SELECT id, op, version FROM truth ORDER BY seq", &[]);
        let mut truth = BTreeMap::<i64, Vec<String>>::new();
        for row in rows.await.unwrap() {
            let (op, version): (&str, Option<i64>) = (row.get(1), row.get(2));
            let version = version.map_or("null".to_owned(), |version| version.to_string());
            truth.entry(row.get(0)).or_default().push(format!("{op} {version}"));
        }
        if self.options.contains("snapshot") {
            truth = truth.into_iter().filter_map(|it| imaged(it, &published)).collect();
        }
        let changes = truth.values().map(Vec::len).sum();
        for (id, truth) in &truth {
            assert_eq!(published.get(id), Some(truth), "order {id}: {:?}", places.get(id));
        }
        assert_eq!(published.len(), truth.len(), "rows that never were");
        changes
    }
}

/// Replaces what the image of a row contains by the image, if it has one.
fn imaged(
    (id, truth): (i64, Vec<String>),
    published: &BTreeMap<i64, Vec<String>>,
) -> Option<(i64, Vec<String>)> {
    let Some(first) = published.get(&id).map(|events| events[0].as_str()) else {
        // nothing is told of a row that was gone before its turn
        let gone = truth.last().is_some_and(|last| last.starts_with('d'));
        return (!gone).then_some((id, truth));
    };
    let Some(version) = first.strip_prefix("r ") else {
        // created behind the view; what was before was gone by then
        let events = published[&id].len();
        let tail = truth.len().saturating_sub(events);
        return Some((id, truth[tail..].to_vec()));
    };
    let at = truth.iter().position(|it| it[2..] == *version).unwrap_or_default();
    let later = truth[at + 1..].iter().cloned();
    Some((id, std::iter::once(first.to_owned()).chain(later).collect()))
}

/// Keeps writing until it is told to stop: versions never repeat.
async fn write(
    config: tokio_postgres::Config,
    writer: i64,
    rows_max: i64,
    stop: tokio::sync::watch::Receiver<bool>,
) {
    let mut version = writer * 1_000_000_000;
    'connect: while !*stop.borrow() {
        let Ok(client) = connect(&config).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !*stop.borrow() {
            version += 1000;
            let (id, end) =
                (fastrand::i64(1..40), if fastrand::u8(..10) == 0 { "ROLLBACK" } else { "COMMIT" });
            let sql = format!(
                "BEGIN;
                 INSERT INTO orders VALUES ({id}, {version}, 'x')
                     ON CONFLICT (id) DO UPDATE SET version = excluded.version;
                 INSERT INTO orders SELECT 1000 * {writer} + i, {version} + i, repeat('y', 200)
                     FROM generate_series(1, {rows}) i
                     ON CONFLICT (id) DO UPDATE SET version = excluded.version;
                 DELETE FROM orders WHERE id = {gone}; {end}",
                rows = fastrand::i64(0..rows_max),
                gone = 1000 * writer + fastrand::i64(1..30),
            );
            match client.batch_execute(&sql).await {
                Ok(()) => {}
                // two rows in the wrong order for both
                Err(error) if error.code().is_some_and(|code| code.code() == "40P01") => {
                    client.batch_execute("ROLLBACK").await.unwrap();
                }
                Err(_) => continue 'connect,
            }
            // large ones less often
            tokio::time::sleep(Duration::from_millis(rows_max.unsigned_abs() / 15)).await;
        }
    }
}

/// Kills the relay again and again, at fail points and anywhere, under writers.
async fn chaos(options: &'static str, kills: u32, points: &[&str]) -> usize {
    let relayed = Relayed::new(options).await;
    relayed
        .shop
        .execute("INSERT INTO orders SELECT 500 + i, i, 'old' FROM generate_series(1, 300) i")
        .await;
    if !options.contains("snapshot") {
        relayed.shop.execute("TRUNCATE orders").await;
        drop(relayed.begin().await);
    }
    let rows_max = if options.contains("split") { 600 } else { 30 };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers: Vec<_> = (1..4)
        .map(|writer| {
            let config = relayed.shop.config.clone();
            tokio::spawn(write(config, writer, rows_max, stopped.clone()))
        })
        .collect();
    for kill in 0..kills {
        let point = points[usize::try_from(kill).unwrap() % points.len()];
        let armed = match point {
            "" => String::new(),
            point => format!("{point}:{}:kill", fastrand::u32(1..6)),
        };
        let mut process = relayed.start(&armed);
        let patience = Duration::from_millis(fastrand::u64(300..1200));
        let killed = std::time::Instant::now() + patience;
        while std::time::Instant::now() < killed && process.ended().unwrap().is_none() {
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
    relayed.compare().await
}

fn kills() -> u32 {
    std::env::var("TIDEMILL_TEST_KILLS").map_or(8, |kills| kills.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_cdc() {
    let changes = chaos("", kills(), &["OB3", "", "OB4", "", "OB5", "CD12A"]).await;
    assert!(changes > 100, "{changes} changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cd12_killed_in_the_snapshot() {
    let points = ["CD12A", "CD12B", "OB3", "", "CD12B", "OB5", "CD12B"];
    chaos("snapshot", 7, &points).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cd1_killed_anywhere_while_transactions_are_split() {
    chaos("split", 4, &["OB5", "", "OB4", "OB3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cd2_killed_inside_a_copy_and_a_multi_row_insert() {
    for options in ["", "split"] {
        let relayed = Relayed::new(options).await;
        drop(relayed.begin().await);
        copy(&relayed.shop, 5000).await;
        relayed
            .shop
            .execute("INSERT INTO orders SELECT i, i FROM generate_series(5001, 9000) i")
            .await;
        for point in ["OB3:1:kill", "OB4:1:kill", "OB5:1:kill", "OB4:1:kill"] {
            let mut process = relayed.start(point);
            assert!(!process.wait(PATIENCE).unwrap().success(), "{point} was not reached");
        }
        assert_eq!(relayed.compare().await, 9001);
    }
}

/// By the server's own client: rows of one COPY share their place in the log.
async fn copy(shop: &Shop, rows: i64) {
    let file = std::env::temp_dir().join(unique("copy"));
    let text: String = (1..=rows).map(|row| format!("{row}\t{row}\n")).collect();
    std::fs::write(&file, text).unwrap();
    let sql = format!("COPY orders (id, version) FROM '{}'", file.display());
    shop.execute(&sql).await;
    std::fs::remove_file(file).unwrap();
}

#[test]
#[ignore = "the body of a process that other tests start"]
fn relay_process() {
    let of = |name: &str| std::env::var(name).unwrap();
    let options = of("CDC_OPTIONS");
    let mut source = CdcSource::new(
        of("CDC_DATABASE").parse().unwrap(),
        &of("CDC_SLOT"),
        &of("CDC_PUBLICATION"),
    )
    .unwrap()
    .topics(&of("CDC_TOPIC"))
    .unwrap()
    .tombstones(false)
    // as long as one that is dead may hold the slot
    .take_over(true);
    if options.contains("snapshot") {
        let view = Duration::from_millis(200);
        source = source.snapshot(Snapshot::Initial { chunk: 30, view });
    }
    if options.contains("split") {
        let time = Duration::from_secs(1);
        source = source.large_transactions(LargeTransaction::Split {
            records: 150,
            bytes: 1 << 20,
            time,
        });
    }
    let mut kafka = tidemill::client::ClientConfig::new();
    kafka.set("bootstrap.servers", of("CDC_KAFKA"));
    let relay = SourceRunner::new(&of("CDC_SLOT"), source, kafka, &of("CDC_POSITIONS"))
        .batch(BatchLimits { records: 500, ..BatchLimits::default() });
    relay.spawn().unwrap().wait().unwrap();
}
