//! The store in PostgreSQL and a projection of it, in a process that is killed.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use tidemill_connect::event_sourcing::{Command, EventStoreError, Outcome, Projector};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::testing::{Child, until};
use tokio_postgres::Config;
use uuid::Uuid;

use crate::pg::{new_database, store};
use crate::projections::{Arrivals, truth};
use crate::stock::{Want, reserve, ship};

const WORKERS: u64 = 3;
const PROJECTION: &str = "arrivals";

/// The `step`-th command of a worker: in, reserved, out. None can be refused.
fn command(worker: u64, step: u64) -> Command<Want> {
    let order = format!("order-{worker}-{}", step / 3);
    let want = match step % 3 {
        0 => Want::Receive(1),
        1 => reserve(&order, 1),
        _ => ship(&order),
    };
    Command::new(Uuid::from_u128(u128::from(step * WORKERS + worker) + 1), want)
}

/// All workers on the same two items: they collide.
fn item(step: u64) -> &'static str {
    if (step / 3).is_multiple_of(2) { "bolt" } else { "nut" }
}

async fn work(config: Config, worker: u64, steps: std::ops::Range<u64>) {
    let store = store();
    let mut client = connect(&config).await.unwrap();
    for step in steps {
        let command = command(worker, step);
        loop {
            match store.execute(&mut client, item(step), &command).await {
                Ok(reply) => match reply.outcome {
                    Outcome::Accepted { .. } => break,
                    Outcome::Conflict { .. } => {}
                    other => panic!("{other:?}"),
                },
                Err(error) if error.is_retriable() => {
                    client = connect(&config).await.unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn project(config: Config) -> Result<(), EventStoreError> {
    let mut client = connect(&config).await.unwrap();
    let mut projector = Projector::new(store(), Arrivals { table: PROJECTION });
    projector.open(&client).await?;
    loop {
        if projector.catch_up(&mut client).await? == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Works from a step of each worker on; up to the end, if there is one.
#[tokio::test]
#[ignore = "the body of a process that other tests start"]
async fn store_process() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let config: Config = variable("STORE_DATABASE").parse().unwrap();
    let end: u64 = variable("STORE_END").parse().unwrap();
    let projecting = tokio::spawn(project(config.clone()));
    let starts = variable("STORE_STARTS");
    let starts = starts.split(',').map(|start| start.parse::<u64>().unwrap());
    let workers: Vec<_> = (0..)
        .zip(starts)
        .map(|(worker, start)| tokio::spawn(work(config.clone(), worker, start..end)))
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    projecting.abort();
}

/// The step after the last one of each worker that is in the table.
async fn done(client: &Connection) -> Vec<u64> {
    let sql = "SELECT convert_from(payload, 'UTF8')::jsonb ->> 'command_id' FROM stock_events";
    let mut next = vec![0; usize::try_from(WORKERS).unwrap()];
    for row in client.query(sql, &[]).await.unwrap() {
        let id: Uuid = row.get::<_, String>(0).parse().unwrap();
        let number = u64::try_from(id.as_u128() - 1).unwrap();
        let worker = usize::try_from(number % WORKERS).unwrap();
        next[worker] = next[worker].max(number / WORKERS + 1);
    }
    next
}

struct Run {
    database: String,
    client: Connection,
}

impl Run {
    async fn begin() -> Self {
        let (database, config) = new_database();
        let client = connect(&config).await.unwrap();
        store().ensure_schema(&client).await.unwrap();
        Arrivals { table: PROJECTION }.create(&client).await;
        Self { database, client }
    }

    /// Starts a process a few commands before where the last one ended: those come again.
    async fn start(&self, end: u64, failpoint: Option<&str>) -> Child {
        let starts = done(&self.client).await.into_iter().map(|next| next.saturating_sub(4));
        let starts: Vec<String> = starts.map(|start| start.to_string()).collect();
        let (starts, end) = (starts.join(","), end.to_string());
        let mut variables = vec![
            ("STORE_DATABASE", &*self.database),
            ("STORE_STARTS", &*starts),
            ("STORE_END", &*end),
        ];
        variables.extend(failpoint.map(|armed| ("TIDEMILL_TEST_FAILPOINT", armed)));
        Child::start("pg_kills::store_process", &variables).unwrap()
    }

    /// Lets the work come to an end and looks at everything. Returns how many events there are.
    async fn verify(mut self) -> u64 {
        let end = done(&self.client).await.into_iter().max().unwrap().next_multiple_of(3) + 3;
        let mut process = self.start(end, None).await;
        let ended = tokio::task::spawn_blocking(move || {
            until("the end of the work", || process.ended().unwrap())
        });
        assert!(ended.await.unwrap().success());

        let audit = store().audit(&mut self.client).await.unwrap();
        assert!(audit.passed(), "{audit:?}");
        let mut counts: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
        let sql = "SELECT convert_from(payload, 'UTF8')::jsonb ->> 'command_id', type
                     FROM stock_events ORDER BY aggregateid, revision";
        for row in self.client.query(sql, &[]).await.unwrap() {
            let id = row.get::<_, String>(0).parse().unwrap();
            counts.entry(id).or_default().push(row.get(1));
        }
        let (mut lost, mut wrong) = (0, 0);
        for worker in 0..WORKERS {
            for step in 0..end {
                let types = counts.remove(&command(worker, step).id);
                let expected: &[&[&str]] = match step % 3 {
                    0 => &[&["Received"]],
                    1 => &[&["Reserved"], &["Reserved", "SoldOut"]],
                    _ => &[&["Shipped"]],
                };
                lost += u64::from(types.is_none());
                let fits = |types: &Vec<String>| expected.iter().any(|one| types == one);
                wrong += u64::from(types.is_some_and(|types| !fits(&types)));
            }
        }
        assert_eq!((lost, wrong, counts.len()), (0, 0, 0), "lost, duplicated or half, extra");
        let mut pieces = 0;
        for item in ["bolt", "nut"] {
            let stock = store().load(&*self.client, item).await.unwrap().state;
            assert_eq!((stock.free, stock.reserved.len()), (0, 0), "{item}");
            pieces += stock.shipped;
        }
        assert_eq!(pieces.unsigned_abs(), WORKERS * end / 3);
        let mut projector = Projector::new(store(), Arrivals { table: PROJECTION });
        projector.open(&self.client).await.unwrap();
        projector.catch_up(&mut self.client).await.unwrap();
        let projected = Arrivals { table: PROJECTION }.read(&self.client).await;
        assert_eq!(projected, truth(&self.client).await);
        audit.events
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn es6_killed_at_each_step_of_an_append_and_a_projection() {
    let run = Run::begin().await;
    for (place, pass) in [
        ("ES_APPENDED_FIRST", 20),
        ("ES_APPENDED", 20),
        ("ES_BEFORE_COMMIT", 20),
        ("ES_COMMITTED", 20),
        ("ES_PROJECTED", 3),
    ] {
        let mut process = run.start(u64::MAX, Some(&format!("{place}:{pass}:kill"))).await;
        let ended = tokio::task::spawn_blocking(move || until(place, || process.ended().unwrap()));
        assert_eq!(ended.await.unwrap().signal(), Some(9), "{place}");
    }
    run.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_event_store_postgres() {
    let kills = std::env::var("TIDEMILL_TEST_KILLS").ok();
    let kills: u64 = kills.map_or(8, |kills| kills.parse().unwrap());
    let run = Run::begin().await;
    for _ in 0..kills {
        let mut process = run.start(u64::MAX, None).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(30..400))).await;
        assert!(process.ended().unwrap().is_none(), "it ended by itself");
        process.kill().unwrap();
    }
    let events = run.verify().await;
    println!("{kills} kills: {events} events, lost=0 duplicated=0, every state is a fold");
}
