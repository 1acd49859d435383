//! The program: services, kills, and the comparison of points with orders.

use tidemill::BoxError;
use tidemill_examples::report::{self, grouped};
use tidemill_examples::rewards::{Difference, Rewards, Standings, published};
use tidemill_examples::service::{Database, Kills, wait_until};
use tidemill_examples::stage::Stage;

use crate::Arguments;
use crate::capture::CHANGES;
use crate::rewards::REWARDS;
use crate::shop;

const PARTITIONS: u32 = 4;

/// Runs it all, and returns whether every customer has the points of his orders.
pub(crate) fn run(arguments: &Arguments) -> Result<bool, BoxError> {
    let stage = Stage::set()?;
    let cluster = stage.cluster()?;
    cluster.create_topics(&[CHANGES, REWARDS], PARTITIONS)?;
    let setting = stage
        .setting()
        .clone()
        .with("before", arguments.before)
        .with("changes", arguments.changes)
        .with("customers", arguments.customers);
    let mut database = Database::open(&setting.database)?;
    shop::prepare(&mut database, arguments.before, arguments.customers)?;
    let part = |name| stage.part(name, name, &setting);
    let mut parts = [part("capture")?, part("rewards")?, part("shop")?];
    let mut kills = Kills::plan(arguments.kills, arguments.seed);
    let changes = u64::from(arguments.changes);
    kills.until_done(&mut parts, changes, || {
        Ok(u64::try_from(database.number("SELECT changes FROM work")?)?)
    })?;
    let right = standings(&mut database)?;
    wait_until("the points", &mut parts, || Ok(published(&cluster, REWARDS)? == right))?;
    drop(parts);

    let found = published(&cluster, REWARDS)?;
    let points = Difference::between(&right, &found);
    let orders = database.number("SELECT count(*) FROM orders")?;
    report::table(
        &format!("{} changes, {} services killed", grouped(changes), kills.done()),
        &[
            ("orders before", grouped(arguments.before.into())),
            ("orders now", orders.to_string()),
            ("customers", found.len().to_string()),
            ("points against orders", points.to_string()),
        ],
    );
    let verdict =
        if points.is_none() { "every customer has the points of the orders" } else { "WRONG" };
    report::line(format_args!("\nVERDICT: {verdict}: {points}"));
    Ok(points.is_none())
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
