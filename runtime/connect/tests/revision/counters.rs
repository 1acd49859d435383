//! RV6 under load: many writers, each way to draw a revision; the row's last value is always the
//! value of its largest revision, and every event has a revision of its own.

use std::sync::Arc;

use tidemill::record::Timestamp;
use tidemill::revision::RevisionGenerator;
use tidemill_connect::postgres::Connection;
use tidemill_connect::revision::{
    CounterError, GuardedWrite, RevisionedTable, RowCounter, SequenceRevision,
};
use tokio_postgres::{Config, Transaction};

use crate::support::{connected, price, shop};

const WRITERS: i64 = 6;
const CHANGES: i64 = 40;
const SKUS: [&str; 2] = ["umbrella", "hat"];

/// Changes a price within the transaction, and returns the revision; `None` if it lost.
trait Writer: Send + Sync + 'static {
    fn write<'a>(
        &'a self,
        transaction: &'a Transaction<'_>,
        sku: &'static str,
        cents: i64,
    ) -> impl Future<Output = Option<i64>> + Send + 'a;
}

struct Counting(RowCounter);

impl Writer for Counting {
    async fn write(&self, tx: &Transaction<'_>, sku: &'static str, cents: i64) -> Option<i64> {
        let revision = self.0.update(tx, &sku, &[("cents", &cents)]).await.unwrap();
        Some(revision.unwrap())
    }
}

struct Drawing(SequenceRevision, RevisionedTable);

impl Writer for Drawing {
    async fn write(&self, tx: &Transaction<'_>, sku: &'static str, cents: i64) -> Option<i64> {
        let revision = self.0.draw(tx, &self.1, &sku).await.unwrap().unwrap();
        set(tx, sku, cents, revision).await;
        Some(revision)
    }
}

struct Generating(RevisionGenerator, RevisionedTable);

impl Writer for Generating {
    async fn write(&self, tx: &Transaction<'_>, sku: &'static str, cents: i64) -> Option<i64> {
        let revision = self.1.draw(tx, &sku, &self.0).await.unwrap().unwrap();
        set(tx, sku, cents, revision).await;
        Some(revision)
    }
}

/// Draws before it has the lock.
struct Guarding(RevisionGenerator, RevisionedTable);

impl Writer for Guarding {
    async fn write(&self, tx: &Transaction<'_>, sku: &'static str, cents: i64) -> Option<i64> {
        let revision = self.0.next_revision().unwrap();
        let written = self.1.write_if_newer(tx, &sku, revision, &[("cents", &cents)]).await;
        match written.unwrap() {
            GuardedWrite::Written => Some(revision),
            GuardedWrite::Lost { newest } => {
                assert!(newest > revision, "lost against {newest} with {revision}");
                None
            }
            GuardedWrite::Missing => panic!("no {sku}"),
        }
    }
}

async fn set(transaction: &Transaction<'_>, sku: &'static str, cents: i64, revision: i64) {
    let sql = "UPDATE price SET cents = $2, revision = $3 WHERE sku = $1";
    assert_eq!(transaction.execute(sql, &[&sku, &cents, &revision]).await.unwrap(), 1);
}

async fn write_all(config: Config, writer: Arc<impl Writer>, number: i64) {
    let mut client = connected(&config).await;
    for change in 0..CHANGES {
        let sku = SKUS[usize::try_from((number + change) % 2).unwrap()];
        let cents = number * 1_000 + change;
        let transaction = client.transaction().await.unwrap();
        if let Some(revision) = writer.write(&transaction, sku, cents).await {
            let sql = "INSERT INTO event VALUES ($1, $2, $3)";
            transaction.execute(sql, &[&sku, &cents, &revision]).await.unwrap();
        }
        // each seventh changes its mind
        if change % 7 == 6 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
        }
    }
}

