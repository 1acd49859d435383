//! The parts: a client that asks again until it is answered, and two services that apply the same
//! events, each to a table of its own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::BoxError;
use tidemill_connect::listen::{EmitError, Emitter, Event, Receipt, SelfRead};
use tidemill_connect::postgres::connect;
use tidemill_connect::sink::postgres::AppliedPositions;
use tidemill_examples::stage::Setting;
use uuid::Uuid;

pub(crate) const CLIENT: &str = "client";
pub(crate) const ORDERS: &str = "orders";
pub(crate) const REWARDS: &str = "rewards";
pub(crate) const TOPIC: &str = "orders";
/// Every so many orders, the client sends one a second time although it was answered.
const IMPATIENT: u64 = 7;
/// Every so many orders, the client looks whether it sees its own order.
const LOOKS: u64 = 5;
/// Longer than a killed service needs to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened: a fact, which both services apply.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OrderPlaced {
    event_id: Uuid,
    order: String,
    customer: String,
    cents: i64,
}

impl OrderPlaced {
    /// The client chooses the id, and it is the same whenever it asks again.
    pub(crate) fn number(number: u64) -> Self {
        let order = format!("order-{number}");
        Self {
            event_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, order.as_bytes()),
            order,
            customer: format!("customer-{}", number % 97),
            cents: i64::try_from(number * 37 % 10_000).unwrap_or_default() + 1,
        }
    }

    pub(crate) fn order(&self) -> &str {
        &self.order
    }

    pub(crate) fn customer(&self) -> &str {
        &self.customer
    }

    /// One point for each cent.
    pub(crate) fn points(&self) -> i64 {
        self.cents
    }
}

impl Event for OrderPlaced {
    const TYPE: &'static str = "OrderPlaced";

    fn event_id(&self) -> Uuid {
        self.event_id
    }

    /// One order, one partition: whoever emits it.
    fn key(&self) -> String {
        self.order.clone()
    }
}

fn block_on<T>(body: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(body)
}

/// The order service: its own table, from its own events.
pub(crate) fn orders(setting: &Setting) -> Result<(), BoxError> {
    let consumer =
        SelfRead::<OrderPlaced>::new(&member(setting), &setting.database.parse()?, ORDERS, TOPIC);
    block_on(async {
        let sink = consumer.apply(|tx, placed| {
            Box::pin(async move {
                tx.execute(
                    "INSERT INTO orders (id, customer, cents) VALUES ($1, $2, $3)",
                    &[&placed.order, &placed.customer, &placed.cents],
                )
                .await?;
                Ok(())
            })
        });
        Ok(sink.run().await?)
    })
}

/// The rewards service: adds points, which is not idempotent and need not be.
pub(crate) fn rewards(setting: &Setting) -> Result<(), BoxError> {
    let database = setting.option("rewards")?.parse()?;
    let consumer = SelfRead::<OrderPlaced>::new(&member(setting), &database, REWARDS, TOPIC);
    block_on(async {
        let sink = consumer.apply(|tx, placed| {
            Box::pin(async move {
                tx.execute(
                    "INSERT INTO rewards AS r (customer, points) VALUES ($1, $2)
                     ON CONFLICT (customer) DO UPDATE SET points = r.points + excluded.points",
                    &[&placed.customer, &placed.points()],
                )
                .await?;
                Ok(())
            })
        });
        Ok(sink.run().await?)
    })
}

/// A static member that comes back does not wait until its old self timed out.
fn member(setting: &Setting) -> tidemill::client::ClientConfig {
    let mut kafka = setting.clients();
    kafka.set("group.instance.id", "1");
    kafka
}

/// The client: places orders, remembers which were answered, and asks again for the others.
pub(crate) fn client(setting: &Setting) -> Result<(), BoxError> {
    let answered = setting.folder.join("answered");
    let known = std::fs::read_to_string(&answered).unwrap_or_default();
    let known: Vec<u64> = known.lines().filter_map(|line| line.parse().ok()).collect();
    let orders: u64 = setting.option("orders")?.parse()?;
    let database = setting.database.parse()?;
    let mut answers = OpenOptions::new().create(true).append(true).open(&answered)?;
    let mut read =
        OpenOptions::new().create(true).append(true).open(setting.folder.join("read"))?;
    block_on(async {
        let emitter = Emitter::new(&setting.clients(), TOPIC)?;
        let positions = AppliedPositions::new(&database, "sink_offset", ORDERS)?;
        for number in (0..orders).filter(|number| !known.contains(number)) {
            let placed = OrderPlaced::number(number);
            let receipt = emit(&emitter, &placed).await?;
            if number % IMPATIENT == 0 {
                emit(&emitter, &placed).await?;
            }
            if number % LOOKS == 0 {
                // only who wants to see his own write waits for it
                positions.applied_up_to(&receipt.partition, receipt.offset, PATIENCE).await?;
                let service = connect(&database).await?;
                let sql = "SELECT cents FROM orders WHERE id = $1";
                let found = service.query_opt(sql, &[&placed.order]).await?;
                note(&mut read, if found.is_some() { "seen" } else { "missing" })?;
            }
            note(&mut answers, &number.to_string())?;
        }
        Ok(())
    })
}

/// Writes a line at once, so that no kill leaves half of it.
fn note(file: &mut File, line: &str) -> Result<(), BoxError> {
    Ok(file.write_all(format!("{line}\n").as_bytes())?)
}

/// Asks until there is an answer, with the same event each time.
async fn emit(emitter: &Emitter<OrderPlaced>, placed: &OrderPlaced) -> Result<Receipt, BoxError> {
    loop {
        match emitter.emit(placed).await {
            Ok(receipt) => return Ok(receipt),
            Err(error @ (EmitError::Unknown { .. } | EmitError::NotSent { .. })) => {
                tracing::warn!(%error, "the order is placed again");
            }
            Err(error) => return Err(error.into()),
        }
    }
}
