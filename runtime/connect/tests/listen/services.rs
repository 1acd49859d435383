//! The client and both services are killed, or late.

use tidemill_connect::testing::PATIENCE;

use super::shop::{OrderPlaced, Shop, client, number, place};

/// Kills the client at the n-th pass of a place, and lets it ask again.
async fn client_killed_at(place: &str) {
    let shop = Shop::open().await;
    let _orders = shop.order_service("").spawn().unwrap();
    let _rewards = shop.rewards_service("").spawn().unwrap();
    let mut first = shop.process("client", &format!("{place}:7:kill"), 20);
    assert!(!first.wait(PATIENCE).unwrap().success(), "it was not killed");
    let mut second = shop.process("client", "", 20);
    assert!(second.wait(PATIENCE).unwrap().success());
    shop.verify(20).await;
    let log = shop.broker.committed(&shop.topic).unwrap().len();
    // killed before the emit it is in the log once, killed after it twice
    assert_eq!(log, if place == "LY1A" { 20 } else { 21 });
}

#[tokio::test(flavor = "multi_thread")]
async fn ly1_killed_before_the_emit_and_asked_again_with_the_same_id() {
    client_killed_at("LY1A").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ly1_killed_after_the_emit_before_the_answer_and_asked_again_with_the_same_id() {
    client_killed_at("LY1B").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ly2_one_service_is_down_while_the_other_works() {
    let shop = Shop::open().await;
    let emitter = shop.emitter();
    let rewards = shop.rewards_service("").spawn().unwrap();
    for order in 0..15 {
        let receipt = place(&emitter, &OrderPlaced::number(order)).await;
        rewards.applied_up_to(&receipt.partition, receipt.offset).await.unwrap();
    }
    let own = client(&shop.orders).await;
    assert_eq!(number(&own, "SELECT count(*) FROM orders").await, 0);
    rewards.stop().await.unwrap();
    let orders = shop.order_service("").spawn().unwrap();
    for order in 15..30 {
        let receipt = place(&emitter, &OrderPlaced::number(order)).await;
        orders.applied_up_to(&receipt.partition, receipt.offset).await.unwrap();
    }
    let _rewards = shop.rewards_service("").spawn().unwrap();
    shop.verify(30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ly3_a_consumer_killed_after_its_commit_does_not_apply_it_twice() {
    let shop = Shop::open().await;
    let emitter = shop.emitter();
    for order in 0..60 {
        place(&emitter, &OrderPlaced::number(order)).await;
    }
    for part in ["orders", "rewards"] {
        for pass in ["SK1C:1:kill", "SK1C:1:kill", "SK1B:1:kill"] {
            let mut service = shop.process(part, pass, 0);
            assert!(!service.wait(PATIENCE).unwrap().success(), "it was not killed");
        }
    }
    let _orders = shop.process("orders", "", 0);
    let _rewards = shop.process("rewards", "", 0);
    shop.verify(60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ly4_the_same_event_at_two_offsets_is_applied_once_and_counted() {
    let shop = Shop::open().await;
    let emitter = shop.emitter();
    let orders = shop.order_service("").spawn().unwrap();
    let first = place(&emitter, &OrderPlaced::number(0)).await;
    orders.applied_up_to(&first.partition, first.offset).await.unwrap();
    // in another transaction of the sink, then twice within one
    let again = place(&emitter, &OrderPlaced::number(0)).await;
    assert_eq!((again.partition.clone(), again.offset), (first.partition, first.offset.next()));
    orders.applied_up_to(&again.partition, again.offset).await.unwrap();
    assert_eq!(orders.metrics().duplicates_ignored, 1);
    orders.stop().await.unwrap();
    for _ in 0..3 {
        place(&emitter, &OrderPlaced::number(1)).await;
    }
    let orders = shop.order_service("").spawn().unwrap();
    let _rewards = shop.rewards_service("").spawn().unwrap();
    shop.verify(2).await;
    let last = place(&emitter, &OrderPlaced::number(1)).await;
    orders.applied_up_to(&last.partition, last.offset).await.unwrap();
    assert_eq!(orders.metrics().duplicates_ignored, 3);
}
