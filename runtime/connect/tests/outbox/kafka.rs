//! A Kafka that loses answers or is gone for a while, on a broker of its own.

use std::time::Duration;

use tidemill_broker::fault::{Action, Api, Faults};
use tidemill_broker::server::{Server, ServerConfig};
use tidemill_connect::testing::{Broker, until};

use crate::shop::{Shop, server};

#[test]
fn ob6_a_commit_whose_answer_is_lost_takes_effect_once() {
    // the first commit says that the session began; of the later ones some go wrong
    let hit = |faults: Faults, nth, action| faults.on(Api::EndTxn).nth(nth).then(action);
    let mut faults = Faults::plan();
    faults = hit(faults, 2, Action::ResetAfter);
    faults = hit(faults, 5, Action::DropReply);
    faults = hit(faults, 9, Action::DropRequest);
    faults = hit(faults, 13, Action::HoldUntilNextBegin);
    faults = hit(faults, 17, Action::Reset);
    let kafka = Server::start(ServerConfig { faults, ..ServerConfig::default() }).unwrap();
    let broker = Broker::at(&kafka.bootstrap_servers());
    let shop = Shop::on(&server().new_database("ob6").unwrap(), broker);
    let builder = shop.builder().transaction_timeout(Duration::from_secs(3));
    let handle = builder.build().unwrap().spawn().unwrap();
    for _ in 0..20 {
        shop.change_all(&["a", "b", "a"]);
        shop.wait_until_empty(&handle);
    }
    let metrics = handle.metrics();
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(shop.assert_exactly_once(), 60);
    assert!(metrics.producers > 2, "the producer is replaced after a doubt: {metrics:?}");
}

#[test]
fn ob8_events_wait_while_kafka_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = Some(folder.path().to_owned());
    let mut config = ServerConfig { data_dir, ..ServerConfig::default() };
    let kafka = Server::start(config.clone()).unwrap();
    // the same address after a restart
    config.listen = kafka.address();
    let broker = Broker::at(&kafka.bootstrap_servers());
    let shop = Shop::on(&server().new_database("ob8").unwrap(), broker);
    let handle = shop.builder().build().unwrap().spawn().unwrap();
    shop.change_all(&["a", "b", "a"]);
    shop.wait_until_empty(&handle);
    kafka.stop().unwrap();
    shop.change_all(&["a", "b", "a", "c", "a"]);
    std::thread::sleep(Duration::from_secs(2));
    assert!(!handle.is_ended());
    assert_eq!(shop.rows(), 5, "rows wait in the table");
    let kafka = Server::start(config).unwrap();
    shop.wait_until_empty(&handle);
    until("the rest", || (handle.metrics().records >= 8).then_some(()));
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(shop.assert_exactly_once(), 8);
    drop(kafka);
}
