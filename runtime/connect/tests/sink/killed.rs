//! Killed before, in and after the commit: each effect once.

use tidemill_connect::testing::PATIENCE;

use super::support::Stage;

/// Kills a sink at the n-th pass of a place, lets another one finish, compares.
async fn killed_at(place: &str, pass: u32) {
    let stage = Stage::new(3).await;
    stage.send(0..400);
    let mut first = stage.process(&format!("{place}:{pass}:kill"), &[]);
    let status = first.wait(PATIENCE).unwrap();
    assert!(!status.success(), "it was not killed: {status}");
    let before = stage.count("SELECT count(*) FROM ledger").await;
    assert!(before < 400, "nothing was left to be done after {place}");
    stage.send(400..500);
    let _second = stage.process("", &[]);
    stage.drained().await;
    assert_eq!(stage.verify().await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn sk1_killed_before_the_transaction() {
    killed_at("SK1A", 1).await;
    killed_at("SK1A", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sk1_killed_before_the_commit() {
    killed_at("SK1B", 1).await;
    killed_at("SK1B", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sk1_killed_after_the_commit_before_the_group_hears_of_it() {
    killed_at("SK1C", 1).await;
    killed_at("SK1C", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sk1_the_group_s_offsets_do_not_count() {
    let stage = Stage::new(1).await;
    stage.send(0..20);
    let handle = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    handle.stop().await.unwrap();
    // as if the group had forgotten, or somebody had reset it
    let sql = "UPDATE sink_offset SET next_offset = 12";
    let client = stage.client().await;
    client.execute("DELETE FROM ledger WHERE record_offset >= 12", &[]).await.unwrap();
    client.execute(sql, &[]).await.unwrap();
    let handle = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    assert_eq!(stage.verify().await, 20);
    stage.told(&handle).await;
    assert_eq!(handle.metrics().records_applied, 8);
    handle.stop().await.unwrap();
}
