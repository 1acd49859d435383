//! Commits that do not come in the order of ids or transaction ids, and what else reading rests on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill_connect::outbox::{Cleanup, MissingPosition};
use tidemill_connect::postgres::connect;
use tidemill_connect::source::BatchLimits;
use tidemill_connect::testing::until;

use crate::shop::{Shop, block_on, event, server, told};

#[test]
fn ob2_an_early_transaction_id_does_not_pass_a_later_one() {
    let shop = Shop::new("ob2_early");
    let handle = shop.builder().build().unwrap().spawn().unwrap();
    block_on(async {
        let (mut c1, mut c2, mut c3) =
            (shop.connect().await, shop.connect().await, shop.connect().await);
        let outbox = shop.outbox();
        // T1 takes its id first, T2 after it and stays open, T3 changes and commits, T1 changes
        let mut t1 = outbox.begin(&mut c1).await.unwrap();
        t1.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap();
        let t2 = outbox.begin(&mut c2).await.unwrap();
        t2.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap();
        shop.change(&mut c3, "a", crate::shop::End::Commit).await;
        let sql = "UPDATE account SET version = version + 1 RETURNING version";
        let version: i64 = t1.query_one(sql, &[]).await.unwrap().get(0);
        t1.stage(event("a", version)).unwrap();
        t1.commit().await.unwrap();
        // both are published although T2 is open
        until("no stall", || (handle.metrics().records == 2).then_some(()));
        let mut t2 = t2;
        let version: i64 = t2.query_one(sql, &[]).await.unwrap().get(0);
        t2.stage(event("a", version)).unwrap();
        t2.commit().await.unwrap();
    });
    until("the third", || (handle.metrics().records == 3).then_some(()));
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(shop.assert_exactly_once(), 3);
}

#[test]
fn ob2_long_prepared_and_foreign_transactions_stall_nothing() {
    let shop = Shop::new("ob2_long");
    let foreign = server().new_database("ob2_foreign").unwrap();
    let handle = shop.builder().build().unwrap().spawn().unwrap();
    block_on(async {
        let other = connect(&foreign.parse().unwrap()).await.unwrap();
        other.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
        let mut prepared = shop.connect().await;
        let outbox = shop.outbox();
        let tx = outbox.begin(&mut prepared).await.unwrap();
        tx.execute("INSERT INTO account VALUES ('p', 1)", &[]).await.unwrap();
        outbox.insert(&*tx, &[event("p", 1)]).await.unwrap();
        tx.batch_execute("PREPARE TRANSACTION 'ob2_prepared'").await.unwrap();
        drop(tx);
        shop.change_all_on(20).await;
        until("no stall", || (handle.metrics().records == 20).then_some(()));
        let client = shop.connect().await;
        client.batch_execute("COMMIT PREPARED 'ob2_prepared'").await.unwrap();
        until("the prepared one", || (handle.metrics().records == 21).then_some(()));
    });
    shop.wait_until_empty(&handle);
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(shop.assert_exactly_once(), 21);
}

#[test]
fn ob2_many_writers_with_rollbacks_and_waits_lose_nothing_and_keep_their_order() {
    let shop = Shop::new("ob2_many");
    let small = BatchLimits { records: 37, wait: Duration::from_millis(20), ..Default::default() };
    let handle = shop.builder().batch(small).build().unwrap().spawn().unwrap();
    let done = AtomicBool::new(false);
    block_on(async {
        let stop = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            done.store(true, Ordering::SeqCst);
        };
        let writers = (
            shop.keep_writing(1, &done),
            shop.keep_writing(2, &done),
            shop.keep_writing(3, &done),
            shop.keep_writing(4, &done),
            shop.keep_writing(5, &done),
            shop.keep_writing(6, &done),
        );
        let (a, b, c, d, e, f) = writers;
        tokio::join!(a, b, c, d, e, f, stop);
    });
    shop.wait_until_empty(&handle);
    handle.stop();
    handle.wait().unwrap();
    assert!(shop.assert_exactly_once() > 100);
}

#[test]
fn ob15_a_large_backlog_is_published_in_pages_that_survive_a_restart() {
    let shop = Shop::new("ob15");
    // one transaction with all of it, as large as one should ever be
    shop.execute(
        "INSERT INTO account SELECT 'a' || n, 400 FROM generate_series(0, 499) AS n;
         INSERT INTO outbox (event_id, aggregatetype, aggregateid, type, revision, payload)
         SELECT gen_random_uuid(), 'account', 'a' || n, 'E', v,
                convert_to(format('{\"account\": \"a%s\", \"version\": %s}', n, v), 'UTF8')
         FROM generate_series(1, 400) AS v, generate_series(0, 499) AS n",
    );
    let handle = shop.builder().build().unwrap().spawn().unwrap();
    until("some pages", || (handle.metrics().records > 20_000).then_some(()));
    handle.stop();
    handle.wait().unwrap();
    let position = shop.position().unwrap();
    assert!(position.target.is_some(), "stopped in the middle: {position:?}");
    assert!(position.last_id > 0);
    // rows go while later ones are still to be published, but none behind the committed position
    let behind = format!("SELECT count(*) FROM outbox WHERE id > {}", position.last_id);
    let first = shop.number("SELECT pg_sequence_last_value('outbox_id_seq')") - 200_000;
    let left = first + 200_000 - position.last_id;
    assert_eq!(shop.number(&behind), left, "nothing may be deleted before it is published");
    assert!(shop.rows() >= left);
    // while it is paused others commit
    shop.change_all(&["a0", "x", "x"]);
    let handle = shop.builder().build().unwrap().spawn().unwrap();
    until("the lag is known", || (handle.lag().unpublished_rows > 1000).then_some(()));
    shop.wait_until_empty(&handle);
    assert_eq!(handle.lag().unpublished_rows, 0);
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(shop.assert_exactly_once(), 200_003);
}

