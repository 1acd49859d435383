//! Deadlocks, serialization failures, and commits without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tidemill_connect::sink::SinkHandle;
use tokio_postgres::IsolationLevel;

use super::proxy::{Cut, Proxy};
use super::support::{Stage, ledger_sink, options, server, until};

/// Runs a sink through a proxy that cuts one commit.
async fn cut(how: Cut) -> (Stage, SinkHandle) {
    let stage = Stage::new(2).await;
    let proxy = Proxy::start(server().port()).await;
    let mut database = stage.config();
    let through = stage.database.replace(&format!("port={}", server().port()), "");
    database.clone_from(&format!("{through} port={}", proxy.port).parse().unwrap());
    let mut config = stage.broker.config();
    config.set("fetch.wait.max.ms", "50");
    let sink = tidemill_connect::sink::PostgresSink::new(&config, &database, &stage.sink);
    let handle = ledger_sink(sink.topics([&*stage.topic])).spawn().unwrap();
    stage.send(0..100);
    stage.drained().await;
    proxy.cut(how);
    stage.send(100..300);
    stage.drained().await;
    assert!(!proxy.is_armed(), "no commit was cut");
    stage.told(&handle).await;
    assert_eq!(stage.verify().await, 300);
    assert_eq!(handle.metrics().retries, 1);
    (stage, handle)
}

#[tokio::test(flavor = "multi_thread")]
async fn sk3_a_commit_whose_answer_is_lost_is_found_by_its_offset() {
    let (_stage, handle) = cut(Cut::AfterCommit).await;
    let metrics = handle.metrics();
    assert_eq!((metrics.records_applied, metrics.fenced), (300, 0), "it was not done again");
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk3_a_commit_that_never_arrived_is_repeated() {
    let (_stage, handle) = cut(Cut::BeforeCommit).await;
    assert_eq!(handle.metrics().records_applied, 300);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk3_a_deadlock_repeats_the_whole_batch_from_its_first_offset() {
    let stage = Stage::new(1).await;
    let client = stage.client().await;
    let sql = "CREATE TABLE a (id int PRIMARY KEY, n bigint); INSERT INTO a VALUES (1, 0), (2, 0)";
    client.batch_execute(sql).await.unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attempts);
    let (database, deadlock) = (stage.config(), "UPDATE a SET n = n + 1 WHERE id =");
    let sink = stage.postgres(&[]).with(move |tx, records| {
        let (counted, database) = (Arc::clone(&counted), database.clone());
        Box::pin(async move {
            for record in records {
                tx.execute("UPDATE a SET n = n + 1 WHERE id = 1", &[]).await?;
                if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                    // another transaction, that locks them the other way round
                    let mut other = tidemill_connect::postgres::connect(&database).await?;
                    tokio::spawn(async move {
                        let tx = other.transaction().await.unwrap();
                        tx.batch_execute("SET deadlock_timeout = '1h'").await.unwrap();
                        tx.execute(&format!("{deadlock} 2"), &[]).await.unwrap();
                        tx.execute(&format!("{deadlock} 1"), &[]).await.unwrap();
                        tx.rollback().await.unwrap();
                    });
                    waits_for_a_lock(tx).await?;
                }
                tx.execute("UPDATE a SET n = n + 1 WHERE id = 2", &[]).await?;
                tx.execute(
                    "INSERT INTO ledger (partition, record_offset, amount) VALUES (0, $1, $2)",
                    &[&record.offset.0, &record.json::<i64>()?],
                )
                .await?;
            }
            Ok(())
        })
    });
    stage.send(0..20);
    let handle = sink.options(options()).spawn().unwrap();
    stage.drained().await;
    assert_eq!(stage.verify().await, 20);
    assert_eq!(stage.count("SELECT sum(n)::bigint FROM a").await, 40);
    stage.told(&handle).await;
    assert_eq!(handle.metrics().retries, 1);
    assert_eq!(attempts.load(Ordering::SeqCst), 21, "one record was tried twice");
    handle.stop().await.unwrap();
}

/// Returns when another session of this database waits for a lock of ours.
async fn waits_for_a_lock(
    tx: &tokio_postgres::Transaction<'_>,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT count(*) FROM pg_stat_activity
                WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while tx.query_one(sql, &[]).await?.get::<_, i64>(0) == 0 {
        tx.execute("SELECT pg_stat_clear_snapshot()", &[]).await?;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sk3_a_serialization_failure_repeats_the_whole_batch() {
    let stage = Stage::new(1).await;
    let client = stage.client().await;
    client.batch_execute("CREATE TABLE total AS SELECT 0::bigint AS n").await.unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    let (counted, database) = (Arc::clone(&attempts), stage.config());
    let sink =
        stage.postgres(&[]).isolation(IsolationLevel::Serializable).with(move |tx, records| {
            let (counted, database) = (Arc::clone(&counted), database.clone());
            Box::pin(async move {
                let n: i64 = tx.query_one("SELECT n FROM total", &[]).await?.get(0);
                if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                    let other = tidemill_connect::postgres::connect(&database).await?;
                    other.execute("UPDATE total SET n = n + 1000", &[]).await?;
                }
                let sum = n + records.len() as i64;
                tx.execute("UPDATE total SET n = $1", &[&sum]).await?;
                Ok(())
            })
        });
    stage.send(0..20);
    let handle = sink.options(options()).spawn().unwrap();
    stage.drained().await;
    until("everything is counted", || async { stage.count("SELECT n FROM total").await == 1020 })
        .await;
    stage.told(&handle).await;
    assert_eq!(handle.metrics().retries, 1);
    handle.stop().await.unwrap();
}