/// Lets the writers loose, and returns the revisions of each thing's events.
async fn agree(config: &Config, writer: impl Writer) -> Vec<Vec<i64>> {
    let writer = Arc::new(writer);
    let writing: Vec<_> = (0..WRITERS)
        .map(|number| tokio::spawn(write_all(config.clone(), Arc::clone(&writer), number)))
        .collect();
    for writing in writing {
        writing.await.unwrap();
    }
    let client = connected(config).await;
    let mut revisions = Vec::new();
    for sku in SKUS {
        let events = events(&client, sku).await;
        let newest = *events.last().unwrap();
        assert_eq!(price(&client, sku).await, (newest.1, newest.0), "{sku}");
        let mine: Vec<i64> = events.iter().map(|(revision, _)| *revision).collect();
        assert!(mine.is_sorted_by(|a, b| a < b), "a revision twice: {mine:?}");
        revisions.push(mine);
    }
    revisions
}

async fn events(client: &Connection, sku: &str) -> Vec<(i64, i64)> {
    let sql = "SELECT revision, cents FROM event WHERE sku = $1 ORDER BY revision";
    let rows = client.query(sql, &[&sku]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rv6_a_counter_in_the_row_is_dense_and_its_largest_value_is_the_rows() {
    let (config, table) = shop("rv6").await;
    let revisions = agree(&config, Counting(RowCounter::new(table))).await;
    for mine in revisions {
        let count = i64::try_from(mine.len()).unwrap();
        assert!(count > CHANGES, "{count}");
        assert_eq!(mine, (1..=count).collect::<Vec<_>>(), "what was rolled back left a gap");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rv6_a_sequence_drawn_under_the_lock_grows_with_the_row() {
    let (config, table) = shop("rv6").await;
    let name = "drawn".parse().unwrap();
    let drawn = SequenceRevision::create(&*connected(&config).await, name).await.unwrap();
    let revisions = agree(&config, Drawing(drawn, table)).await;
    let mut all = revisions.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), revisions.concat().len(), "unique among all rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn rv6_a_generator_asked_under_the_lock_grows_with_the_row() {
    let (config, table) = shop("rv6").await;
    agree(&config, Generating(RevisionGenerator::new(), table)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rv6_a_generator_asked_too_early_is_held_back_by_the_guard() {
    let (config, table) = shop("rv6").await;
    agree(&config, Guarding(RevisionGenerator::new(), table)).await;
}

#[tokio::test]
async fn rv4_a_generator_whose_clock_was_set_back_is_refused_for_a_row_that_is_beyond_it() {
    let (config, table) = shop("rv4").await;
    let mut client = connected(&config).await;
    let transaction = client.transaction().await.unwrap();
    let now = RevisionGenerator::new();
    let newest = table.draw(&transaction, &"hat", &now).await.unwrap().unwrap();
    set(&transaction, "hat", 5, newest).await;
    let set_back = RevisionGenerator::new().with_clock(|| Timestamp(1_000));
    let error = table.draw(&transaction, &"hat", &set_back).await.unwrap_err();
    assert!(
        matches!(error, CounterError::NotNewer { stored, drawn, .. }
            if stored == newest && drawn == 1_000_000_000),
        "{error}"
    );
    assert!(error.to_string().starts_with("row \"hat\" of \"price\" has revision"), "{error}");
    // a row without a revision takes any
    let first = table.draw(&transaction, &"umbrella", &set_back).await.unwrap();
    assert_eq!(first, Some(1_000_000_001));
    assert_eq!(table.draw(&transaction, &"scarf", &set_back).await.unwrap(), None);
}

#[tokio::test]
async fn rv1_the_same_revision_again_changes_nothing_and_says_so() {
    let (config, table) = shop("rv1").await;
    let client = connected(&config).await;
    let write = async |sku: &'static str, revision, cents: i64| {
        table.write_if_newer(&*client, &sku, revision, &[("cents", &cents)]).await.unwrap()
    };
    assert_eq!(write("umbrella", 3, 30).await, GuardedWrite::Written);
    assert_eq!(write("umbrella", 3, 31).await, GuardedWrite::Lost { newest: 3 });
    assert_eq!(write("umbrella", 2, 20).await, GuardedWrite::Lost { newest: 3 });
    assert_eq!(write("scarf", 1, 10).await, GuardedWrite::Missing);
    assert_eq!(price(&client, "umbrella").await, (30, 3));
    let counter = RowCounter::new(table.clone());
    assert_eq!(counter.update(&*client, &"umbrella", &[]).await.unwrap(), Some(4));
    assert_eq!(counter.update(&*client, &"scarf", &[]).await.unwrap(), None);
}
