//! An owner that is suspended, replaced, and comes back.

use rustix::process::Signal;
use tidemill_connect::sink::postgres::schema;
use tidemill_connect::testing::PATIENCE;

use super::support::{Stage, until};

/// Suspends a sink at a place, lets another member take over, wakes the first one up again.
async fn replaced_at(place: &str) {
    let stage = Stage::new(2).await;
    let tables = schema("sink_offset", "sink_dead_letter").unwrap();
    stage.client().await.batch_execute(&tables).await.unwrap();
    stage.send(0..300);
    let armed = format!("{place}:2:stop");
    let zombie = stage.process(&armed, &[("SINK_MEMBER", "first"), ("SINK_IDLE_MS", "1000")]);
    until("the first owner is suspended", || async {
        stage.count("SELECT count(*) FROM sink_offset WHERE next_offset > 0").await > 0
    })
    .await;
    let mut second = stage.process("", &[("SINK_MEMBER", "second"), ("SINK_IDLE_MS", "1000")]);
    stage.drained().await;
    assert_eq!(stage.verify().await, 300);
    zombie.signal(Signal::CONT).unwrap();
    // it finds its transaction refused, its membership gone, and shares what comes now
    stage.send(300..600);
    stage.drained().await;
    assert_eq!(stage.verify().await, 600);
    assert!(second.ended().unwrap().is_none(), "the new owner ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn sk2_a_zombie_that_had_not_begun_its_transaction_changes_nothing() {
    replaced_at("SK1A").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sk2_a_zombie_in_the_middle_of_its_transaction_loses_its_locks_and_changes_nothing() {
    replaced_at("SK1B").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sk2_a_compare_and_set_that_finds_another_offset_goes_on_from_there() {
    let stage = Stage::new(1).await;
    stage.send(0..10);
    let handle = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    // somebody else applies the next five
    stage.client().await.execute("UPDATE sink_offset SET next_offset = 15", &[]).await.unwrap();
    stage.send(10..30);
    handle.applied_up_to(&stage.at(0), tidemill::record::Offset(29)).await.unwrap();
    let client = stage.client().await;
    let sql = "SELECT record_offset FROM ledger ORDER BY id";
    let rows = client.query(sql, &[]).await.unwrap();
    let offsets: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(offsets, (0..10).chain(15..30).collect::<Vec<_>>());
    assert!(handle.metrics().fenced > 0, "{:?}", handle.metrics());
    let stopped = tokio::time::timeout(PATIENCE, handle.stop()).await;
    stopped.expect("it stops").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk2_two_members_share_and_hand_over() {
    let stage = Stage::new(4).await;
    stage.send(0..200);
    let first = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    let second = stage.sink(&[]).spawn().unwrap();
    until("both have partitions", || async {
        stage.send(200..204);
        first.applied().len() == 2 && second.applied().len() == 2
    })
    .await;
    stage.drained().await;
    first.stop().await.unwrap();
    stage.send(204..300);
    stage.drained().await;
    until("the second has all", || async { second.applied().len() == 4 }).await;
    stage.verify().await;
    second.stop().await.unwrap();
}
