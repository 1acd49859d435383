//! Bounds: large transactions, slow readers, servers that go away.

use std::time::{Duration, Instant};

use crate::harness::{Hand, Shop, full, key};
use crate::relay::Relayed;
use tidemill_connect::cdc::LargeTransaction;
use tidemill_connect::source::{BatchLimits, TransactionalSource};
use tidemill_connect::testing::{PATIENCE, PgOptions, PgServer, Shutdown};

const ORDERS: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, note text)";
const ROWS: i64 = 200_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_transaction_of_200_000_rows_is_read_in_bounded_batches() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    let fill = format!("INSERT INTO orders SELECT i, 'x' FROM generate_series(1, {ROWS}) i");
    shop.execute(&fill).await;
    let limits = BatchLimits { records: 1000, ..hand.limits };
    let (mut next, mut positions) = (1, 0);
    let deadline = Instant::now() + PATIENCE;
    while next <= ROWS {
        assert!(Instant::now() < deadline, "at row {next}");
        let Some(batch) = hand.source.poll(&limits).await.unwrap() else { continue };
        assert!(batch.records.len() <= limits.records, "{} at once", batch.records.len());
        for record in &batch.records {
            assert_eq!(key(record), format!("{{\"id\":{next}}}"));
            next += 1;
        }
        positions += usize::from(batch.position.is_some());
        assert!(positions == 0 || next > ROWS, "a position inside of the transaction");
    }
    assert_eq!(next, ROWS + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd1_a_large_transaction_is_refused_or_split_and_each_part_comes_once() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let halt = LargeTransaction::Halt { records: 1000, bytes: 1 << 30 };
    let mut hand = Hand::new(shop.source().large_transactions(halt));
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (0, 'before')").await;
    shop.execute("INSERT INTO orders SELECT i, 'x' FROM generate_series(1, 5000) i").await;
    shop.execute("INSERT INTO orders VALUES (5001, 'after')").await;
    let text = full(&hand.failure().await);
    assert!(text.contains("has more than 1000 records"), "{text}");
    let split =
        LargeTransaction::Split { records: 700, bytes: 1 << 30, time: Duration::from_secs(60) };
    let mut parts = 0;
    while hand.records.len() < 5002 {
        hand.source = shop.source().large_transactions(split);
        while let Err(error) = hand.open().await {
            assert!(full(&error).contains("active"), "{error:?}");
        }
        hand.step().await.unwrap();
        parts += usize::from(hand.position.as_ref().unwrap().part.is_some());
        // read on, and lose it
        hand.source.poll(&hand.limits).await.unwrap();
    }
    assert!(parts >= 7, "{parts} parts");
    let keys: Vec<String> = hand.records.iter().map(key).collect();
    assert!(keys.iter().enumerate().all(|(at, key)| *key == format!("{{\"id\":{at}}}")));
    assert_eq!(keys.len(), 5002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd11_a_reader_slower_than_the_servers_patience_keeps_its_session() {
    let settings = vec![("wal_sender_timeout".to_owned(), "1s".to_owned())];
    let server = PgServer::start(PgOptions { settings }).unwrap();
    let shop = Shop::at(&server.new_database("slow").unwrap(), ORDERS, &["orders"]).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders SELECT i, repeat('x', 1000) FROM generate_series(1, 20000) i")
        .await;
    let pid = format!(
        "SELECT active_pid::text FROM pg_replication_slots WHERE slot_name = '{}'",
        shop.slot
    );
    let before = shop.text(&pid).await;
    // more waits than fits between the server and the source, for longer than the server's timeout
    tokio::time::sleep(Duration::from_millis(3500)).await;
    hand.read(20_000).await;
    assert_eq!(shop.text(&pid).await, before, "the session was replaced");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cd1_the_server_is_killed_and_comes_back() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    server.create_database("shop").unwrap();
    let database = server.connection_string("shop");
    let mut relayed = Relayed::at(&database, "").await;
    let process = relayed.begin().await;
    for round in 0..4 {
        let from = round * 1000;
        let sql = format!(
            "INSERT INTO orders SELECT i, i FROM generate_series({from} + 1, {from} + 500) i"
        );
        relayed.shop.execute(&sql).await;
        let how = if round % 2 == 0 { Shutdown::Kill } else { Shutdown::Immediate };
        server.stop(how).unwrap();
        server.start_again().unwrap();
        let config = database.parse().unwrap();
        relayed.shop.client = tidemill_connect::postgres::connect(&config).await.unwrap();
    }
    drop(process);
    assert!(relayed.compare().await > 1000);
}
