//! A shop whose services have a PostgreSQL each (here: tables of one): an order is opened, points
//! are reserved, money is taken, and the order is confirmed.

use std::time::Duration;

use tidemill::BoxError;
use tidemill_connect::postgres::connect;
use tidemill_connect::saga::{Answer, Call, Command, Direction, Saga, SagaTopics, Undo};
use tokio_postgres::{Config, Transaction};

use crate::order::{Amount, Order};

/// What everybody has in the beginning, of points and of cents.
pub(crate) const INITIAL: i64 = 100;
pub(crate) const CUSTOMERS: usize = 5;

/// The services, each with a topic of its own.
pub(crate) const SERVICES: [&str; 3] = ["shop", "points", "payments"];

const SCHEMA: &str = "
    CREATE TABLE account (
        service text, whose text, free bigint NOT NULL CHECK (free >= 0),
        PRIMARY KEY (service, whose));
    CREATE TABLE holding (
        service text, saga_id text, whose text NOT NULL, amount bigint NOT NULL,
        PRIMARY KEY (service, saga_id));
    CREATE TABLE shop_order (saga_id text PRIMARY KEY, status text NOT NULL);";

/// Makes the tables, and gives everybody what they have in the beginning.
pub(crate) async fn prepare(database: &Config) -> Result<(), BoxError> {
    let client = connect(database).await?;
    client.batch_execute(SCHEMA).await?;
    for service in &SERVICES[1..] {
        for number in 0..CUSTOMERS {
            let sql = "INSERT INTO account VALUES ($1, $2, $3)";
            client.execute(sql, &[service, &format!("customer-{number}"), &INITIAL]).await?;
        }
    }
    Ok(())
}

pub(crate) fn topics(prefix: &str) -> SagaTopics {
    SagaTopics::new(format!("{prefix}-requests"), format!("{prefix}-replies"))
        .outcomes(format!("{prefix}-outcomes"))
        .transitions(format!("{prefix}-transitions"))
}

pub(crate) fn saga(prefix: &str, timeout: Duration, attempts: u32) -> Saga<Order> {
    let amount = |amount: fn(&Order) -> i64, step: &'static str| {
        move |order: &Order| Amount {
            whose: order.customer.clone(),
            amount: amount(order),
            refuse: order.refuse.as_deref() == Some(step),
        }
    };
    let call = |service: &str, of: fn(&Order) -> i64, step: &'static str| {
        Call::to(&format!("{prefix}-{service}"), amount(of, step))
            .timeout(timeout)
            .attempts(attempts)
            .back_off(timeout / 10, timeout)
    };
    let undo = |of: fn(&Order) -> i64| {
        Undo::with(amount(of, "never")).timeout(timeout).back_off(timeout / 10, timeout).forever()
    };
    Saga::define("checkout")
        .step("open", call("shop", |_| 0, "open"))
        .compensate(undo(|_| 0))
        .step("reserve", call("points", |order| order.quantity, "reserve"))
        .compensate(undo(|order| order.quantity))
        .step("charge", call("payments", |order| order.cents, "charge"))
        .compensate(undo(|order| order.cents))
        .pivot("confirm", call("shop", |_| 0, "confirm").forever())
        .build()
        .unwrap()
}

/// What all services do: each step once, and each once back, or it is an error.
pub(crate) async fn effect(tx: &Transaction<'_>, command: &Command) -> Result<Answer, BoxError> {
    let Amount { whose, amount, refuse } = command.payload()?;
    let id = &command.saga_id;
    if refuse {
        return Ok(Answer::refused("as the test wants it"));
    }
    let one = |rows: u64, what: &str| match rows {
        1 => Ok(Answer::done()),
        rows => Err(BoxError::from(format!("{what} of {id}: {rows} rows"))),
    };
    match (&*command.step, command.direction) {
        ("open", Direction::Forward) => {
            let sql = "INSERT INTO shop_order VALUES ($1, 'PENDING')";
            one(tx.execute(sql, &[id]).await?, "open")
        }
        ("open", Direction::Compensation) => set_status(tx, id, "REJECTED").await,
        ("confirm", Direction::Forward) => set_status(tx, id, "CONFIRMED").await,
        (step, direction) => {
            let service = if step == "reserve" { "points" } else { "payments" };
            if direction == Direction::Forward {
                return take(tx, service, id, (&whose, amount)).await;
            }
            let sql = "DELETE FROM holding WHERE service = $1 AND saga_id = $2 RETURNING amount";
            let amount: i64 = tx.query_one(sql, &[&service, id]).await?.get(0);
            let sql = "UPDATE account SET free = free + $3 WHERE service = $1 AND whose = $2";
            one(tx.execute(sql, &[&service, &whose, &amount]).await?, "give back")
        }
    }
}

async fn set_status(tx: &Transaction<'_>, id: &str, to: &str) -> Result<Answer, BoxError> {
    let sql = "UPDATE shop_order SET status = $2 WHERE saga_id = $1 AND status = 'PENDING'";
    match tx.execute(sql, &[&id, &to]).await? {
        1 => Ok(Answer::done()),
        rows => Err(format!("{to} of {id}: {rows} rows are pending").into()),
    }
}

async fn take(
    tx: &Transaction<'_>,
    service: &str,
    id: &str,
    (whose, amount): (&str, i64),
) -> Result<Answer, BoxError> {
    // written first, so that a refusal has something to leave behind
    let sql = "INSERT INTO holding VALUES ($1, $2, $3, $4)";
    tx.execute(sql, &[&service, &id, &whose, &amount]).await?;
    let sql = "UPDATE account SET free = free - $3
               WHERE service = $1 AND whose = $2 AND free >= $3";
    match tx.execute(sql, &[&service, &whose, &amount]).await? {
        0 => Ok(Answer::refused(format!("{whose} has not enough {service}"))),
        _ => Ok(Answer::done()),
    }
}
