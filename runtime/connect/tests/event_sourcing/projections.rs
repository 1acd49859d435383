//! Projections while writers write: nothing is passed over, nothing counts twice (ES7).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidemill::BoxError;
use tidemill_connect::event_sourcing::{
    EventStoreError, ExpectedVersion, PgEventStore, Projected, Projection, Projector,
};
use tidemill_connect::postgres::{Connection, connect};
use tokio_postgres::{Config, Transaction};
use uuid::Uuid;

use crate::pg::{command, ready};
use crate::stock::{Happened, Item, Want, received};

/// Pieces that ever came in, by item, with the last version: additions, so a second one shows.
pub(crate) struct Arrivals {
    pub(crate) table: &'static str,
}

impl Arrivals {
    pub(crate) async fn create(&self, client: &Connection) {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} (item text PRIMARY KEY, pieces bigint, version bigint)",
            self.table
        );
        client.batch_execute(&sql).await.unwrap();
    }

    pub(crate) async fn read(&self, client: &Connection) -> BTreeMap<String, (i64, i64)> {
        let sql = format!("SELECT item, pieces, version FROM {}", self.table);
        let rows = client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
    }
}

impl Projection<Happened> for Arrivals {
    fn name(&self) -> &str {
        self.table
    }

    async fn apply(
        &mut self,
        transaction: &Transaction<'_>,
        events: &[Projected<Happened>],
    ) -> Result<(), BoxError> {
        for event in events {
            let pieces = match &event.recorded.event {
                Happened::Received { pieces } => *pieces,
                _ => 0,
            };
            let version = event.recorded.version.0;
            // a version out of order changes no row
            let sql = format!(
                "INSERT INTO {table} AS old VALUES ($1, $2, $3) ON CONFLICT (item) DO UPDATE
                    SET pieces = old.pieces + excluded.pieces, version = excluded.version
                  WHERE old.version = excluded.version - 1",
                table = self.table
            );
            let changed = transaction.execute(&sql, &[&event.stream, &pieces, &version]).await?;
            if changed == 0 {
                return Err(format!("version {version} of {} is out of order", event.stream).into());
            }
        }
        Ok(())
    }

    async fn clear(&mut self, transaction: &Transaction<'_>) -> Result<(), BoxError> {
        Ok(transaction.batch_execute(&format!("DELETE FROM {}", self.table)).await?)
    }
}

/// What the events say, folded from zero.
pub(crate) async fn truth(client: &Connection) -> BTreeMap<String, (i64, i64)> {
    let sql = "SELECT aggregateid, payload, revision FROM stock_events ORDER BY revision";
    let mut truth: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for row in client.query(sql, &[]).await.unwrap() {
        let payload: serde_json::Value = serde_json::from_slice(row.get(1)).unwrap();
        let pieces = payload["data"]["Received"]["pieces"].as_i64().unwrap_or(0);
        let entry = truth.entry(row.get(0)).or_default();
        *entry = (entry.0 + pieces, row.get(2));
    }
    truth
}

