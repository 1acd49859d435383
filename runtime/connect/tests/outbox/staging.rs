//! Staging: what is refused, what becomes of a record, names that try to be more than names.

use serde_json::json;
use tidemill_connect::outbox::{INSERT_SQL, Outbox, OutboxError, OutboxEvent};
use tidemill_connect::testing::until;
use uuid::Uuid;

use crate::shop::{End, Shop, block_on, event};

#[test]
fn ob1_events_of_a_transaction_that_rolled_back_never_were() {
    let shop = Shop::new("ob1");
    block_on(async {
        let mut client = shop.connect().await;
        shop.change(&mut client, "a", End::Commit).await;
        shop.change(&mut client, "a", End::RollBack).await;
        // dropped without a word
        let outbox = shop.outbox();
        let mut tx = outbox.begin(&mut client).await.unwrap();
        tx.stage(event("a", 77)).unwrap();
        assert_eq!(tx.staged(), 1);
        drop(tx);
        shop.change(&mut client, "a", End::Commit).await;
        // a gap in the ids by hand: one more drawn, none used
        client.execute("SELECT nextval('outbox_id_seq')", &[]).await.unwrap();
        shop.change(&mut client, "a", End::Commit).await;
    });
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 3);
}

#[test]
fn a_record_has_the_key_the_headers_and_the_time_of_its_event() {
    let shop = Shop::new("record");
    let other = format!("{}.invoice", shop.prefix);
    shop.broker.create(&other, 2, &[]).unwrap();
    let id = Uuid::now_v7();
    block_on(async {
        let mut client = shop.connect().await;
        let outbox = shop.outbox();
        let mut tx = outbox.begin(&mut client).await.unwrap();
        let placed = OutboxEvent::json("account", 7, "Opened", &json!({"b": 1})).unwrap();
        tx.stage(placed.revision(9_007_199_254_740_993).header("tenant", "n\u{f6}rd").event_id(id))
            .unwrap();
        tx.stage(OutboxEvent::tombstone("account", "8", "Closed")).unwrap();
        tx.stage(OutboxEvent::bytes("invoice", "i", "Sent", *b"\0\xff")).unwrap();
        tx.commit().await.unwrap();
        // as another client does it
        let payload: Option<&[u8]> = Some(b"raw");
        let none: Option<i64> = None;
        let headers = json!({"n": 5, "null": null});
        client
            .execute(INSERT_SQL, &[&id, &"account", &"9", &"Raw", &none, &payload, &headers])
            .await
            .unwrap();
    });
    shop.drain();
    let mut seen = shop.broker.committed(&shop.topic()).unwrap();
    seen.sort_by_key(|record| record.key.clone());
    let [opened, closed, raw] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((opened.key_text(), opened.value_text()), ("7".into(), r#"{"b":1}"#.into()));
    let names: Vec<&str> = opened.headers.iter().map(|header| &*header.key).collect();
    assert_eq!(names, ["id", "type", "revision", "tenant"]);
    assert_eq!(opened.header("id"), Some(id.to_string()));
    assert_eq!(opened.header("type").as_deref(), Some("Opened"));
    assert_eq!(opened.header("revision").as_deref(), Some("9007199254740993"));
    assert_eq!(opened.header("tenant").as_deref(), Some("n\u{f6}rd"));
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!((now - opened.timestamp).abs() < 120_000, "{}", opened.timestamp);
    assert_eq!((closed.key_text(), &closed.value), ("8".into(), &None));
    assert_eq!(raw.header("n").as_deref(), Some("5"));
    assert_eq!(raw.headers.last("null").unwrap().value, None);
    let invoices = shop.broker.committed(&other).unwrap();
    assert_eq!(invoices[0].value.as_deref(), Some(&b"\0\xff"[..]));
}

#[test]
fn ob12_what_could_never_be_published_is_refused_where_it_is_staged() {
    let shop = Shop::new("ob12");
    block_on(async {
        let mut client = shop.connect().await;
        let outbox = shop.outbox().staged_bytes_max(2_000_000);
        let mut tx = outbox.begin(&mut client).await.unwrap();
        let mut why = |event: OutboxEvent| tx.stage(event).unwrap_err().to_string();
        let bytes = |size| OutboxEvent::bytes("account", "a", "E", vec![b'x'; size]);
        assert!(why(bytes(900_001)).contains("the limit is 900000"));
        assert!(why(OutboxEvent::tombstone("no topic", "a", "E")).contains("' ' may not be in"));
        assert!(
            why(OutboxEvent::tombstone(&"x".repeat(250), "a", "E")).contains("longer than 249")
        );
        assert!(why(OutboxEvent::tombstone("account", "", "E")).contains("id is empty"));
        assert!(why(OutboxEvent::tombstone("account", "a\0", "E")).contains("NUL"));
        assert!(why(bytes(1).header("id", "x")).contains("writes the header id itself"));
        assert!(matches!(tx.stage(bytes(900_001)), Err(OutboxError::Refused { .. })));
        tx.stage(bytes(800_000)).unwrap();
        tx.stage(bytes(800_000)).unwrap();
        let full = tx.stage(bytes(800_000)).unwrap_err().to_string();
        assert!(full.contains("has staged 2000000 bytes already"), "{full}");
        // the transaction goes on without them
        tx.commit().await.unwrap();
        let count: i64 = client.query_one("SELECT count(*) FROM outbox", &[]).await.unwrap().get(0);
        assert_eq!(count, 2);
        // the table itself refuses what other clients insert
        let sql = "INSERT INTO outbox (event_id, aggregatetype, aggregateid, type, payload)
                   VALUES (gen_random_uuid(), 'account', 'a', 'E', repeat('x', 900001)::bytea)";
        assert!(client.execute(sql, &[]).await.is_err());
    });
}

#[test]
fn a_savepoint_may_be_used_inside_and_events_keep_the_order_of_staging() {
    let shop = Shop::new("order");
    block_on(async {
        let mut client = shop.connect().await;
        let outbox = shop.outbox();
        let mut tx = outbox.begin(&mut client).await.unwrap();
        for version in 1..=300 {
            tx.stage(event("a", version)).unwrap();
        }
        let savepoint = tx.transaction().await.unwrap();
        savepoint.execute("INSERT INTO account VALUES ('a', 300)", &[]).await.unwrap();
        savepoint.commit().await.unwrap();
        tx.commit().await.unwrap();
    });
    shop.drain();
    assert_eq!(shop.assert_exactly_once(), 300);
}

#[test]
fn names_can_not_smuggle_statements_in() {
    let shop = Shop::new("names");
    // not longer than a name may be, with the suffixes of the tables beside it
    let evil = r#"o"; DROP TABLE account; --"#;
    assert!(Outbox::new("a.b.c").is_err());
    assert!(Outbox::new("").is_err());
    shop.execute(r#"CREATE SCHEMA "outbox"; CREATE SCHEMA "x'; DROP TABLE account; --""#);
    let tables =
        [evil.to_owned(), "outbox.events".to_owned(), format!("x'; DROP TABLE account; --.{evil}")];
    for table in tables {
        let template = format!("{}.{{aggregatetype}}", shop.prefix);
        let outbox = Outbox::new(&table).unwrap().topic_by_aggregate_type(&template).unwrap();
        let outbox = outbox.notify();
        let (mut shop, before) =
            (shop.clone(), shop.broker.committed(&shop.topic()).unwrap().len());
        shop.relay = format!("{}'; DROP TABLE account; --", tidemill_connect::testing::unique("r"));
        block_on(async {
            let mut client = shop.connect().await;
            outbox.ensure_schema(&mut client).await.unwrap();
            outbox.ensure_schema(&mut client).await.unwrap();
            let mut tx = outbox.begin(&mut client).await.unwrap();
            let id = "'; DROP TABLE account; --";
            tx.stage(OutboxEvent::bytes("account", id, id, id).header(id, id)).unwrap();
            tx.commit().await.unwrap();
        });
        let handle = shop.builder_of(outbox).build().unwrap().spawn().unwrap();
        until("the event", || (handle.metrics().records == 1).then_some(()));
        handle.stop();
        handle.wait().unwrap();
        let seen = shop.broker.committed(&shop.topic()).unwrap();
        assert_eq!(seen.len(), before + 1);
        assert_eq!(seen.last().unwrap().key_text(), "'; DROP TABLE account; --");
    }
    assert_eq!(shop.number("SELECT count(*) FROM account"), 0);
}

#[test]
fn several_processes_may_make_the_tables_at_once() {
    let database = crate::shop::server().new_database("tables").unwrap();
    block_on(async {
        let config: tokio_postgres::Config = database.parse().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let config = config.clone();
            tasks.spawn(async move {
                let mut client = tidemill_connect::postgres::connect(&config).await.unwrap();
                let outbox = Outbox::new("outbox").unwrap();
                outbox.ensure_schema(&mut client).await.unwrap();
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        // a newer version is refused
        let mut client = tidemill_connect::postgres::connect(&config).await.unwrap();
        client.execute("UPDATE outbox_meta SET version = 3", &[]).await.unwrap();
        let outbox = Outbox::new("outbox").unwrap();
        let error = outbox.ensure_schema(&mut client).await.unwrap_err();
        assert!(error.to_string().contains("version 3, not 2"), "{error}");
    });
}
