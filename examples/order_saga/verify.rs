//! What the topics and the three databases say in the end, and whether it fits together.

use std::collections::{BTreeMap, BTreeSet};

use tidemill::BoxError;
use tidemill::client::Isolation;
use tidemill::record::RawRecord;
use tidemill_connect::postgres::connect;
use tidemill_connect::saga::{Outcome, Status, Transition};
use tidemill_examples::report;
use tidemill_examples::stage::{Setting, Stage};

use crate::shop::{MONEY, OUTCOMES, POINTS, Purchase, TRANSITIONS};

/// How sagas ended, as a read_committed reader sees it.
pub(crate) struct Ends {
    pub(crate) outcomes: BTreeMap<String, Vec<Status>>,
    /// Of each saga, the numbers of its transitions in the order of the log.
    pub(crate) transitions: BTreeMap<String, Vec<u64>>,
}

impl Ends {
    pub(crate) fn read(stage: &Stage) -> Result<Self, BoxError> {
        let cluster = stage.cluster()?;
        let (mut outcomes, mut numbers) = (BTreeMap::new(), BTreeMap::new());
        cluster.read_all(OUTCOMES, Isolation::ReadCommitted, |_, record| {
            let value = record.value().unwrap_or_default();
            let outcome: Outcome<Purchase> = serde_json::from_slice(value)?;
            let ends: &mut Vec<Status> = outcomes.entry(outcome.saga_id).or_default();
            ends.push(outcome.status);
            Ok(())
        })?;
        cluster.read_all(TRANSITIONS, Isolation::ReadCommitted, |_, record| {
            let transition: Transition =
                serde_json::from_slice(record.value().unwrap_or_default())?;
            let of: &mut Vec<u64> = numbers.entry(transition.saga_id).or_default();
            of.push(transition.number);
            Ok(())
        })?;
        Ok(Self { outcomes, transitions: numbers })
    }
}

/// Whether a saga undoes what it did.
pub(crate) fn turned_back(stage: &Stage, id: &str) -> Result<bool, BoxError> {
    let mut found = false;
    stage.cluster()?.read_all(TRANSITIONS, Isolation::ReadCommitted, |_, record| {
        let transition: Transition = serde_json::from_slice(record.value().unwrap_or_default())?;
        found |= transition.saga_id == id && transition.status == Status::Compensating;
        Ok(())
    })?;
    Ok(found)
}

/// The three databases.
pub(crate) struct Books {
    /// Status by order.
    pub(crate) orders: BTreeMap<String, String>,
    /// What each order has taken.
    pub(crate) points: BTreeMap<String, i64>,
    pub(crate) payments: BTreeMap<String, i64>,
    /// Customers whose account and what was taken of it are not what they had.
    unbalanced: Vec<String>,
}

impl Books {
    pub(crate) fn of(setting: &Setting) -> Result<Self, BoxError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = connect(&setting.option("orders")?.parse()?).await?;
            let rows = client.query("SELECT id, status FROM purchase", &[]).await?;
            let orders = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            let mut unbalanced = Vec::new();
            let points = account(setting, ("points", POINTS), &mut unbalanced).await?;
            let payments = account(setting, ("payments", MONEY), &mut unbalanced).await?;
            Ok(Self { orders, points, payments, unbalanced })
        })
    }
}

async fn account(
    setting: &Setting,
    (service, initial): (&str, i64),
    unbalanced: &mut Vec<String>,
) -> Result<BTreeMap<String, i64>, BoxError> {
    let client = connect(&setting.option(service)?.parse()?).await?;
    let sql = "SELECT customer FROM account LEFT JOIN (
                   SELECT customer, sum(amount) AS sum FROM taken GROUP BY customer
               ) AS taken USING (customer) WHERE free + coalesce(sum, 0) <> $1::bigint";
    let wrong = client.query(sql, &[&initial]).await?;
    unbalanced.extend(wrong.iter().map(|row| format!("{service} of {}", row.get::<_, &str>(0))));
    let rows = client.query("SELECT id, amount FROM taken", &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Compares all of it, tells, and returns whether it is right.
pub(crate) fn verdict(ends: &Ends, books: &Books, placed: usize) -> Result<bool, BoxError> {
    let of = |status: Status| -> BTreeSet<&String> {
        let has = |(_, ends): &(&String, &Vec<Status>)| ends.first() == Some(&status);
        ends.outcomes.iter().filter(has).map(|(id, _)| id).collect()
    };
    let completed = of(Status::Completed);
    let confirmed: BTreeSet<&String> = books
        .orders
        .iter()
        .filter(|(_, status)| *status == "CONFIRMED")
        .map(|(id, _)| id)
        .collect();
    let (mut lost, mut duplicated) = (placed.saturating_sub(ends.outcomes.len()), 0);
    let mut problems: Vec<String> = books.unbalanced.clone();
    let pending = books.orders.iter().filter(|(_, status)| *status == "PENDING");
    problems.extend(pending.map(|(id, _)| format!("order {id} is still pending")));
    for (what, have) in [
        ("the order", confirmed),
        ("points", books.points.keys().collect()),
        ("the payment", books.payments.keys().collect()),
    ] {
        lost += completed.difference(&have).count();
        duplicated += have.difference(&completed).count();
        problems.extend(completed.difference(&have).map(|id| format!("{id} lacks {what}")));
        problems.extend(have.difference(&completed).map(|id| format!("{id} has {what}")));
    }
    duplicated += ends.outcomes.values().map(|ends| ends.len() - 1).sum::<usize>();
    for (id, numbers) in &ends.transitions {
        let expected: Vec<u64> = (1..).take(numbers.len()).collect();
        if *numbers != expected {
            problems.push(format!("the transitions of {id} are {numbers:?}"));
        }
    }
    let stuck = of(Status::Stuck).len();
    report::table(
        "sagas",
        &[
            ("requested", placed.to_string()),
            ("completed", completed.len().to_string()),
            ("compensated", of(Status::Compensated).len().to_string()),
            ("stuck", stuck.to_string()),
        ],
    );
    report::problems(&problems);
    report::line(format_args!("\nVERDICT: lost={lost} duplicated={duplicated}"));
    Ok(problems.is_empty() && lost == 0 && duplicated == 0 && stuck == 0)
}
