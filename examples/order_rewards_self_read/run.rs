//! One run: parts that are killed, then the comparison of what they left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidemill::BoxError;
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::sink::postgres::AppliedPositions;
use tidemill_connect::testing::Broker;
use tidemill_examples::report;
use tidemill_examples::stage::{Part, Setting, Stage};

use crate::Arguments;
use crate::services::{CLIENT, ORDERS, OrderPlaced, REWARDS, TOPIC};

const PARTITIONS: u32 = 4;
/// Longer than the rest takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs everything; returns whether orders and rewards are what the client was told.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    let mut stage = Stage::set()?;
    stage.cluster()?.create_topics(&[TOPIC], PARTITIONS)?;
    let rewards = stage.postgres().new_database("rewards")?;
    let setting =
        stage.setting().clone().with("rewards", &rewards).with("orders", arguments.orders);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(make_tables(&setting.database, &rewards))?;
    report::line(format_args!(
        "{} orders; client, order service and rewards service are killed {} times",
        report::grouped(arguments.orders),
        arguments.kills
    ));
    let begin = Instant::now();
    let mut client = stage.part(CLIENT, CLIENT, &setting)?;
    let mut services =
        [stage.part(ORDERS, ORDERS, &setting)?, stage.part(REWARDS, REWARDS, &setting)?];
    let killed = kill(&mut client, &mut services, arguments)?;
    if !client.wait(PATIENCE)?.success() {
        client.check_running()?;
    }
    let broker = Broker::at(&setting.kafka);
    let seen = broker.committed(TOPIC)?;
    let outcome = runtime.block_on(async {
        for (database, sink) in [(&setting.database, ORDERS), (&rewards, REWARDS)] {
            let positions = AppliedPositions::new(&database.parse()?, "sink_offset", sink)?;
            for record in &seen {
                let partition = tidemill::record::TopicPartition::new(
                    TOPIC,
                    tidemill::record::Partition(record.partition),
                );
                let offset = tidemill::record::Offset(record.offset);
                positions.applied_up_to(&partition, offset, PATIENCE).await?;
            }
        }
        compare(&setting, &rewards, arguments.orders).await
    })?;
    for service in &mut services {
        service.check_running()?;
    }
    let took = begin.elapsed();
    tell(
        &setting,
        &outcome,
        &Told { sent: seen.len() as u64, killed, took, orders: arguments.orders },
    )
}

/// Kills parts at random, one after the other, while the client works.
fn kill(
    client: &mut Part,
    services: &mut [Part; 2],
    arguments: &Arguments,
) -> Result<BTreeMap<String, u32>, BoxError> {
    let mut killed = BTreeMap::new();
    for kill in 0..arguments.kills {
        std::thread::sleep(Duration::from_millis(fastrand::u64(50..400)));
        let part = match kill % 3 {
            0 => &mut services[0],
            1 => &mut *client,
            _ => &mut services[1],
        };
        // a client that is through has nothing to be killed for
        if part.name() == CLIENT && part.wait(Duration::ZERO).is_ok_and(|status| status.success()) {
            continue;
        }
        part.kill_and_restart()?;
        *killed.entry(part.name().to_owned()).or_default() += 1;
    }
    Ok(killed)
}

/// No constraint of the order service's table would hide a second effect.
async fn make_tables(orders: &str, rewards: &str) -> Result<(), BoxError> {
    let own = connect(&orders.parse()?).await?;
    own.batch_execute(
        "CREATE TABLE orders (id text NOT NULL, customer text NOT NULL, cents bigint NOT NULL);
         CREATE INDEX ON orders (id)",
    )
    .await?;
    let other = connect(&rewards.parse()?).await?;
    let sql = "CREATE TABLE rewards (customer text PRIMARY KEY, points bigint NOT NULL)";
    other.batch_execute(sql).await?;
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    lost: u64,
    duplicated: u64,
    /// Customers whose points are not what their orders are worth.
    wrong_points: u64,
}

async fn compare(setting: &Setting, rewards: &str, orders: u64) -> Result<Outcome, BoxError> {
    let own = connect(&setting.database.parse()?).await?;
    let mut outcome = Outcome::default();
    let found = counts(&own, "SELECT id, count(*) FROM orders GROUP BY id").await?;
    let mut points: BTreeMap<String, i64> = BTreeMap::new();
    for number in 0..orders {
        let placed = OrderPlaced::number(number);
        *points.entry(placed.customer().to_owned()).or_default() += placed.points();
        match found.get(placed.order()) {
            None => outcome.lost += 1,
            Some(1) => {}
            Some(_) => outcome.duplicated += 1,
        }
    }
    let other = connect(&rewards.parse()?).await?;
    let earned = counts(&other, "SELECT customer, points FROM rewards").await?;
    let wrong = points.iter().filter(|(customer, points)| earned.get(*customer) != Some(points));
    outcome.wrong_points = wrong.count() as u64 + earned.len().abs_diff(points.len()) as u64;
    Ok(outcome)
}

async fn counts(client: &Connection, sql: &str) -> Result<BTreeMap<String, i64>, BoxError> {
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

struct Told {
    orders: u64,
    sent: u64,
    killed: BTreeMap<String, u32>,
    took: Duration,
}

fn tell(setting: &Setting, outcome: &Outcome, told: &Told) -> Result<bool, BoxError> {
    let read = std::fs::read_to_string(setting.folder.join("read"))?;
    let (looked, missing) =
        (read.lines().count(), read.lines().filter(|line| *line != "seen").count());
    let killed: Vec<String> =
        told.killed.iter().map(|(part, times)| format!("{part} {times} times")).collect();
    report::table(
        "Listen to yourself",
        &[
            ("orders placed", report::grouped(told.orders)),
            ("events in the log", report::grouped(told.sent)),
            ("of these sent again", report::grouped(told.sent.saturating_sub(told.orders))),
            ("killed by SIGKILL", killed.join(", ")),
            ("own writes read", format!("{} of {looked}", looked - missing)),
            ("took", format!("{:.1} s", told.took.as_secs_f64())),
        ],
    );
    let Outcome { lost, duplicated, wrong_points } = outcome;
    report::line(format_args!(
        "\nlost={lost} duplicated={duplicated} wrong_points={wrong_points} unread={missing}"
    ));
    Ok(*outcome == Outcome::default() && missing == 0 && looked > 0)
}
