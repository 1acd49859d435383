//! The program: services, kills, and the comparison of points with orders.

use std::collections::BTreeMap;

use tidemill::BoxError;
use tidemill::client::Isolation;
use tidemill::record::RawRecord;
use tidemill_connect::outbox::tailing::LogTailingOutbox;
use tidemill_connect::outbox::{MessageRelay, OutboxSource, PollingOutbox};
use tidemill_connect::source::Stop;
use tidemill_examples::cluster::Cluster;
use tidemill_examples::report::{self, grouped};
use tidemill_examples::rewards::{Difference, Rewards, Standings, published};
use tidemill_examples::service::{Database, Kills, wait_until};
use tidemill_examples::stage::{Setting, Stage};

use crate::rewards::REWARDS;
use crate::shop::{self, OrderPlaced, PUBLICATION, SHOPS};
use crate::{Arguments, Mode};

const PARTITIONS: u32 = 4;

/// What the services are told that is read from the log.
const WAL: &str = "wal";

/// The relay, until it is killed.
pub(crate) fn relay(setting: &Setting) -> Result<(), BoxError> {
    let (database, outbox) = (setting.database.parse()?, shop::outbox()?);
    if setting.option("mode")? != WAL {
        return publish(setting, PollingOutbox::new(database, outbox));
    }
    let source = LogTailingOutbox::new(database, outbox, "orders_relay", PUBLICATION)?
        // orders may have been placed before the slot was made
        .publish_existing()
        // the server may not have noticed yet that the last relay was killed
        .take_over(true);
    publish(setting, source)
}

fn publish(setting: &Setting, source: impl OutboxSource) -> Result<(), BoxError> {
    let relay = MessageRelay::builder("orders")
        .source(source)
        .kafka(setting.clients())
        .positions_topic("orders-relay-positions")
        .build()?;
    Ok(relay.run_until(&Stop::new())?)
}

/// Runs it all, and returns whether every order has its points once.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    let stage = Stage::set()?;
    let cluster = stage.cluster()?;
    cluster.create_topics(&["shop.order", REWARDS], PARTITIONS)?;
    let setting = stage
        .setting()
        .clone()
        .with("orders", arguments.orders)
        .with("customers", arguments.customers)
        .with("mode", if arguments.mode == Mode::Wal { WAL } else { "polling" });
    let mut database = Database::open(&setting.database)?;
    shop::prepare(&mut database, arguments.mode)?;
    let mut parts =
        vec![stage.part("relay", "relay", &setting)?, stage.part("rewards", "rewards", &setting)?];
    for shop in 0..SHOPS {
        let setting = setting.clone().with("shop", shop);
        parts.push(stage.part("shop", &format!("shop-{shop}"), &setting)?);
    }
    let placed =
        (1..=i64::from(arguments.orders)).filter(|order| !shop::is_refused(*order)).count();
    let mut kills = Kills::plan(arguments.kills, arguments.seed);
    kills.until_done(&mut parts, placed as u64, || {
        Ok(u64::try_from(database.number("SELECT count(*) FROM orders")?)?)
    })?;
    let right = standings(&mut database)?;
    let count = |standings: &Standings| standings.values().map(|one| one.orders).sum::<i64>();
    wait_until("the points", &mut parts, || {
        Ok(count(&published(&cluster, REWARDS)?) >= count(&right))
    })?;
    wait_until("an empty outbox", &mut parts, || {
        Ok(database.number("SELECT count(*) FROM outbox")? == 0)
    })?;
    drop(parts);

    let found = published(&cluster, REWARDS)?;
    let points = Difference::between(&right, &found);
    let events = events(&cluster, &mut database)?;
    let left = database.number("SELECT count(*) FROM outbox")?;
    report::table(
        &format!("{} orders, {} services killed", grouped(placed as u64), kills.done()),
        &[
            ("events against orders", format!("lost={} duplicated={}", events.0, events.1)),
            ("points against orders", points.to_string()),
            ("customers", found.len().to_string()),
            ("rows left in the outbox", left.to_string()),
        ],
    );
    let is_right = points.is_none() && events == (0, 0) && left == 0;
    let verdict = if is_right { "every order has its points once" } else { "WRONG" };
    report::line(format_args!("\nVERDICT: {verdict}: {points}"));
    Ok(is_right)
}

/// What the orders are worth, by the database.
fn standings(database: &mut Database) -> Result<Standings, BoxError> {
    let query = "SELECT customer, sum(cents / 100)::bigint, count(*) FROM orders GROUP BY customer";
    let rows = database.rows(query, &[])?;
    let of = |row: &tokio_postgres::Row| {
        (row.get(0), Rewards { points: row.get(1), orders: row.get(2) })
    };
    Ok(rows.iter().map(of).collect())
}

/// Orders without an event, and events without an order or too many.
fn events(cluster: &Cluster, database: &mut Database) -> Result<(u64, u64), BoxError> {
    let mut told: BTreeMap<i64, u64> = BTreeMap::new();
    cluster.read_all("shop.order", Isolation::ReadCommitted, |_, record| {
        let placed: OrderPlaced = serde_json::from_slice(record.value().unwrap_or_default())?;
        *told.entry(placed.order).or_default() += 1;
        Ok(())
    })?;
    let (mut lost, all) = (0, told.values().sum::<u64>());
    let orders = database.rows("SELECT id FROM orders", &[])?;
    for row in &orders {
        lost += u64::from(!told.contains_key(&row.get::<_, i64>(0)));
    }
    Ok((lost, all - (orders.len() as u64 - lost)))
}
