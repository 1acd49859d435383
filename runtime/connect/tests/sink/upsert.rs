//! Rows guarded by their revision.

use serde::{Deserialize, Serialize};
use tidemill::client::Producer;
use tidemill::record::{Headers, Offset};
use tidemill_connect::sink::postgres::Upsert;
use tidemill_connect::sink::{OnPoison, SinkHandle};
use tidemill_connect::testing::PATIENCE;

use super::support::{Stage, failure, options, send, send_with};

#[derive(Debug, Serialize, Deserialize)]
struct Balance {
    account: String,
    cents: i64,
    /// As text: more than a number of JavaScript holds.
    revision: String,
}

const TABLE: &str = "CREATE TABLE balance (
    account varchar(12) PRIMARY KEY, cents numeric(12, 2) DEFAULT 0, revision bigint,
    gone boolean NOT NULL DEFAULT false, touched timestamptz DEFAULT now())";

fn balance(account: &str, cents: i64, revision: i64) -> (Option<String>, String) {
    let account = account.to_owned();
    let row = Balance { account: account.clone(), cents, revision: revision.to_string() };
    (Some(account), serde_json::to_string(&row).unwrap())
}

async fn stage() -> Stage {
    let stage = Stage::new(2).await;
    stage.client().await.batch_execute(TABLE).await.unwrap();
    stage
}

fn spawn(stage: &Stage, upsert: Upsert) -> SinkHandle {
    let sink = stage.postgres(&[]).upsert::<Balance>("public.balance", upsert).unwrap();
    sink.options(options()).on_poison(OnPoison::DeadLetter).spawn().unwrap()
}

fn guarded() -> Upsert {
    Upsert::revision_guarded("revision").columns(["cents"])
}

async fn rows(stage: &Stage) -> Vec<(String, String, i64, bool)> {
    let sql = "SELECT account, cents::text, revision, gone FROM balance ORDER BY account";
    let rows = stage.client().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

fn row(account: &str, cents: &str, revision: i64) -> (String, String, i64, bool) {
    (account.to_owned(), cents.to_owned(), revision, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn sk6_late_repeated_and_equal_revisions_change_nothing() {
    let stage = stage().await;
    let large = 9_007_199_254_740_993;
    let records = [
        balance("ann", 200, 2),
        balance("ann", 100, 3),
        balance("ann", 100, 3),
        balance("ann", 200, 2),
        balance("bob", 7, large),
        balance("bob", 8, large - 1),
        balance("bob", 9, large),
    ];
    // all in one transaction: a key several times in a batch
    send(&stage.broker, &stage.topic, records.clone());
    let handle = spawn(&stage, guarded());
    stage.drained().await;
    let expected = [row("ann", "100.00", 3), row("bob", "7.00", large)];
    assert_eq!(rows(&stage).await, expected);
    // and one by one
    for record in records {
        send(&stage.broker, &stage.topic, [record]);
        stage.drained().await;
    }
    assert_eq!(rows(&stage).await, expected);
    send(&stage.broker, &stage.topic, [balance("ann", 50, 4)]);
    stage.drained().await;
    assert_eq!(rows(&stage).await[0], row("ann", "50.00", 4));
    stage.told(&handle).await;
    let metrics = handle.metrics();
    assert_eq!((metrics.records_applied, metrics.duplicates_ignored), (15, 12));
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk6_a_deleted_row_is_not_brought_back_by_a_late_update() {
    let stage = stage().await;
    let handle = spawn(&stage, guarded().soft_delete("gone"));
    let delete = |account: &str, revision: i64| {
        let mut producer = Producer::new(&stage.broker.config()).unwrap();
        let mut headers = Headers::new();
        headers.add("revision", Some(revision.to_string().into_bytes()));
        send_with(&mut producer, &stage.topic, Some(0), Some(account), None, &headers);
        producer.flush(PATIENCE).unwrap();
    };
    delete("ann", 5);
    stage.drained().await;
    send(&stage.broker, &stage.topic, [balance("ann", 1, 4), balance("bob", 2, 1)]);
    stage.drained().await;
    let gone = |account: &str, revision| (account.to_owned(), "0.00".to_owned(), revision, true);
    assert_eq!(rows(&stage).await, [gone("ann", 5), row("bob", "2.00", 1)]);
    delete("bob", 2);
    send(&stage.broker, &stage.topic, [balance("ann", 6, 6)]);
    stage.drained().await;
    assert_eq!(rows(&stage).await, [row("ann", "6.00", 6), gone("bob", 2)]);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk6_the_offset_can_be_the_revision() {
    let stage = stage().await;
    let upsert = Upsert::guarded_by_offset("revision").columns(["cents"]).soft_delete("gone");
    let handle = spawn(&stage, upsert);
    send(&stage.broker, &stage.topic, (0..40).map(|n| balance("ann", n, 0)));
    stage.drained().await;
    assert_eq!(rows(&stage).await, [row("ann", "39.00", 39)]);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk6_cells_that_do_not_fit_are_refused_not_cut() {
    let stage = stage().await;
    send(
        &stage.broker,
        &stage.topic,
        [
            balance("ann", 1, 1),
            balance("much too long a name", 2, 1),
            balance("bob", 99_999_999_999, 1),
            (Some("x".into()), r#"{"account": "x", "cents": 1, "revision": "new"}"#.into()),
            balance("cid", 3, 1),
        ],
    );
    let handle = spawn(&stage, guarded());
    stage.drained().await;
    assert_eq!(rows(&stage).await, [row("ann", "1.00", 1), row("cid", "3.00", 1)]);
    stage.told(&handle).await;
    assert_eq!(handle.metrics().dead_letters, 3);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_lacks_is_told_at_the_start() {
    let stage = stage().await;
    let refused = async |table: &str, upsert: Upsert| {
        let sink = stage.postgres(&[]).upsert::<Balance>(table, upsert).unwrap();
        failure(sink.options(options()).spawn().unwrap()).await
    };
    let told = refused("no_such", guarded()).await;
    assert!(told.contains("there is no table \"no_such\""), "{told}");
    let told = refused("balance", Upsert::revision_guarded("version")).await;
    assert!(told.contains("has no column \"version\""), "{told}");
    let told = refused("x\"; DROP TABLE balance; --", guarded()).await;
    assert!(told.contains("there is no table"), "{told}");
    let told = refused("balance", guarded().key(["a\"b"])).await;
    assert!(told.contains("has no column"), "{told}");
    stage.client().await.batch_execute("ALTER TABLE balance ADD c int NOT NULL").await.unwrap();
    let told = refused("balance", guarded().soft_delete("gone")).await;
    assert!(told.contains("NOT NULL and has no default"), "{told}");
    assert_eq!(stage.count("SELECT count(*) FROM balance").await, 0);
    assert_eq!(Offset(stage.count("SELECT count(*) FROM sink_offset").await), Offset(0));
}
