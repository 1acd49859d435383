//! The inbox by itself.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill_connect::inbox::Inbox;
use tidemill_connect::postgres::connect;
use uuid::Uuid;

use super::shop::{client, number, server};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_new_in_one_transaction_that_commits() {
    let database = server().new_database("inbox").unwrap();
    let inbox = Inbox::new("own.in\"box").unwrap();
    let mut client = client(&database).await;
    client.batch_execute("CREATE SCHEMA own").await.unwrap();
    inbox.ensure_schema(&*client).await.unwrap();
    inbox.ensure_schema(&*client).await.unwrap();
    let id = Uuid::now_v7();
    let tx = client.transaction().await.unwrap();
    assert!(inbox.first_time(&tx, "rewards", id).await.unwrap());
    assert!(!inbox.first_time(&tx, "rewards", id).await.unwrap());
    assert!(inbox.first_time(&tx, "orders", id).await.unwrap(), "consumers have their own");
    tx.rollback().await.unwrap();
    // several at once: one of them has it
    let mut first = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (inbox, database) = (inbox.clone(), database.clone());
        first.spawn(async move {
            let mut client = connect(&database.parse().unwrap()).await.unwrap();
            let tx = client.transaction().await.unwrap();
            let first = inbox.first_time(&tx, "rewards", id).await.unwrap();
            tx.commit().await.unwrap();
            first
        });
    }
    let first = first.join_all().await;
    assert_eq!(first.iter().filter(|first| **first).count(), 1);
    let ids: Vec<Uuid> = (0..50).map(|_| Uuid::now_v7()).chain([id]).collect();
    let tx = client.transaction().await.unwrap();
    let twice = ids.iter().chain(&ids).copied();
    let fresh = inbox.first_times(&tx, "rewards", twice).await.unwrap();
    assert_eq!(fresh, ids[..50].iter().copied().collect::<BTreeSet<_>>());
    tx.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_forgotten_by_their_age() {
    let database = server().new_database("inbox").unwrap();
    let inbox = Inbox::default();
    let mut client = client(&database).await;
    inbox.ensure_schema(&*client).await.unwrap();
    let tx = client.transaction().await.unwrap();
    let ids: Vec<Uuid> = (0..30).map(|_| Uuid::now_v7()).collect();
    inbox.first_times(&tx, "rewards", ids.iter().copied()).await.unwrap();
    tx.commit().await.unwrap();
    let day = Duration::from_secs(86_400);
    let old = "UPDATE inbox SET seen_at = now() - interval '2 days'
                WHERE event_id IN (SELECT event_id FROM inbox ORDER BY event_id LIMIT 20)";
    client.execute(old, &[]).await.unwrap();
    assert_eq!(inbox.purge(&*client, day, 15).await.unwrap(), 15);
    assert_eq!(inbox.purge(&*client, day, 15).await.unwrap(), 5);
    assert_eq!(inbox.purge(&*client, day, 15).await.unwrap(), 0);
    assert_eq!(number(&client, "SELECT count(*) FROM inbox").await, 10);
}