/// Appends until it is told to stop: slow and quick transactions, one in six rolled back, some with
/// a transaction id that was drawn long before.
async fn write(config: Config, store: PgEventStore<Item>, stop: Arc<AtomicBool>, writer: u64) {
    let mut client = connect(&config).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(writer);
    while !stop.load(Ordering::Relaxed) {
        let transaction = client.transaction().await.unwrap();
        if rng.bool() {
            transaction.execute("SELECT pg_current_xact_id()", &[]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(rng.u64(..4))).await;
        }
        let item = format!("item-{}", rng.u8(..6));
        let events: Vec<Happened> = (0..rng.i64(1..4)).map(received).collect();
        let id = Uuid::from_u128(rng.u128(..));
        match store.append(&transaction, &item, ExpectedVersion::Any, id, &events).await {
            Ok(_) | Err(EventStoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(..4))).await;
        if rng.u8(..6) > 0 {
            transaction.commit().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn es7_projections_are_rebuilt_while_everybody_writes() {
    let (config, client, store) = ready().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 0..6 {
        let (config, store) = (config.clone(), store.clone());
        writers.push(tokio::spawn(write(config, store, Arc::clone(&stop), writer)));
    }
    // one transaction is open all the time, in another database of the cluster as in this one
    let mut lingering = connect(&config).await.unwrap();
    let lingering = lingering.transaction().await.unwrap();
    lingering.execute("SELECT pg_current_xact_id()", &[]).await.unwrap();

    let tables = ["arrivals", "arrivals_v2"].map(|table| Arrivals { table });
    for table in &tables {
        table.create(&client).await;
    }
    let mut projecting = connect(&config).await.unwrap();
    let mut old = Projector::new(store.clone(), Arrivals { table: "arrivals" });
    old.open(&projecting).await.unwrap();
    let mut applied = 0;
    while applied < 500 {
        applied += old.catch_up(&mut projecting).await.unwrap();
    }
    // the next version of it under another name, and the old one in place; both live
    let mut new = Projector::new(store.clone(), Arrivals { table: "arrivals_v2" });
    new.open(&projecting).await.unwrap();
    old.rebuild(&mut projecting).await.unwrap();
    let mut again = 0;
    while again < 1_500 {
        again += new.catch_up(&mut projecting).await.unwrap();
        old.step(&mut projecting).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    old.catch_up(&mut projecting).await.unwrap();
    new.catch_up(&mut projecting).await.unwrap();
    let truth = truth(&client).await;
    for table in &tables {
        assert_eq!(table.read(&client).await, truth, "{}", table.table);
    }
    assert_eq!(old.catch_up(&mut projecting).await.unwrap(), 0, "nothing is applied again");
    lingering.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn es7_two_runners_of_one_projection_take_turns() {
    let (config, client, store) = ready().await;
    Arrivals { table: "arrivals" }.create(&client).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(config.clone(), store.clone(), Arc::clone(&stop), 1));
    let runners: Vec<_> = (0..3)
        .map(|_| {
            let (config, store) = (config.clone(), store.clone());
            tokio::spawn(async move {
                let mut client = connect(&config).await.unwrap();
                let mut projector = Projector::new(store, Arrivals { table: "arrivals" });
                projector.open(&client).await.unwrap();
                let mut applied = 0;
                for _ in 0..150 {
                    applied += projector.catch_up(&mut client).await.unwrap();
                }
                applied
            })
        })
        .collect();
    let mut applied = 0;
    for runner in runners {
        applied += runner.await.unwrap();
    }
    assert!(applied > 0);
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let mut client = client;
    Projector::new(store, Arrivals { table: "arrivals" }).catch_up(&mut client).await.unwrap();
    assert_eq!(Arrivals { table: "arrivals" }.read(&client).await, truth(&client).await);
}

#[tokio::test]
async fn tables_from_another_cluster_are_refused_until_they_are_adopted() {
    let (_, mut client, store) = ready().await;
    let arrivals = Arrivals { table: "arrivals" };
    arrivals.create(&client).await;
    for number in 1..=3 {
        store.execute(&mut client, "bolt", &command(number, Want::Receive(1))).await.unwrap();
    }
    let mut projector = Projector::new(store.clone(), Arrivals { table: "arrivals" });
    projector.open(&client).await.unwrap();
    assert_eq!(projector.catch_up(&mut client).await.unwrap(), 3);
    // as a dump of a cluster that counted further brings them
    let sql = "UPDATE stock_events SET xid = '99999999999'::xid8;
               UPDATE stock_events_cluster SET system_identifier = 'elsewhere';
               UPDATE stock_events_projections SET system_identifier = 'elsewhere',
                      base = '99999999999:99999999999:'";
    client.batch_execute(sql).await.unwrap();
    let error = projector.open(&client).await.unwrap_err();
    assert!(error.to_string().contains("belongs to cluster elsewhere"), "{error}");
    store.adopt(&mut client).await.unwrap();
    let error = projector.open(&client).await.unwrap_err();
    assert!(error.to_string().contains("rebuild() it"), "{error}");
    projector.rebuild(&mut client).await.unwrap();
    projector.open(&client).await.unwrap();
    store.execute(&mut client, "bolt", &command(4, Want::Receive(1))).await.unwrap();
    assert_eq!(projector.catch_up(&mut client).await.unwrap(), 4);
    assert_eq!(arrivals.read(&client).await, truth(&client).await);
}
