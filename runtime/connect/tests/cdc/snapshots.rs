//! Rows that were there before: each once, behind what it contains and before what comes later.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{Hand, Shop, json, key};
use serde_json::Value;
use tidemill_connect::cdc::{CdcSource, Snapshot};
use tidemill_connect::source::{SourceError, TransactionalSource};

const ORDERS: &str = "CREATE TABLE orders (region text COLLATE \"und-x-icu\", id bigint, \
                      note text, PRIMARY KEY (region, id)); \
                      CREATE TABLE customers (id bigint PRIMARY KEY, note text)";

fn chunks(source: CdcSource, view: Duration) -> CdcSource {
    source.snapshot(Snapshot::Initial { chunk: 40, view })
}

async fn fill(shop: &Shop) {
    shop.execute(
        "INSERT INTO orders SELECT chr(65 + i % 3 + 32 * (i % 2)), i, 'old' \
         FROM generate_series(1, 500) i; \
         INSERT INTO customers SELECT i, 'old' FROM generate_series(1, 200) i",
    )
    .await;
}

/// What a reader makes of the records: for each key what happened to it, and what is left.
fn fold(hand: &Hand) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, Value>) {
    let (mut events, mut rows) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::new());
    for record in hand.records.iter().filter(|record| record.value.is_some()) {
        let (envelope, key) = (json(record), format!("{}{}", record.topic, key(record)));
        let op = envelope["op"].as_str().unwrap().to_owned();
        events.entry(key.clone()).or_default().push(op);
        match &envelope["after"] {
            Value::Null => rows.remove(&key),
            row => rows.insert(key, row.clone()),
        };
    }
    (events, rows)
}

/// The same of the tables.
async fn truth(shop: &Shop) -> BTreeMap<String, Value> {
    let sql = "SELECT 'orders' || json_build_object('region', region, 'id', id)::jsonb::text,
                      to_json(o)::text FROM orders o
               UNION ALL SELECT 'customers' || json_build_object('id', id)::jsonb::text,
                      to_json(c)::text FROM customers c";
    let rows = shop.client.query(sql, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| {
        let (key, value): (String, String) = (row.get(0), row.get(1));
        let (table, key) = key.split_at(key.find('{').unwrap());
        let key: BTreeMap<String, Value> = serde_json::from_str(key).unwrap();
        let region = key.get("region").map(|region| format!("\"region\":{region},"));
        let key = format!("{table}{{{}\"id\":{}}}", region.unwrap_or_default(), key["id"]);
        (key, serde_json::from_str(&value).unwrap())
    };
    rows.iter().map(row).collect()
}

/// Updates, deletes, inserts again, moves and adds rows all over the tables.
async fn disturb(shop: &Shop, round: i32) {
    shop.execute(&format!(
        "UPDATE orders SET note = 'u{round}' WHERE id % 7 = {round} % 7;
         DELETE FROM orders WHERE id % 11 = {round} % 11;
         INSERT INTO orders SELECT 'B', i, 'again{round}' FROM generate_series(1, 500) i
             WHERE i % 11 = {round} % 11 ON CONFLICT DO NOTHING;
         BEGIN; DELETE FROM customers WHERE id % 13 = {round} % 13;
         INSERT INTO customers SELECT i, 'same{round}' FROM generate_series(1, 200) i
             WHERE i % 13 = {round} % 13; COMMIT;
         UPDATE orders SET region = 'Z', id = id + 10000 * {round} WHERE id % 97 = {round};
         UPDATE orders SET region = 'A', id = id + 20000 * {round} WHERE id % 89 = {round};
         BEGIN; UPDATE customers SET note = 'rolled back'; ROLLBACK"
    ))
    .await;
}

/// Opens it as soon as the session before has ended.
async fn reopen(hand: &mut Hand) {
    while let Err(error) = hand.open().await {
        assert!(matches!(error, SourceError::Unavailable(_)), "{error:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn check(shop: &Shop, hand: &mut Hand) {
    shop.execute("INSERT INTO customers VALUES (999999, 'the end')").await;
    let end = r#"{"id":999999}"#;
    while hand.records.last().is_none_or(|record| key(record) != end) {
        hand.step().await.unwrap();
    }
    let (events, rows) = fold(hand);
    let truth = truth(shop).await;
    for (key, row) in &truth {
        assert_eq!(rows.get(key), Some(row), "{key}");
    }
    assert_eq!(rows.len(), truth.len());
    for (key, events) in events {
        // one image or one creation, then changes; nothing twice
        assert!(["r", "c"].contains(&&*events[0]), "{key}: {events:?}");
        assert!(!events[1..].contains(&"r".to_owned()), "{key}: {events:?}");
        for pair in events.windows(2) {
            let fits =
                if pair[0] == "d" { pair[1] == "c" } else { ["u", "d"].contains(&&*pair[1]) };
            assert!(fits, "{key}: {events:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd13_writes_to_rows_that_are_being_read_come_after_them_and_once() {
    let shop = Shop::new(ORDERS, &["orders", "customers"]).await;
    fill(&shop).await;
    let mut hand = Hand::new(chunks(shop.source(), Duration::from_secs(60)));
    disturb(&shop, 1).await;
    hand.open().await.unwrap();
    for round in 2..12 {
        disturb(&shop, round).await;
        hand.step().await.unwrap();
    }
    check(&shop, &mut hand).await;
    assert!(hand.source.metrics().snapshot_rows() > 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd13_a_new_view_for_each_chunk_changes_nothing() {
    let shop = Shop::new(ORDERS, &["orders", "customers"]).await;
    fill(&shop).await;
    let mut hand = Hand::new(chunks(shop.source(), Duration::ZERO));
    hand.open().await.unwrap();
    for round in 1..25 {
        disturb(&shop, round).await;
        hand.step().await.unwrap();
    }
    check(&shop, &mut hand).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd12_a_snapshot_that_is_interrupted_goes_on_behind_its_last_chunk() {
    let shop = Shop::new(ORDERS, &["orders", "customers"]).await;
    fill(&shop).await;
    let mut hand = Hand::new(chunks(shop.source(), Duration::from_secs(60)));
    let mut read = 0;
    for round in 1..20 {
        reopen(&mut hand).await;
        hand.step().await.unwrap();
        disturb(&shop, round).await;
        // read, and lost before it was committed
        hand.source.poll(&hand.limits).await.unwrap();
        read += hand.source.metrics().snapshot_rows();
        hand.source = chunks(shop.source(), Duration::from_secs(60));
    }
    reopen(&mut hand).await;
    check(&shop, &mut hand).await;
    assert!(read > 400, "{read} rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_table_that_was_added_later_is_read_without_losing_a_change() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    fill(&shop).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute(&format!("ALTER PUBLICATION {} ADD TABLE customers", shop.publication)).await;
    shop.execute("INSERT INTO orders VALUES ('A', 9999, 'kept')").await;
    let operator = hand.source.operator();
    let position = operator.resnapshot(hand.position.as_ref(), &["public.customers"]).await;
    hand.position = Some(position.unwrap());
    hand.source = shop.source();
    reopen(&mut hand).await;
    shop.execute("INSERT INTO customers VALUES (201, 'new')").await;
    hand.read(1 + 201 + 1).await;
    assert_eq!(key(&hand.records[0]), r#"{"region":"A","id":9999}"#);
    let reads = hand.envelopes().iter().filter(|it| it["op"] == "r").count();
    assert_eq!(reads, 201);
}
