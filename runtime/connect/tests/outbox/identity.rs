//! Databases that are not the one of the position, tables that break the order, crashed servers.

use std::process::Stdio;
use std::time::Duration;

use tidemill_connect::outbox::PollingOutbox;
use tidemill_connect::source::{RelayState, Stop};
use tidemill_connect::testing::{PgOptions, PgServer, Shutdown, until};

use crate::shop::{Shop, block_on, event, server, told};

fn copy_with(shop: &Shop, server: &PgServer) -> Shop {
    let name = shop.database.rsplit('=').next().unwrap();
    Shop { database: server.connection_string(name), ..shop.clone() }
}

#[test]
fn ob9_a_relay_outlives_restarts_of_the_server_and_cut_connections() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    let shop = Shop::in_database(&server.new_database("ob9").unwrap());
    let handle = shop.builder().build().unwrap().spawn().unwrap();
    // a relay that is not connected yet has nothing to outlive
    let connected = || {
        until("a relay that is connected", || {
            (handle.metrics().state == RelayState::Running).then_some(())
        });
    };
    for how in [Shutdown::Fast, Shutdown::Immediate, Shutdown::Kill] {
        shop.change_all(&["a", "b", "a"]);
        connected();
        server.stop(how).unwrap();
        server.start_again().unwrap();
        shop.change_all(&["a", "c"]);
    }
    connected();
    shop.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    shop.change_all(&["a"]);
    shop.wait_until_empty(&handle);
    assert!(handle.metrics().reopened > 0);
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(shop.assert_exactly_once(), 16);
}

#[test]
fn ob9_another_database_is_refused() {
    let shop = Shop::new("ob9_one");
    shop.change_all(&["a"]);
    shop.drain();
    let name = server().new_database("ob9_other").unwrap();
    let other = Shop { database: name, ..shop.clone() };
    block_on(async {
        let mut client = other.connect().await;
        other.outbox().ensure_schema(&mut client).await.unwrap();
    });
    let error = told(&other.refusal());
    assert!(error.contains("the position is from database"), "{error}");
    // and the same table made anew
    shop.execute("DROP TABLE outbox, outbox_meta, outbox_relay, outbox_dead");
    let error = told(&shop.refusal());
    assert!(error.contains("does not exist here; call ensure_schema"), "{error}");
    block_on(async {
        let mut client = shop.connect().await;
        shop.outbox().ensure_schema(&mut client).await.unwrap();
    });
    let error = told(&shop.refusal());
    assert!(error.contains("the table was made anew, or is another one"), "{error}");
}

#[test]
fn ob13_a_restored_backup_is_refused_even_if_it_caught_up() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    let shop = Shop::in_database(&server.new_database("ob13").unwrap());
    shop.change_all(&["a", "a"]);
    shop.drain();
    server.stop(Shutdown::Fast).unwrap();
    let backup = server.copy().unwrap();
    let second = server.copy().unwrap();
    server.start_again().unwrap();
    shop.change_all(&["a", "b", "a", "b"]);
    shop.drain();
    let restored = copy_with(&shop, &backup);
    let error = told(&restored.refusal());
    assert!(error.contains("the position is ahead of the server"), "{error}");
    // with more transactions than the original ever had, only the session's token tells
    let busy = copy_with(&shop, &second);
    block_on(async {
        let client = busy.connect().await;
        client.execute("SELECT pg_switch_wal()", &[]).await.unwrap();
        for _ in 0..400 {
            client.execute("SELECT pg_current_xact_id()", &[]).await.unwrap();
        }
    });
    let error = told(&busy.refusal());
    assert!(error.contains("does not know the session that committed the position"), "{error}");
    // the original goes on
    shop.change_all(&["a"]);
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 7);
}

#[test]
fn ob9_a_promoted_standby_is_refused_until_its_timeline_is_accepted() {
    let mut primary = PgServer::start(PgOptions::default()).unwrap();
    let shop = Shop::in_database(&primary.new_database("ob9_standby").unwrap());
    shop.change_all(&["a", "b"]);
    shop.drain();
    let mut standby = PgServer::start(PgOptions::default()).unwrap();
    standby.stop(Shutdown::Fast).unwrap();
    std::fs::remove_dir_all(standby.data()).unwrap();
    let copied = standby
        .command("pg_basebackup")
        .args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-X", "stream", "-c", "fast"])
        .args(["-p", &primary.port().to_string(), "-D"])
        .arg(standby.data())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(copied.success());
    standby.start_again().unwrap();
    let follower = copy_with(&shop, &standby);
    // what the primary still publishes before it is lost
    shop.change_all(&["a", "b"]);
    shop.drain();
    let error = told(&follower.refusal());
    assert!(error.contains("is a standby"), "{error}");
    let written = shop.number("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint");
    let replayed = "SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint";
    until("the standby", || (follower.number(replayed) >= written).then_some(()));
    primary.stop(Shutdown::Kill).unwrap();
    follower.execute("SELECT pg_promote(true, 60)");
    follower.change_all(&["a"]);
    let error = told(&follower.refusal());
    assert!(error.contains("the position is from timeline 1, the server is on 2"), "{error}");
    let source = PollingOutbox::new(follower.database.parse().unwrap(), follower.outbox());
    let relay = tidemill_connect::outbox::MessageRelay::builder(&follower.relay)
        .source(source.accept_timeline(2))
        .kafka(follower.broker.config())
        .positions_topic(&follower.positions)
        .build()
        .unwrap();
    let handle = relay.spawn().unwrap();
    follower.wait_until_empty(&handle);
    handle.stop();
    handle.wait().unwrap();
    // from now on it is the known one
    follower.change_all(&["b"]);
    follower.drain();
    assert_eq!(follower.assert_exactly_once(), 6);
}

