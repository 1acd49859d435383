//! Topics that change under a sink.

use std::time::Duration;

use tidemill::client::Admin;
use tidemill::record::Offset;
use tidemill_connect::postgres::TableName;
use tidemill_connect::sink::StartAt;
use tidemill_connect::sink::postgres::move_offset;
use tidemill_connect::testing::PATIENCE;

use super::support::{Stage, failure, send_one, server, transactional, until};

/// What a sink leaves behind that applied 50 records.
async fn applied_50() -> Stage {
    let stage = Stage::new(1).await;
    stage.send(0..50);
    let handle = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    handle.stop().await.unwrap();
    stage
}

fn make_again(stage: &Stage) {
    stage.broker.delete(&[&stage.topic]).unwrap();
    let admin = Admin::new(&stage.broker.config()).unwrap();
    tidemill_connect::testing::until("the topic is gone", || {
        let found = admin.topics(&[&stage.topic], PATIENCE).ok()?;
        found[0].partitions.is_none().then_some(())
    });
    stage.broker.create(&stage.topic, 1, &[]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk7_a_topic_made_again_stops_the_sink() {
    let stage = applied_50().await;
    make_again(&stage);
    // as many as before: no offset would tell
    stage.send(0..70);
    let told = failure(stage.sink(&[]).spawn().unwrap()).await;
    assert!(told.contains("deleted and made again"), "{told}");
    assert!(told.contains(&stage.topic) && told.contains("a sink of another name"), "{told}");
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn sk7_a_topic_made_again_under_a_running_sink_stops_it() {
    let stage = Stage::new(1).await;
    stage.send(0..50);
    let handle = stage.sink(&[("topic.metadata.refresh.interval.ms", "500")]).spawn().unwrap();
    stage.drained().await;
    make_again(&stage);
    stage.send(0..30);
    let told = failure(handle).await;
    assert!(told.contains("made again"), "{told}");
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn sk7_a_log_that_is_shorter_than_the_offset_stops_the_sink() {
    let stage = applied_50().await;
    let client = stage.client().await;
    client.execute("UPDATE sink_offset SET next_offset = 51", &[]).await.unwrap();
    let told = failure(stage.sink(&[]).spawn().unwrap()).await;
    assert!(told.contains("is 51, but its log ends at 50"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sk7_retention_that_overtook_stops_the_sink_until_an_operator_decides() {
    let stage = applied_50().await;
    stage.send(50..90);
    let admin = Admin::new(&stage.broker.config()).unwrap();
    admin.delete_records(&[(stage.at(0), Offset(60))], PATIENCE).unwrap();
    let told = failure(stage.sink(&[]).spawn().unwrap()).await;
    assert!(told.contains("is 50, but its log begins at 60: 10 offsets"), "{told}");
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 50);
    let table = TableName::new("sink_offset").unwrap();
    let client = stage.client().await;
    let before = move_offset(&*client, &table, &stage.sink, &stage.at(0), Offset(60)).await;
    assert_eq!(before.unwrap(), Offset(50));
    let handle = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 80);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk7_a_partition_that_is_not_known_starts_at_0_and_a_new_sink_where_it_is_told() {
    let mut stage = Stage::new(3).await;
    stage.send(0..30);
    // known with two partitions, before the third was added
    let sink = stage.sink(&[]).start_at(StartAt::Latest);
    let handle = sink.spawn().unwrap();
    until("it has begun at the ends", || async { handle.applied().len() == 3 }).await;
    assert_eq!(stage.count("SELECT sum(next_offset)::bigint FROM sink_offset").await, 30);
    handle.stop().await.unwrap();
    let client = stage.client().await;
    client.execute("DELETE FROM sink_offset WHERE partition = 2", &[]).await.unwrap();
    let handle = stage.sink(&[]).start_at(StartAt::Latest).spawn().unwrap();
    stage.drained().await;
    // `Latest` is for topics: nothing of an added partition is left out
    let third = stage.broker.committed(&stage.topic).unwrap();
    let third = third.iter().filter(|record| record.partition == 2).count();
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, third as i64);
    handle.stop().await.unwrap();
    stage.sink = tidemill_connect::testing::unique("another");
    stage.client().await.execute("DELETE FROM ledger", &[]).await.unwrap();
    let handle = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    assert_eq!(stage.verify().await, 30);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk7_a_partition_added_under_a_running_sink_is_applied_from_its_start() {
    let stage = Stage::new(2).await;
    stage.send(0..20);
    let kafka = [("topic.metadata.refresh.interval.ms", "500")];
    let handle = stage.sink(&kafka).start_at(StartAt::Latest).spawn().unwrap();
    until("it has begun at the ends", || async { handle.applied().len() == 2 }).await;
    let admin = Admin::new(&stage.broker.config()).unwrap();
    admin.create_partitions(&stage.topic, 3, PATIENCE).unwrap();
    tidemill_connect::testing::until("the third partition", || {
        let found = admin.topics(&[&stage.topic], PATIENCE).ok()?;
        (found[0].partitions == Some(3)).then_some(())
    });
    // most likely before the sink has heard of it: `Latest` must leave none of these out
    let mut producer = transactional(&stage.broker, &stage.sink);
    producer.begin_transaction().unwrap();
    for amount in 20..40 {
        send_one(&mut producer, &stage.topic, Some(2), None, Some(&amount.to_string()));
    }
    producer.commit_transaction(PATIENCE).unwrap();
    stage.drained().await;
    assert_eq!(handle.applied().len(), 3);
    handle.stop().await.unwrap();
    let told = "SELECT count(*) FROM ledger WHERE partition = 2 AND amount BETWEEN 20 AND 39";
    assert_eq!(stage.count(told).await, 20);
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 20, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn sk7_a_topic_that_does_not_exist_is_waited_for_a_while() {
    let mut stage = Stage::new(1).await;
    stage.topic = tidemill_connect::testing::unique("later");
    let handle = stage.sink(&[]).spawn().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!handle.has_ended());
    stage.broker.create(&stage.topic, 1, &[]).unwrap();
    stage.send(0..5);
    stage.drained().await;
    assert_eq!(stage.verify().await, 5);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_can_not_be_had_is_told_without_its_password() {
    let stage = Stage::new(1).await;
    stage.send(0..1);
    let text = format!(
        "host=127.0.0.1 port={} user=postgres password=secret42 dbname=no_such_database",
        server().port()
    );
    let mut config = stage.broker.config();
    config.set("fetch.wait.max.ms", "50");
    let sink =
        tidemill_connect::sink::PostgresSink::new(&config, &text.parse().unwrap(), &stage.sink);
    assert!(!format!("{sink:?}").contains("secret42"));
    let told = failure(super::support::ledger_sink(sink.topics([&*stage.topic])).spawn().unwrap());
    let told = told.await;
    assert!(told.contains("no_such_database") && !told.contains("secret42"), "{told}");
}
