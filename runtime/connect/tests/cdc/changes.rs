//! What becomes of changes: envelopes, keys, types, order.

use crate::harness::{Hand, Shop, full, json, key};
use serde::{Deserialize, Serialize};
use tidemill_connect::cdc::{Change, OnTruncate, Op, UNAVAILABLE, UnchangedToast};
use tidemill_connect::source::SourceError;

const ORDERS: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL, \
                      cents bigint NOT NULL, note text)";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: i64,
    customer: String,
    cents: i64,
    note: Option<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd9_insert_update_delete_become_envelopes() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (9007199254740993, 'anna', 100, NULL)").await;
    shop.execute("UPDATE orders SET cents = 200").await;
    shop.execute("DELETE FROM orders").await;
    hand.read(4).await;
    let keys: Vec<String> = hand.records.iter().map(key).collect();
    assert_eq!(keys, vec![r#"{"id":9007199254740993}"#; 4]);
    assert_eq!(&*hand.records[0].topic, "orders");
    assert!(hand.records[3].value.is_none(), "no tombstone");

    let change =
        |at: usize| -> Change<Order> { serde_json::from_value(json(&hand.records[at])).unwrap() };
    let created = change(0);
    let order =
        Order { id: 9_007_199_254_740_993, customer: "anna".into(), cents: 100, note: None };
    assert_eq!(
        (created.op, created.before, created.after),
        (Op::Create, None, Some(order.clone()))
    );
    assert_eq!((created.source.table.as_str(), created.source.ord), ("orders", 1));
    assert_eq!(created.source.schema_version, 1);
    let updated = change(1);
    assert_eq!((updated.op, updated.before), (Op::Update, None));
    assert_eq!(updated.after, Some(Order { cents: 200, ..order }));
    assert!(updated.source.lsn > created.source.lsn);
    let deleted = change(2);
    assert_eq!((deleted.op, deleted.before, deleted.after), (Op::Delete, None, None));
    assert_eq!(json(&hand.records[2])["before"].to_string(), r#"{"id":9007199254740993}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd9_a_change_of_the_primary_key_is_a_deletion_and_a_creation() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (1, 'anna', 100, NULL)").await;
    shop.execute("UPDATE orders SET id = 2, cents = 300").await;
    hand.read(4).await;
    let ops: Vec<_> = hand.envelopes().iter().map(|it| it["op"].clone()).collect();
    assert_eq!(ops, ["c".into(), "d".into(), serde_json::Value::Null, "c".into()]);
    let keys: Vec<String> = hand.records.iter().map(key).collect();
    assert_eq!(keys, [r#"{"id":1}"#, r#"{"id":1}"#, r#"{"id":1}"#, r#"{"id":2}"#]);
    let header =
        |at: usize, name: &str| hand.records[at].headers.last(name).cloned().unwrap().value;
    assert_eq!(header(1, "__debezium.newkey").unwrap(), br#"{"id":2}"#);
    assert_eq!(header(3, "__debezium.oldkey").unwrap(), br#"{"id":1}"#);
}

/// Stored out of line for sure: it can't be compressed.
const BIG: &str = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) i)";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd9_a_large_value_that_did_not_change_is_never_null() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute(&format!("INSERT INTO orders VALUES (1, 'anna', 100, {BIG})")).await;
    hand.read(1).await;
    shop.execute("UPDATE orders SET cents = 200").await;
    let error = hand.failure().await;
    assert!(matches!(error, SourceError::Failed(_)), "{error:?}");
    let text = full(&error);
    assert!(text.contains("table public.orders, column note"), "{text}");

    hand.source = shop.source().on_unchanged_toast(UnchangedToast::Placeholder);
    hand.reopen().await;
    hand.read(2).await;
    assert_eq!(json(&hand.records[1])["after"]["note"], UNAVAILABLE);

    let mut strict = Hand::new(shop.source().on_unchanged_toast(UnchangedToast::RequireFull));
    strict.position = hand.position.clone();
    drop(hand);
    let text = full(&strict.open().await.unwrap_err());
    assert!(text.contains("REPLICA IDENTITY FULL"), "{text}");
    shop.execute("ALTER TABLE orders REPLICA IDENTITY FULL").await;
    shop.execute("UPDATE orders SET cents = 300").await;
    strict.reopen().await;
    strict.read(1).await;
    let envelope = json(&strict.records[0]);
    assert_eq!(envelope["after"]["note"].as_str().unwrap().len(), 32_000);
    assert_eq!(envelope["before"]["cents"], 200);
    assert_eq!(key(&strict.records[0]), r#"{"id":1}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd9_truncate_is_told_skipped_or_refused() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    shop.execute(&format!(
        "ALTER PUBLICATION {} SET (publish = 'insert, truncate')",
        shop.publication
    ))
    .await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (1, 'anna', 100, NULL)").await;
    hand.read(1).await;
    shop.execute("TRUNCATE orders").await;
    let text = full(&hand.failure().await);
    assert!(text.contains("public.orders was truncated"), "{text}");
    hand.source = shop.source().on_truncate(OnTruncate::Emit);
    hand.reopen().await;
    hand.read(2).await;
    let envelope = json(&hand.records[1]);
    assert_eq!((envelope["op"].as_str(), envelope["after"].is_null()), (Some("t"), true));
    assert!(hand.records[1].key.is_none());
    hand.source = shop.source().on_truncate(OnTruncate::Skip);
    hand.reopen().await;
    shop.execute("TRUNCATE orders; INSERT INTO orders VALUES (2, 'bert', 1, NULL)").await;
    hand.read(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd9_values_of_all_kinds_and_generated_columns() {
    let sql = "CREATE TYPE mood AS ENUM ('sad', 'glad');
        CREATE TABLE kinds (id uuid PRIMARY KEY, flag boolean, small smallint, int integer,
            single real, double double precision, exact numeric, text text, padded char(4),
            day date, at time, stamp timestamp, zoned timestamptz, plain json, binary_json jsonb,
            bytes bytea, list int[], feeling mood, span interval, nothing text,
            twice int GENERATED ALWAYS AS (int * 2) STORED);
        SET timezone = 'Asia/Tokyo'";
    let shop = Shop::new(sql, &["kinds"]).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute(
        "INSERT INTO kinds VALUES ('00000000-0000-0000-0000-00000000000a', true, -1, 2, 0.5, 'NaN',
            12345678901234567890.50, E'a\\n\"b\"', 'ab', '2026-11-22', '10:00', '2026-11-22 10:00',
            '2026-11-22 19:00:00.25+09', '{\"b\" : 1e400}', '{\"b\":1,\"a\":2}', '\\x00ff',
            '{1,NULL,3}', 'glad', '1 day', NULL)",
    )
    .await;
    hand.read(1).await;
    let expected = serde_json::json!({
        "id": "00000000-0000-0000-0000-00000000000a", "flag": true, "small": -1, "int": 2,
        "single": 0.5, "double": "NaN", "exact": "12345678901234567890.50", "text": "a\n\"b\"",
        "padded": "ab  ", "day": "2026-11-22", "at": "10:00:00", "stamp": "2026-11-22T10:00:00",
        "zoned": "2026-11-22T10:00:00.25Z", "plain": "{\"b\" : 1e400}",
        "binary_json": "{\"a\": 2, \"b\": 1}", "bytes": "AP8=", "list": "{1,NULL,3}",
        "feeling": "glad", "span": "1 day", "nothing": null});
    assert_eq!(json(&hand.records[0])["after"], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd15_a_new_shape_is_a_new_version_and_values_stay_with_their_columns() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (1, 'anna', 100, 'x')").await;
    shop.execute("ALTER TABLE orders ADD COLUMN state text DEFAULT 'new'").await;
    shop.execute("INSERT INTO orders VALUES (2, 'anna', 200, 'x', 'old')").await;
    shop.execute("ALTER TABLE orders DROP COLUMN customer").await;
    shop.execute("ALTER TABLE orders RENAME COLUMN cents TO pence").await;
    shop.execute("INSERT INTO orders VALUES (3, 300, 'y', 'z')").await;
    hand.read(3).await;
    let after: Vec<String> = hand.envelopes().iter().map(|it| it["after"].to_string()).collect();
    assert_eq!(
        after,
        [
            r#"{"cents":100,"customer":"anna","id":1,"note":"x"}"#,
            r#"{"cents":200,"customer":"anna","id":2,"note":"x","state":"old"}"#,
            r#"{"id":3,"note":"y","pence":300,"state":"z"}"#
        ]
    );
    let versions = |hand: &Hand| -> Vec<i64> {
        let version = |it: &serde_json::Value| it["source"]["schema_version"].as_i64().unwrap();
        hand.envelopes().iter().map(version).collect()
    };
    assert_eq!(versions(&hand), [1, 2, 3]);
    // the same after a restart: versions are in the position
    hand.source = shop.source();
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (4, 300, 'y', 'z')").await;
    hand.read(4).await;
    assert_eq!(versions(&hand), [1, 2, 3, 3]);

    hand.source = shop.source().on_schema_change(tidemill_connect::cdc::OnChange::Halt);
    hand.open().await.unwrap();
    shop.execute("ALTER TABLE orders DROP COLUMN note").await;
    shop.execute("INSERT INTO orders VALUES (5, 300, 'z')").await;
    let text = full(&hand.failure().await);
    assert!(text.contains("public.orders changed its shape after version 3"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn schemas_stand_in_the_envelope_if_wanted() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let mut hand = Hand::new(shop.source().schemas(true).name("shop"));
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (1, 'anna', 100, NULL)").await;
    hand.read(1).await;
    let value = json(&hand.records[0]);
    assert_eq!(value["payload"]["after"]["customer"], "anna");
    let schema = &value["schema"];
    assert_eq!(schema["name"], "shop.public.orders.Envelope");
    let fields: Vec<_> =
        schema["fields"].as_array().unwrap().iter().map(|it| &it["field"]).collect();
    assert_eq!(fields, ["before", "after", "source", "op", "ts_ms"]);
    let id = serde_json::json!({"type": "int64", "optional": false, "field": "id"});
    assert_eq!(schema["fields"][1]["fields"][0], id);
    let written = schema["fields"][2]["fields"].as_array().unwrap().len();
    assert_eq!(written, value["payload"]["source"].as_object().unwrap().len());
    let key: serde_json::Value = serde_json::from_str(&key(&hand.records[0])).unwrap();
    assert_eq!((key["payload"]["id"].as_i64(), &key["schema"]["fields"][0]), (Some(1), &id));
    let change: Change<Order> = serde_json::from_value(value).unwrap();
    assert_eq!(change.after.unwrap().cents, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd3_transactions_that_overlap_come_in_the_order_of_their_commits() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    let other = tidemill_connect::postgres::connect(&shop.config).await.unwrap();
    shop.execute("BEGIN; INSERT INTO orders VALUES (1, 'a', 1, NULL)").await;
    other.batch_execute("BEGIN; INSERT INTO orders VALUES (2, 'b', 1, NULL)").await.unwrap();
    shop.execute("INSERT INTO orders VALUES (3, 'a', 1, NULL)").await;
    other.batch_execute("INSERT INTO orders VALUES (4, 'b', 1, NULL); COMMIT").await.unwrap();
    shop.execute("INSERT INTO orders VALUES (5, 'a', 1, NULL); COMMIT").await;
    shop.execute("BEGIN; INSERT INTO orders VALUES (6, 'a', 1, NULL); ROLLBACK").await;
    hand.read(5).await;
    let keys: Vec<String> = hand.records.iter().map(key).collect();
    let order = [2, 4, 1, 3, 5].map(|id| format!("{{\"id\":{id}}}"));
    assert_eq!(keys, order);
    assert_eq!(hand.changes().len(), 5);
    let places: Vec<(u64, u64)> = hand
        .envelopes()
        .iter()
        .map(|it| (it["source"]["lsn"].as_u64().unwrap(), it["source"]["ord"].as_u64().unwrap()))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}