#[test]
fn ob14_tables_whose_ids_do_not_tell_the_order_are_refused() {
    let shop = Shop::new("ob14");
    let refused = |sql: &str, expected: &str| {
        shop.execute(sql);
        let error = told(&shop.refusal());
        assert!(error.contains(expected), "{sql}: {error}");
    };
    refused("ALTER TABLE outbox ALTER id SET CACHE 20", "has CACHE 20");
    refused("ALTER TABLE outbox ALTER id SET CACHE 1 SET CYCLE", "not GENERATED ALWAYS");
    shop.execute("ALTER TABLE outbox ALTER id SET NO CYCLE");
    refused("ALTER TABLE outbox ALTER id SET GENERATED BY DEFAULT", "not GENERATED ALWAYS");
    shop.execute("ALTER TABLE outbox ALTER id SET GENERATED ALWAYS");
    let insert = "INSERT INTO outbox (id, event_id, aggregatetype, aggregateid, type)
                  OVERRIDING SYSTEM VALUE VALUES (99, gen_random_uuid(), 'account', 'a', 'E')";
    refused(insert, "ids were set by hand");
    shop.execute("DELETE FROM outbox");
    let insert = "INSERT INTO outbox (xid, event_id, aggregatetype, aggregateid, type)
                  VALUES ('99999999', gen_random_uuid(), 'account', 'a', 'E')";
    refused(insert, "transaction ids of the future");
    shop.execute("UPDATE outbox SET xid = DEFAULT");
    let handle = shop.builder().build().unwrap().spawn().unwrap();
    shop.wait_until_empty(&handle);
    handle.stop();
    handle.wait().unwrap();
}

#[test]
fn ob17_no_event_is_published_that_a_crash_of_the_server_takes_back() {
    let settings = [("fsync", "on"), ("synchronous_commit", "off"), ("wal_writer_delay", "10000")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = PgOptions { settings: settings.into() };
    let mut server = PgServer::start(options).unwrap();
    let shop = Shop::in_database(&server.new_database("ob17").unwrap());
    shop.execute("CHECKPOINT");
    let handle = shop.builder().build().unwrap().spawn().unwrap();
    for round in 0..6_u64 {
        // commits that nobody waits for, then the end, at another moment each time
        block_on(async {
            let mut client = shop.connect().await;
            for version in 0..30 {
                let account = format!("r{round}n{version}");
                shop.change(&mut client, &account, crate::shop::End::Commit).await;
            }
        });
        std::thread::sleep(Duration::from_millis(round * 3));
        server.stop(Shutdown::Kill).unwrap();
        server.start_again().unwrap();
    }
    shop.wait_until_empty(&handle);
    handle.stop();
    handle.wait().unwrap();
    // the verdict asserts that nothing was published that the accounts do not have
    assert!(shop.assert_exactly_once() > 0);
}

#[test]
fn passwords_are_in_no_error_no_log_and_no_debug_output() {
    let log = crate::capture::Log::default();
    log.install();
    let shop = Shop::new("secrets");
    let secret = "hunter2secret";
    let nowhere = format!("host=127.0.0.1 port=1 user=u dbname=d password={secret}");
    let database: tokio_postgres::Config = nowhere.parse().unwrap();
    let mut kafka = shop.broker.config();
    kafka.set("sasl.password", secret).set("ssl.key.password", secret);
    let source = PollingOutbox::new(database, shop.outbox());
    let mut text = format!("{source:?}");
    let builder = tidemill_connect::outbox::MessageRelay::builder(&shop.relay)
        .source(source)
        .kafka(kafka)
        .positions_topic(&shop.positions)
        .replication_factor(1);
    text += &format!("{builder:?}");
    let relay = builder.build().unwrap();
    text += &format!("{relay:?}");
    let handle = relay.spawn().unwrap();
    text += &format!("{handle:?}");
    until("errors", || {
        assert!(!handle.is_ended(), "{}", log.text());
        (handle.metrics().reopened >= 2).then_some(())
    });
    text += &format!("{:?}", handle.metrics());
    handle.stop();
    handle.wait().unwrap();
    // and where the relay ends with it
    shop.execute("DROP TABLE outbox_meta");
    text += &told(&shop.builder().build().unwrap().run_until(&Stop::new()).unwrap_err());
    text += &log.text();
    assert!(text.contains("the relay will try again"), "nothing was captured: {text}");
    assert!(!text.contains(secret), "{text}");
    let event = format!("{:?}", event("a", 1));
    assert!(event.contains("AccountChanged"));
}
