//! Aborted transactions of Kafka's in between.

use std::time::Duration;

use tidemill::record::Offset;
use tidemill_connect::sink::StartAt;
use tidemill_connect::testing::{PATIENCE, unique};

use super::support::{Stage, send_one, transactional, until};

#[tokio::test(flavor = "multi_thread")]
async fn sk4_aborted_records_have_no_effect_and_offsets_go_on_behind_them() {
    let stage = Stage::new(2).await;
    let mut producer = transactional(&stage.broker, &unique("upstream"));
    let handle = stage.sink(&[]).spawn().unwrap();
    for round in 0..20 {
        producer.begin_transaction().unwrap();
        for number in 0..10 {
            let amount = (round * 10 + number).to_string();
            send_one(&mut producer, &stage.topic, Some(number % 2), None, Some(&amount));
        }
        if round % 3 == 1 {
            producer.flush(PATIENCE).unwrap();
            producer.abort_transaction(PATIENCE).unwrap();
        } else {
            producer.commit_transaction(PATIENCE).unwrap();
        }
    }
    stage.drained().await;
    assert_eq!(stage.verify().await, 130);
    // aborted at the end: nothing to be seen, and the stored offset follows
    producer.begin_transaction().unwrap();
    for _ in 0..5 {
        send_one(&mut producer, &stage.topic, Some(0), None, Some("999"));
    }
    producer.flush(PATIENCE).unwrap();
    producer.abort_transaction(PATIENCE).unwrap();
    // 20 rounds of 5 records and a marker, then 5 and a marker
    let end = Offset(20 * 6 + 6);
    until("the offset is behind the last marker", || async {
        let sql = "SELECT max(next_offset) FROM sink_offset WHERE partition = 0";
        stage.count(sql).await == end.0
    })
    .await;
    assert_eq!(stage.verify().await, 130);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk4_an_open_transaction_is_waited_for() {
    let stage = Stage::new(1).await;
    let mut producer = transactional(&stage.broker, &unique("upstream"));
    producer.begin_transaction().unwrap();
    send_one(&mut producer, &stage.topic, Some(0), None, Some("1"));
    producer.flush(PATIENCE).unwrap();
    // begins behind the last stable offset, so what is open now is not left out
    let handle = stage.sink(&[]).start_at(StartAt::Latest).spawn().unwrap();
    until("the sink has begun", || async {
        handle.applied().get(&stage.at(0)) == Some(&Offset(0))
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 0);
    producer.commit_transaction(PATIENCE).unwrap();
    handle.applied_up_to(&stage.at(0), Offset(0)).await.unwrap();
    assert_eq!(stage.verify().await, 1);
    handle.stop().await.unwrap();
}
