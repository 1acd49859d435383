//! Doubts about slot, publication, database: each is a refusal that says what to do.

use std::time::Duration;

use crate::harness::{Hand, Shop, full, key};
use tidemill_connect::cdc::{IdlePositions, Lsn, OnChange, PublicationSetup};
use tidemill_connect::postgres::connect;
use tidemill_connect::source::SourceError;
use tidemill_connect::testing::{PATIENCE, PgOptions, PgServer, Shutdown};

const ORDERS: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, note text); \
                      CREATE TABLE other (id bigint PRIMARY KEY, note text)";
const MORE: &str = "INSERT INTO other SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i; \
                    TRUNCATE other";

/// Has one order published, and leaves the slot.
async fn published() -> (Shop, Hand) {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let hand = one_order(&shop).await;
    (shop, hand)
}

async fn one_order(shop: &Shop) -> Hand {
    let mut hand = Hand::new(shop.source());
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (1, 'a')").await;
    hand.read(1).await;
    hand.source = shop.source();
    let free = "SELECT count(*)::text FROM pg_replication_slots WHERE active AND slot_name = '";
    let free = format!("{free}{}'", shop.slot);
    while shop.text(&free).await != "0" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    hand
}

async fn refusal(hand: &mut Hand) -> String {
    let error = hand.open().await.unwrap_err();
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd4_a_slot_that_was_dropped_or_made_anew_is_refused_until_the_tables_are_read_again() {
    let (shop, mut hand) = published().await;
    shop.execute(&format!("SELECT pg_drop_replication_slot('{}')", shop.slot)).await;
    let text = refusal(&mut hand).await;
    assert!(text.contains("does not exist, but a position does"), "{text}");
    assert!(text.contains("resnapshot"), "no remedy in {text}");

    shop.execute("INSERT INTO orders VALUES (2, 'lost')").await;
    let create = format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", shop.slot);
    shop.execute(&create).await;
    let text = refusal(&mut hand).await;
    assert!(text.contains("advanced the slot or made it anew"), "{text}");

    let position = hand.source.operator().resnapshot(None, &[]).await.unwrap();
    hand.position = Some(position);
    hand.records.clear();
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (3, 'c')").await;
    hand.read(4).await;
    let seen: Vec<String> =
        hand.envelopes().iter().map(|it| format!("{}{}", it["op"], it["after"]["id"])).collect();
    // the slot was there before the view: readers may know the rows, so they are told of all
    assert_eq!(seen, ["\"c\"3", "\"r\"1", "\"r\"2", "\"r\"3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd4_a_slot_that_was_advanced_is_refused_until_the_loss_is_accepted() {
    let (shop, mut hand) = published().await;
    shop.execute("INSERT INTO orders VALUES (2, 'skipped')").await;
    let advance =
        format!("SELECT pg_replication_slot_advance('{}', pg_current_wal_lsn())", shop.slot);
    shop.execute(&advance).await;
    let text = refusal(&mut hand).await;
    assert!(text.contains("advanced the slot"), "{text}");
    hand.position = Some(hand.source.operator().from_slot().await.unwrap());
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (3, 'c')").await;
    hand.read(2).await;
    assert_eq!(key(&hand.records[1]), r#"{"id":3}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd4_a_slot_whose_log_was_removed_is_refused() {
    let settings = [("max_slot_wal_keep_size", "1MB"), ("max_wal_size", "32MB")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let server = PgServer::start(PgOptions { settings }).unwrap();
    let shop = Shop::at(&server.new_database("lost").unwrap(), ORDERS, &["orders"]).await;
    let mut hand = one_order(&shop).await;
    let status =
        format!("SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{}'", shop.slot);
    while shop.text(&status).await != "lost" {
        shop.execute(MORE).await;
        shop.execute("SELECT pg_switch_wal()").await;
        shop.execute("CHECKPOINT").await;
    }
    let text = refusal(&mut hand).await;
    assert!(text.contains("is lost"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd4_a_slot_without_a_position_is_refused_until_it_is_adopted() {
    let (shop, mut hand) = published().await;
    let known = hand.position.take();
    let text = refusal(&mut hand).await;
    assert!(text.contains("exists, but no position of it does"), "{text}");
    let adopted = hand.source.operator().from_slot().await.unwrap();
    assert!(adopted.lsn <= known.unwrap().lsn);
    hand.position = Some(adopted);
    hand.open().await.unwrap();
    shop.execute("INSERT INTO orders VALUES (2, 'b')").await;
    let two = r#"{"id":2}"#;
    while hand.records.last().is_none_or(|record| key(record) != two) {
        hand.step().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd5_a_slot_in_use_is_waited_for_or_taken_over() {
    let (shop, mut first) = published().await;
    first.open().await.unwrap();
    let mut second = Hand::new(shop.source());
    second.position = first.position.clone();
    let error = second.open().await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable(_)), "{error:?}");
    assert!(full(&error).contains("active"), "{}", full(&error));
    second.source = shop.source().take_over(true);
    second.open().await.unwrap();
    assert!(matches!(first.failure().await, SourceError::Unavailable(_)));
    drop(second);
    // what is left of it ends, and then it goes on
    first.reopen().await;
    shop.execute("INSERT INTO orders VALUES (2, 'b')").await;
    first.read(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd6_another_database_or_system_is_refused() {
    let (_, mut hand) = published().await;
    let other = Shop::new(ORDERS, &["orders"]).await;
    hand.source = other.source();
    let text = refusal(&mut hand).await;
    assert!(text.contains("the position was taken from database"), "{text}");
    let mut position = hand.position.take().unwrap();
    let (shop, _) = published().await;
    position.identity.system_identifier = "1".to_owned();
    hand.source = shop.source();
    hand.position = Some(position);
    let text = refusal(&mut hand).await;
    assert!(text.contains("of system 1,"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd6_a_restored_backup_and_cd14_a_promoted_copy_are_refused() {
    let mut server = PgServer::start(PgOptions::default()).unwrap();
    server.create_database("shop").unwrap();
    let shop = Shop::at(&server.connection_string("shop"), ORDERS, &["orders"]).await;
    let hand = one_order(&shop).await;
    let (slot, publication) = (shop.slot.clone(), shop.publication.clone());
    drop(shop);
    server.stop(Shutdown::Fast).unwrap();
    let backup = server.copy().unwrap();
    std::fs::write(server.data().join("standby.signal"), "").unwrap();
    let standby = server.copy().unwrap();
    std::fs::remove_file(server.data().join("standby.signal")).unwrap();
    server.start_again().unwrap();

    let at = |server: &PgServer, hand: &Hand| {
        let config = server.connection_string("shop").parse().unwrap();
        let source = tidemill_connect::cdc::CdcSource::new(config, &slot, &publication).unwrap();
        let mut other = Hand::new(source.topics("{table}").unwrap());
        other.position = hand.position.clone();
        other
    };
    let mut original = at(&server, &hand);
    original.open().await.unwrap();
    let client = connect(&server.connection_string("shop").parse().unwrap()).await.unwrap();
    client.batch_execute(MORE).await.unwrap();
    client.batch_execute("INSERT INTO orders VALUES (2, 'b')").await.unwrap();
    original.read(1).await;

    let text = refusal(&mut at(&backup, &original)).await;
    assert!(text.contains("lies beyond the server's log"), "{text}");
    let text = refusal(&mut at(&standby, &original)).await;
    assert!(text.contains("is a standby"), "{text}");
    let client = connect(&standby.connection_string("shop").parse().unwrap()).await.unwrap();
    client.batch_execute("SELECT pg_promote()").await.unwrap();
    client.batch_execute(MORE).await.unwrap();
    client.batch_execute(MORE).await.unwrap();
    let text = refusal(&mut at(&standby, &original)).await;
    assert!(text.contains("timeline 1, the server of timeline 2"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd7_a_publication_that_is_missing_or_made_anew_is_refused() {
    let (shop, mut hand) = published().await;
    hand.open().await.unwrap();
    shop.execute(&format!("DROP PUBLICATION {}", shop.publication)).await;
    shop.execute("INSERT INTO orders VALUES (2, 'b')").await;
    let error = hand.failure().await;
    assert!(matches!(error, SourceError::Refused { .. }), "{error:?}");
    let text = refusal(&mut hand).await;
    assert!(text.contains("does not exist"), "{text}");
    PublicationSetup::new(&shop.publication, &["orders"])
        .unwrap()
        .create(&*shop.client)
        .await
        .unwrap();
    let text = refusal(&mut hand).await;
    assert!(text.contains("dropped and made anew"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd7_an_altered_publication_is_followed_or_refused() {
    let (shop, mut hand) = published().await;
    hand.open().await.unwrap();
    shop.execute(&format!("ALTER PUBLICATION {} ADD TABLE other", shop.publication)).await;
    shop.execute("INSERT INTO other VALUES (7, 'new table')").await;
    hand.read(2).await;
    assert_eq!(&*hand.records[1].topic, "other");
    hand.source = shop.source().on_publication_change(OnChange::Halt);
    let text = refusal(&mut hand).await;
    assert!(text.contains("was altered"), "{text}");
    hand.source = shop.source().table("public.orders");
    hand.open().await.unwrap();
    shop.execute("INSERT INTO other VALUES (8, 'left out')").await;
    shop.execute("INSERT INTO orders VALUES (8, 'h')").await;
    hand.read(3).await;
    assert_eq!(&*hand.records[2].topic, "orders");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd8_a_table_whose_rows_cannot_be_told_apart_is_refused() {
    let shop = Shop::new(
        "CREATE TABLE heap (a int); CREATE TABLE orders (id int PRIMARY KEY)",
        &["orders"],
    )
    .await;
    let setup = PublicationSetup::new("p2", &["heap"]).unwrap();
    let error = setup.create(&*shop.client).await.unwrap_err().to_string();
    assert!(error.contains("no primary key"), "{error}");
    let error = PublicationSetup::new("p2", &["nothing"]).unwrap().create(&*shop.client).await;
    assert!(error.unwrap_err().to_string().contains("does not exist"));
    shop.execute(&format!("ALTER PUBLICATION {} ADD TABLE heap", shop.publication)).await;
    let text = refusal(&mut Hand::new(shop.source())).await;
    assert!(text.contains("table public.heap: it has no primary key"), "{text}");
    shop.execute("ALTER TABLE heap REPLICA IDENTITY FULL").await;
    let text = refusal(&mut Hand::new(shop.source())).await;
    assert!(text.contains("name the columns of its records' key"), "{text}");
    let mut hand = Hand::new(shop.source().key("public.heap", &["a"]));
    hand.open().await.unwrap();
    shop.execute("INSERT INTO heap VALUES (5)").await;
    hand.read(1).await;
    assert_eq!(key(&hand.records[0]), r#"{"a":5}"#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn cd10_traffic_of_other_tables_and_databases_does_not_pile_up() {
    let shop = Shop::new(ORDERS, &["orders"]).await;
    let idle = IdlePositions { interval: Duration::from_secs(3600), wal_bytes: 256 << 10 };
    let mut hand = Hand::new(shop.source().idle_positions(idle));
    let metrics = hand.source.metrics();
    hand.open().await.unwrap();
    let other = Shop::new(ORDERS, &["orders"]).await;
    let start: Lsn = shop.confirmed().await.0.parse().unwrap();
    let mut positions = 0;
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        shop.execute(MORE).await;
        other.execute(MORE).await;
        positions += u32::from(hand.step().await.unwrap());
        let (confirmed, end) = shop.confirmed().await;
        let (confirmed, end): (Lsn, Lsn) = (confirmed.parse().unwrap(), end.parse().unwrap());
        let position = hand.position.as_ref().unwrap().lsn.unwrap();
        assert!(confirmed <= position, "{confirmed} was confirmed, {position} is committed");
        if confirmed.bytes_since(start) > 10 << 20 && end.bytes_since(confirmed) < 8 << 20 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "confirmed {confirmed} of {end}");
    }
    assert!(positions > 1 && hand.records.is_empty());
    assert!(metrics.replication_slot_lag_bytes() < 64 << 20);
    shop.execute("INSERT INTO orders VALUES (1, 'a')").await;
    hand.read(1).await;
}