#[test]
fn pages_are_bounded_by_bytes_too() {
    let shop = Shop::new("bytes");
    shop.execute(
        "INSERT INTO outbox (event_id, aggregatetype, aggregateid, type, payload)
         SELECT gen_random_uuid(), 'account', 'a' || n, 'E', repeat('x', 100000)::bytea
         FROM generate_series(1, 50) AS n",
    );
    let limits = BatchLimits { bytes: 250_000, ..BatchLimits::default() };
    let handle = shop.builder().batch(limits).build().unwrap().spawn().unwrap();
    shop.wait_until_empty(&handle);
    let metrics = handle.metrics();
    handle.stop();
    handle.wait().unwrap();
    assert_eq!(metrics.records, 50);
    // three a page: the one that passes the limit is the last
    assert!((17..=20).contains(&metrics.commits), "{metrics:?}");
    assert_eq!(shop.broker.committed(&shop.topic()).unwrap().len(), 50);
}

#[test]
fn several_relays_share_the_aggregates_of_an_outbox() {
    let shop = Shop::new("shards");
    let relays: Vec<_> = (0..3)
        .map(|index| {
            let mut one = shop.clone();
            one.relay = format!("{}-{index}", shop.relay);
            one.builder().shard(index, 3).build().unwrap().spawn().unwrap()
        })
        .collect();
    let done = AtomicBool::new(false);
    block_on(async {
        let stop = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            done.store(true, Ordering::SeqCst);
        };
        tokio::join!(shop.keep_writing(1, &done), shop.keep_writing(2, &done), stop);
    });
    shop.wait_until_empty(&relays[0]);
    for relay in relays {
        assert!(relay.metrics().records > 0);
        relay.stop();
        relay.wait().unwrap();
    }
    shop.assert_exactly_once();
    // one more relay for the same rows would publish them twice
    let error = shop.refusal();
    assert!(told(&error).contains("publishes the same rows"), "{}", told(&error));
    let wrong = shop.builder().shard(3, 3).build();
    assert!(wrong.unwrap_err().to_string().contains("no shard 3 of 3"));
    let mut changed = shop.clone();
    changed.relay = format!("{}-0", shop.relay);
    shop.execute("DELETE FROM outbox_relay WHERE shard > 0");
    let error = told(&changed.refusal());
    assert!(error.contains("shard 0 of 3, this relay is 0 of 1"), "{error}");
}

#[test]
fn rows_may_be_retained_for_a_while_or_for_good() {
    for cleanup in [Cleanup::None, Cleanup::Retain(Duration::from_secs(3600))] {
        let shop = Shop::new("retain");
        shop.change_all(&["a", "a", "b"]);
        let run = |events| {
            let relay = shop.builder().cleanup(cleanup).build().unwrap();
            let handle = relay.spawn().unwrap();
            until("all", || (handle.metrics().records == events).then_some(()));
            handle.stop();
            handle.wait().unwrap();
        };
        run(3);
        shop.change_all(&["a"]);
        run(1);
        assert_eq!(shop.rows(), 4);
        assert_eq!(shop.assert_exactly_once(), 4);
    }
}

#[test]
fn a_commit_wakes_a_relay_that_listens() {
    let shop = Shop::new("notify");
    let relay = shop.builder_of(shop.outbox().notify()).build().unwrap();
    let handle = relay.spawn().unwrap();
    until("it is open", || (handle.metrics().commits == 1).then_some(()));
    block_on(async {
        let mut client = shop.connect().await;
        let outbox = shop.outbox().notify();
        for version in 1..=5 {
            let mut tx = outbox.begin(&mut client).await.unwrap();
            tx.stage(event("a", version)).unwrap();
            tx.commit().await.unwrap();
            let expected = version.unsigned_abs();
            until("it", || (handle.metrics().records == expected).then_some(()));
        }
    });
    handle.stop();
    handle.wait().unwrap();
}

#[test]
fn ob10_a_missing_position_stops_the_relay_until_somebody_chooses() {
    let shop = Shop::new("ob10");
    let keep = || shop.builder().cleanup(Cleanup::None);
    let run = |missing, events| {
        let handle = keep().on_missing_position(missing).build().unwrap().spawn().unwrap();
        until("all", || {
            let metrics = handle.metrics();
            // the first commit says that the session is open
            (metrics.commits > 0 && metrics.records == events).then_some(())
        });
        handle.stop();
        handle.wait().unwrap();
    };
    shop.change_all(&["a", "b"]);
    run(MissingPosition::Fail, 2);
    shop.broker.delete(&[&shop.positions]).unwrap();
    let error = told(&shop.refusal());
    assert!(error.contains("published from \"outbox\" before, and has no position"), "{error}");
    shop.change_all(&["c"]);
    run(MissingPosition::SkipAll, 0);
    shop.change_all(&["a"]);
    run(MissingPosition::Fail, 1);
    let versions = |seen: Vec<tidemill_connect::testing::Seen>| seen.len();
    assert_eq!(versions(shop.broker.committed(&shop.topic()).unwrap()), 3);
    shop.broker.delete(&[&shop.positions]).unwrap();
    run(MissingPosition::PublishAll, 4);
}
