//! The throw-away servers themselves: they start, break as they are told, and leave nothing behind.

#![cfg(all(feature = "testing", feature = "postgres"))]

use tidemill_connect::postgres::{connect, identify};
use tidemill_connect::testing::{PgOptions, PgServer, Shutdown};

#[tokio::test]
async fn a_server_survives_a_crash_with_its_data_and_its_identity() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    let config = server.new_database("shop").unwrap().parse().unwrap();
    let client = connect(&config).await.unwrap();
    client.batch_execute("CREATE TABLE a AS SELECT 7 AS b").await.unwrap();
    let (before, standby) = identify(&*client).await.unwrap();
    assert!(!standby);
    assert_eq!(before.timeline, 1);
    for how in [Shutdown::Kill, Shutdown::Immediate, Shutdown::Fast] {
        server.stop(how).unwrap();
        assert!(connect(&config).await.is_err(), "it answers after {how:?}");
        server.start_again().unwrap();
    }
    let client = connect(&config).await.unwrap();
    assert_eq!(client.query_one("SELECT b FROM a", &[]).await.unwrap().get::<_, i32>(0), 7);
    assert_eq!(identify(&*client).await.unwrap().0, before);
}

#[tokio::test]
async fn a_server_takes_its_folder_with_it() {
    let server = PgServer::start(PgOptions::default()).unwrap();
    let data = server.data();
    assert!(data.exists());
    drop(server);
    assert!(!data.exists());
}
