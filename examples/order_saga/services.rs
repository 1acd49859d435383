//! The four processes: the orchestrator, and a service for orders, points and payments.

use std::time::Duration;

use tidemill::dsl::StreamsBuilder;
use tidemill::{BoxError, Config, Tidemill};
use tidemill_connect::postgres::TableName;
use tidemill_connect::saga::participant::{ParticipantService, PgParticipant, ServiceOptions};
use tidemill_connect::saga::{Answer, Command, Direction, OrchestrateSagas};
use tidemill_examples::stage::{Body, Setting};
use tokio_postgres::Transaction;

use crate::shop::{CARD_LIMIT, Purchase, SOLD_OUT, saga, topics};

pub(crate) const SERVICES: [&str; 3] = ["orders", "points", "payments"];
pub(crate) const PARTS: &[(&str, Body)] = &[
    ("orchestrator", orchestrate),
    ("orders", |setting| serve(setting, "orders", orders)),
    ("points", |setting| serve(setting, "points", points)),
    ("payments", |setting| serve(setting, "payments", payments)),
];

/// A topology with the saga in it, and nothing else.
fn orchestrate(setting: &Setting) -> Result<(), BoxError> {
    let builder = StreamsBuilder::new();
    let _ = builder.saga(&saga()?, &topics());
    let config = Config::new("purchases", &*setting.kafka)
        .with_state_dir(setting.folder.join("orchestrator"))
        .with_commit_interval(Duration::from_millis(20));
    let mut application = Tidemill::new(builder.build()?, config)?;
    application.start()?;
    while !application.state().is_final() {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    application.take_error().map_or(Ok(()), |error| Err(error.into()))
}

/// A service: commands of its topic, in transactions of its database.
fn serve<E>(setting: &Setting, name: &'static str, effect: E) -> Result<(), BoxError>
where
    E: AsyncFn(&Transaction<'_>, &Command) -> Result<Answer, BoxError> + Send + 'static,
{
    let database = setting.option(name)?.parse()?;
    // under a name of its own it has its partitions at once when it comes back
    let options = ServiceOptions::new(setting.clients(), database, name, name).instance(name);
    let participant = PgParticipant::new(TableName::new("saga_commands")?)?;
    let service = ParticipantService::start(options, participant, effect)?;
    while service.is_running() {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    Ok(service.stop()?)
}

/// An order is pending until the saga has decided.
async fn orders(tx: &Transaction<'_>, command: &Command) -> Result<Answer, BoxError> {
    let purchase: Purchase = command.payload()?;
    let (id, Purchase { customer, item, .. }) = (&command.saga_id, &purchase);
    if command.step == "open-order" && command.direction == Direction::Forward {
        if customer == "nobody" {
            return Ok(Answer::refused("no such customer"));
        }
        let sql = "INSERT INTO purchase VALUES ($1, $2, $3, 'PENDING')";
        tx.execute(sql, &[id, customer, item]).await?;
        return Ok(Answer::done());
    }
    if command.step == "confirm" && item == SOLD_OUT {
        return Ok(Answer::refused("nothing is left"));
    }
    let status = if command.step == "confirm" { "CONFIRMED" } else { "REJECTED" };
    let sql = "UPDATE purchase SET status = $2 WHERE id = $1 AND status = 'PENDING'";
    match tx.execute(sql, &[id, &status]).await? {
        1 => Ok(Answer::done()),
        _ => Err(format!("order {id} is not pending").into()),
    }
}

async fn points(tx: &Transaction<'_>, command: &Command) -> Result<Answer, BoxError> {
    let purchase: Purchase = command.payload()?;
    take_or_give_back(tx, command, &purchase.customer, purchase.points).await
}

async fn payments(tx: &Transaction<'_>, command: &Command) -> Result<Answer, BoxError> {
    let purchase: Purchase = command.payload()?;
    if purchase.cents > CARD_LIMIT && command.direction == Direction::Forward {
        return Ok(Answer::refused("above the card's limit"));
    }
    take_or_give_back(tx, command, &purchase.customer, purchase.cents).await
}

/// Takes from an account, or gives back. To do either twice would violate a key or find no row.
async fn take_or_give_back(
    tx: &Transaction<'_>,
    command: &Command,
    customer: &str,
    amount: i64,
) -> Result<Answer, BoxError> {
    let id = &command.saga_id;
    match command.direction {
        Direction::Forward => {
            let sql = "UPDATE account SET free = free - $2 WHERE customer = $1 AND free >= $2";
            if tx.execute(sql, &[&customer, &amount]).await? == 0 {
                return Ok(Answer::refused("not enough"));
            }
            tx.execute("INSERT INTO taken VALUES ($1, $2, $3)", &[id, &customer, &amount]).await?;
        }
        Direction::Compensation => {
            let sql = "DELETE FROM taken WHERE id = $1 RETURNING amount";
            let taken: i64 = tx.query_one(sql, &[id]).await?.get(0);
            let sql = "UPDATE account SET free = free + $2 WHERE customer = $1";
            tx.execute(sql, &[&customer, &taken]).await?;
        }
    }
    Ok(Answer::done())
}
