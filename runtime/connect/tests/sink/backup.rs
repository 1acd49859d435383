//! A database that is restored from a backup, or crashes.

use tidemill_connect::testing::{Broker, PgOptions, PgServer, Shutdown, unique};

use super::support::Stage;

async fn stage_on(server: &PgServer) -> (Stage, String) {
    let broker = Broker::shared();
    let topic = broker.topic("payments", 2).unwrap();
    let name = unique("ledger");
    server.create_database(&name).unwrap();
    let database = server.connection_string(&name);
    let stage = Stage { broker, database, topic, sink: unique("sink") };
    stage.make_ledger().await;
    (stage, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn sk8_a_database_restored_from_a_backup_goes_on_from_its_own_offsets() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    let (mut stage, name) = stage_on(&server).await;
    stage.send(0..100);
    let handle = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    server.stop(Shutdown::Fast).unwrap();
    let backup = server.copy().unwrap();
    server.start_again().unwrap();
    stage.send(100..200);
    stage.drained().await;
    assert_eq!(stage.verify().await, 200);
    handle.stop().await.unwrap();
    // the copy has data and offsets of the same moment
    stage.database = backup.connection_string(&name);
    assert_eq!(stage.count("SELECT count(*) FROM ledger").await, 100);
    let handle = stage.sink(&[]).spawn().unwrap();
    stage.drained().await;
    assert_eq!(stage.verify().await, 200);
    stage.told(&handle).await;
    assert_eq!(handle.metrics().records_applied, 100);
    handle.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sk3_a_server_that_is_killed_again_and_again_is_waited_for() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    let (stage, _) = stage_on(&server).await;
    let handle = stage.sink(&[]).spawn().unwrap();
    for round in 0..4 {
        stage.send(round * 100..(round + 1) * 100);
        // somewhere in between
        std::thread::sleep(std::time::Duration::from_millis(fastrand::u64(0..60)));
        server.stop(if round % 2 == 0 { Shutdown::Kill } else { Shutdown::Immediate }).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(200));
        server.start_again().unwrap();
    }
    stage.drained().await;
    assert_eq!(stage.verify().await, 400);
    stage.told(&handle).await;
    assert!(handle.metrics().retries > 0, "{:?}", handle.metrics());
    handle.stop().await.unwrap();
}
