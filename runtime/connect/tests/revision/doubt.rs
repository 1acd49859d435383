//! A database that is not the one the counter was made in, or has lost some of its history: refused
//! until an operator says so, or noticed by the client.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use tidemill_connect::revision::service::{
    RevisionClient, RevisionClientConfig, RevisionClientError, RevisionService,
    RevisionServiceConfig, RevisionServiceError,
};
use tidemill_connect::testing::{PgOptions, PgServer, Shutdown};
use tokio_postgres::Config;

use crate::support::{client, connected, database, start};

async fn refused(config: &RevisionServiceConfig) -> String {
    let error = RevisionService::start(config).await.unwrap_err();
    assert!(matches!(error, RevisionServiceError::Refused { .. }), "{error}");
    assert!(!error.is_retriable());
    error.to_string()
}

/// Adopts the counter above a number, and draws from it.
async fn adopted(config: &RevisionServiceConfig, above: i64) {
    let last = RevisionService::adopt(config, above).await.unwrap();
    assert!(last >= above);
    let service = start(config).await;
    let drawn = client(&service).next_revisions(1).await.unwrap();
    assert_eq!(*drawn.start(), last + 1);
    service.stop().await;
}

#[tokio::test]
async fn rv4_a_copy_in_another_database_is_refused_until_it_is_adopted() {
    let original = database("original");
    let config = RevisionServiceConfig::new(original.clone(), "prices");
    let service = start(&config).await;
    let last = *client(&service).next_revisions(7).await.unwrap().end();
    service.stop().await;
    let copy = database("copy");
    let sql = "CREATE TABLE revision_counter (name text PRIMARY KEY, last bigint NOT NULL,
                   system_identifier text, timeline int, database text)";
    let (from, to) = (connected(&original).await, connected(&copy).await);
    to.batch_execute(sql).await.unwrap();
    let row = from.query_one("SELECT * FROM revision_counter", &[]).await.unwrap();
    let (name, number): (&str, i64) = (row.get(0), row.get(1));
    let (system, timeline): (&str, i32) = (row.get(2), row.get(3));
    let sql = "INSERT INTO revision_counter VALUES ($1, $2, $3, $4, $5)";
    let database: &str = row.get(4);
    to.execute(sql, &[&name, &number, &system, &timeline, &database]).await.unwrap();
    let config = RevisionServiceConfig::new(copy, "prices");
    let text = refused(&config).await;
    assert!(text.contains("was made in database original_"), "{text}");
    assert!(text.contains("this is database copy_"), "{text}");
    adopted(&config, last).await;
    let missing = RevisionServiceConfig::new(original, "orders");
    let error = RevisionService::adopt(&missing, 0).await.unwrap_err();
    assert!(error.to_string().contains("there is no counter orders"), "{error}");
}

fn config(server: &PgServer, database: &str) -> Config {
    server.connection_string(database).parse().unwrap()
}

#[tokio::test]
async fn rv4_a_database_with_another_history_is_refused_also_while_the_service_runs() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    server.create_database("counters").unwrap();
    let made = RevisionServiceConfig::new(config(&server, "counters"), "prices");
    let service = start(&made).await;
    let asking = client(&service);
    let last = *asking.next_revisions(5).await.unwrap().end();
    server.stop(Shutdown::Fast).unwrap();
    // as after a recovery to a point in time: the server ends it with a timeline of its own
    let signal = server.data().join("recovery.signal");
    fs::write(&signal, "").unwrap();
    let owner = fs::metadata(server.data()).unwrap();
    chown(&signal, Some(owner.uid()), Some(owner.gid())).unwrap();
    let settings = server.data().join("postgresql.auto.conf");
    let mut text = fs::read_to_string(&settings).unwrap();
    text.push_str("restore_command = 'false'\n");
    fs::write(&settings, text).unwrap();
    server.start_again().unwrap();
    crate::support::until(async || {
        let client = connected(&config(&server, "counters")).await;
        let sql = "SELECT NOT pg_is_in_recovery()";
        client.query_one(sql, &[]).await.unwrap().get(0)
    })
    .await;
    let error = asking.next_revisions(1).await.unwrap_err();
    assert!(matches!(error, RevisionClientError::Refused { status: 500, .. }), "{error}");
    assert!(error.to_string().contains("timeline 1, and this is"), "{error}");
    service.stop().await;
    let text = refused(&made).await;
    assert!(text.contains("timeline 2"), "{text}");
    adopted(&made, last).await;
}

#[tokio::test]
async fn rv4_a_client_refuses_a_service_whose_database_was_set_back() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    server.create_database("counters").unwrap();
    let made = RevisionServiceConfig::new(config(&server, "counters"), "prices");
    let service = start(&made).await;
    let (address, old) = (service.address(), client(&service));
    old.next_revisions(10).await.unwrap();
    server.stop(Shutdown::Fast).unwrap();
    // the backup: the same cluster, the same history, so nothing tells the server
    let mut backup = server.copy().unwrap();
    server.start_again().unwrap();
    let last = *old.next_revisions(100).await.unwrap().end();
    service.stop().await;
    backup.stop(Shutdown::Fast).unwrap();
    backup.start_again().unwrap();
    let restored = RevisionServiceConfig::new(config(&backup, "counters"), "prices");
    let service = start(&restored.clone().with_listen(address)).await;
    let error = old.next_revisions(1).await.unwrap_err();
    let first = last - 99;
    assert!(
        matches!(&error, RevisionClientError::WentBack { first: f, last: l, .. }
            if (*f, *l) == (first, last)),
        "{error}"
    );
    service.stop().await;
    RevisionService::adopt(&restored, last).await.unwrap();
    let service = start(&restored.with_listen(address)).await;
    assert!(*old.next_revisions(1).await.unwrap().start() > last);
    // a client that knows nothing of the past goes on with it
    assert!(RevisionClient::new(&RevisionClientConfig::new(&format!("http://{address}"))).is_ok());
    service.stop().await;
}
