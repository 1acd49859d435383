//! Events that can't be sent (OB12), and partitions that are dropped (OB16).

use std::time::Duration;

use tidemill_connect::outbox::{Cleanup, Outbox, OutboxEvent, Poison};
use tidemill_connect::source::RelayError;
use tidemill_connect::testing::until;

use crate::shop::{Shop, block_on, event, told};

/// Stages events past the checks, as another client may.
fn insert(shop: &Shop, kind: &str, account: &str, version: i64, bytes: usize) {
    block_on(async {
        let client = shop.connect().await;
        let payload = format!(
            "{{\"account\": \"{account}\", \"version\": {version}, \"x\": \"{}\"}}",
            "x".repeat(bytes)
        );
        let sql =
            "INSERT INTO outbox (event_id, aggregatetype, aggregateid, type, revision, payload)
                   VALUES (gen_random_uuid(), $1, $2, 'E', $3, $4)";
        client.execute(sql, &[&kind, &account, &version, &payload.as_bytes()]).await.unwrap();
        let sql = "INSERT INTO account VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET version = $2";
        client.execute(sql, &[&account, &version]).await.unwrap();
    });
}

fn small_topic(shop: &Shop) -> Shop {
    let mut shop = shop.clone();
    shop.prefix = format!("{}-small", shop.prefix);
    shop.broker.create(&shop.topic(), 3, &[("max.message.bytes", "5000")]).unwrap();
    shop
}

#[test]
fn ob12_an_event_that_can_not_be_sent_halts_the_relay() {
    let shop = small_topic(&Shop::new("ob12_halt"));
    insert(&shop, "account", "a", 1, 10);
    insert(&shop, "account", "a", 2, 9000);
    let error = shop.refusal();
    let RelayError::Rejected { topic, why, .. } = &error else { panic!("{error}") };
    assert_eq!(*topic, shop.topic());
    assert!(why.contains("raise its max.message.bytes"), "{why}");
    shop.execute("DELETE FROM outbox WHERE revision = 2");
    insert(&shop, "nowhere", "b", 1, 10);
    let error = told(&shop.refusal());
    assert!(error.contains("does not exist: create it"), "{error}");
    // nothing of the batch was published
    assert_eq!(shop.broker.committed(&shop.topic()).unwrap(), []);
}

#[test]
fn ob12_dead_letters_keep_the_order_of_their_aggregate_until_they_are_published() {
    let shop = small_topic(&Shop::new("ob12_dead"));
    let relay = shop.builder().on_poison(Poison::DeadLetter).build().unwrap();
    for (account, version, bytes) in
        [("a", 1, 10), ("a", 2, 9000), ("b", 1, 10), ("a", 3, 10), ("c", 1, 9000), ("b", 2, 10)]
    {
        insert(&shop, "account", account, version, bytes);
    }
    let handle = relay.spawn().unwrap();
    shop.wait_until_empty(&handle);
    insert(&shop, "account", "a", 4, 10);
    insert(&shop, "account", "b", 3, 10);
    shop.wait_until_empty(&handle);
    let seen = |account: &str| -> Vec<String> {
        let seen = shop.broker.committed(&shop.topic()).unwrap();
        let of = seen.iter().filter(|record| record.key_text() == account);
        of.map(|record| record.header("revision").unwrap()).collect()
    };
    assert_eq!(
        (seen("a"), seen("b"), seen("c")),
        (vec!["1".into()], vec!["1".into(), "2".into(), "3".into()], vec![])
    );
    assert_eq!(handle.metrics().rejected, 2);
    until("the gauge", || (handle.lag().dead_rows == 4).then_some(()));
    let dead = "SELECT count(*) FROM outbox_dead";
    let parked = format!("{dead} WHERE reason IS NULL");
    assert_eq!((shop.number(dead), shop.number(&parked)), (4, 2));

    // too early: it comes back, and nothing of the aggregate was published
    let publish = |account: &str| {
        block_on(async {
            let mut client = shop.connect().await;
            shop.outbox().publish_dead(&mut client, "account", account).await.unwrap()
        })
    };
    assert_eq!(publish("a"), 3);
    until("it comes back", || (handle.metrics().rejected == 3).then_some(()));
    until("no ticket", || {
        (shop.number(&format!("{dead} WHERE ticket IS NOT NULL")) == 0).then_some(())
    });
    assert_eq!(seen("a"), ["1"]);

    // the cause is mended: here by a smaller payload
    shop.execute(
        "UPDATE outbox_dead SET payload = convert_to(format(
             '{\"account\": \"%s\", \"version\": %s}', aggregateid, revision), 'UTF8')",
    );
    assert_eq!(publish("a"), 3);
    insert(&shop, "account", "a", 5, 10);
    assert_eq!(publish("c"), 1);
    until("all of it", || (shop.number(dead) == 0).then_some(()));
    shop.wait_until_empty(&handle);
    insert(&shop, "account", "c", 2, 10);
    shop.wait_until_empty(&handle);
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(shop.assert_exactly_once(), 10);
}

