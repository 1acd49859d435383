//! The emitter: keys, receipts, reading one's own writes, a broker that is not there.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill::client::ClientConfig;
use tidemill_connect::listen::{EmitError, Emitter};
use tidemill_connect::sink::postgres::{AppliedPositions, PositionError};
use tidemill_connect::testing::PATIENCE;

use super::shop::{OrderPlaced, Shop, client};

#[tokio::test(flavor = "multi_thread")]
async fn ly6_the_key_is_the_event_s_own_so_one_order_is_in_one_partition() {
    let shop = Shop::open().await;
    // two emitters, one of which was told another partitioner
    let mut other = shop.broker.config();
    other.set("partitioner", "random");
    let emitters = [shop.emitter(), Emitter::new(&other, &shop.topic).unwrap()];
    for number in 0..40 {
        let order = OrderPlaced::number(number);
        let mut partitions = BTreeSet::new();
        for emitter in emitters.iter().cycle().take(4) {
            partitions.insert(emitter.emit(&order).await.unwrap().partition);
        }
        assert_eq!(partitions.len(), 1, "{partitions:?}");
    }
    let log = shop.broker.committed(&shop.topic).unwrap();
    let used: BTreeSet<i32> = log.iter().map(|record| record.partition).collect();
    assert_eq!(used.len(), 3, "the keys are spread");
    assert!(log.iter().all(|record| record.key_text().starts_with("order-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_names_the_offset_of_its_own_event() {
    let shop = Shop::open().await;
    let emitter = shop.emitter();
    let mut emitting = tokio::task::JoinSet::new();
    for number in 0..500 {
        let emitter = emitter.clone();
        emitting.spawn(async move {
            let order = OrderPlaced::number(number);
            (order.clone(), emitter.emit(&order).await.unwrap())
        });
    }
    let log = shop.broker.committed(&shop.topic).unwrap();
    assert!(log.len() <= 500);
    let receipts = emitting.join_all().await;
    let log = shop.broker.committed(&shop.topic).unwrap();
    assert_eq!(log.len(), 500);
    for (order, receipt) in receipts {
        let at = |record: &&tidemill_connect::testing::Seen| {
            record.partition == receipt.partition.partition.0 && record.offset == receipt.offset.0
        };
        let record = log.iter().find(at).unwrap();
        assert_eq!(record.header("id"), Some(order.event_id.to_string()));
        assert_eq!(record.header("type").as_deref(), Some("OrderPlaced"));
        assert_eq!(record.key_text(), order.order);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_his_receipt_reads_his_own_write() {
    let shop = Shop::open().await;
    let emitter = shop.emitter();
    let sink = shop.consumer("orders");
    let database = shop.orders.parse().unwrap();
    let positions = AppliedPositions::new(&database, "sink_offset", &sink).unwrap();
    let receipt = emitter.emit(&OrderPlaced::number(0)).await.unwrap();
    let short = Duration::from_millis(50);
    let waited = positions.applied_up_to(&receipt.partition, receipt.offset, short).await;
    assert!(matches!(waited, Err(PositionError::Timeout { .. })), "nobody applies: {waited:?}");
    let orders = shop.order_service("").spawn().unwrap();
    let own = client(&shop.orders).await;
    for number in 1..20 {
        let order = OrderPlaced::number(number);
        let receipt = emitter.emit(&order).await.unwrap();
        positions.applied_up_to(&receipt.partition, receipt.offset, PATIENCE).await.unwrap();
        let found = own.query("SELECT 1 FROM orders WHERE id = $1", &[&order.order]).await;
        assert_eq!(found.unwrap().len(), 1, "{} is not there", order.order);
    }
    orders.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_caller_is_told_to_come_again() {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", "127.0.0.1:9").set("sasl.password", "secret42");
    let emitter = Emitter::new(&config, "orders").unwrap();
    let order = OrderPlaced::number(1);
    let error = emitter.emit(&order).await.unwrap_err();
    assert!(matches!(error, EmitError::NotSent { .. }), "{error:?}");
    assert!(error.to_string().contains(&order.event_id.to_string()), "{error}");
    assert!(!format!("{error:?} {emitter:?}").contains("secret42"));
}