#[test]
fn ob16_a_partition_is_dropped_only_when_all_of_it_is_published() {
    let shop = Shop::new("ob16");
    let name = "outbox_by_time";
    let template = format!("{}.{{aggregatetype}}", shop.prefix);
    let outbox = Outbox::new(name)
        .unwrap()
        .topic_by_aggregate_type(&template)
        .unwrap()
        .partitioned(Duration::from_secs(60))
        .unwrap();
    assert!(Outbox::new(name).unwrap().partitioned(Duration::from_secs(1)).is_err());
    let old = 1_000_000_020_u64;
    block_on(async {
        let mut client = shop.connect().await;
        outbox.ensure_schema(&mut client).await.unwrap();
        // an old partition, as it was made at its time
        let part = format!("{name}_p{old}_{}", old + 60);
        let sql = format!(
            "CREATE TABLE {part} PARTITION OF {name}
             FOR VALUES FROM (to_timestamp({old})) TO (to_timestamp({}))",
            old + 60
        );
        client.batch_execute(&sql).await.unwrap();
        // a transaction that began then and still adds to it
        let insert = format!(
            "INSERT INTO {name} (event_id, aggregatetype, aggregateid, type, revision, payload,
                                 created_at)
             VALUES (gen_random_uuid(), 'account', 'late', 'E', 1,
                     '{{\"account\": \"late\", \"version\": 1}}', to_timestamp({old} + 1));
             INSERT INTO account VALUES ('late', 1)"
        );
        client.batch_execute(&format!("BEGIN; {insert}")).await.unwrap();
        let mut other = shop.connect().await;
        let mut tx = outbox.begin(&mut other).await.unwrap();
        tx.execute("INSERT INTO account VALUES ('a', 1)", &[]).await.unwrap();
        tx.stage(event("a", 1)).unwrap();
        tx.commit().await.unwrap();

        let drop = Cleanup::DropPartitions { retain: Duration::from_secs(1) };
        assert!(shop.builder().cleanup(drop).build().is_err(), "its table has no partitions");
        let relay = shop.builder_of(outbox.clone()).cleanup(drop).build().unwrap();
        let handle = relay.spawn().unwrap();
        until("the one that is committed", || (handle.metrics().records == 1).then_some(()));
        // the relay tried, in vain
        let count = format!("SELECT count(*) FROM pg_class WHERE relname = '{part}'");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(other.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 1);
        client.batch_execute("COMMIT").await.unwrap();
        until("the late one", || (handle.metrics().records == 2).then_some(()));
        until("the partition is dropped", || (shop.number(&count) == 0).then_some(()));
        // those of now, and those made ahead, stay
        let left = format!("SELECT count(*) FROM pg_inherits WHERE inhparent = '{name}'::regclass");
        assert!(shop.number(&left) >= 4);
        assert_eq!(shop.number(&format!("SELECT count(*) FROM {name}")), 1);
        handle.stop();
        handle.wait().unwrap();
    });
    assert_eq!(shop.assert_exactly_once(), 2);
}

#[test]
fn a_dead_event_of_no_outbox_is_not_made_up() {
    let shop = Shop::new("no_dead");
    block_on(async {
        let mut client = shop.connect().await;
        let none = shop.outbox().publish_dead(&mut client, "account", "a").await.unwrap();
        assert_eq!(none, 0);
        let staged = OutboxEvent::tombstone("account", "a", "E");
        assert_eq!(staged.id().get_version_num(), 7);
    });
}
