//! The saga, its topics, and what the three databases have in the beginning.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::BoxError;
use tidemill_connect::postgres::connect;
use tidemill_connect::saga::{Call, Saga, SagaError, SagaTopics, Undo};
use tidemill_examples::stage::Setting;

pub(crate) const REQUESTS: &str = "purchases";
pub(crate) const OUTCOMES: &str = "purchase-outcomes";
pub(crate) const TRANSITIONS: &str = "purchase-transitions";
const REPLIES: &str = "purchase-replies";
/// All of them; a service reads the topic that is called like it.
pub(crate) const TOPICS: [&str; 7] =
    [REQUESTS, REPLIES, OUTCOMES, TRANSITIONS, "orders", "points", "payments"];

/// The points that everybody has in the beginning.
pub(crate) const POINTS: i64 = 500;
/// What a card pays for at most, in cents.
pub(crate) const CARD_LIMIT: i64 = 100_000;
/// The money that everybody has in the beginning, in cents.
pub(crate) const MONEY: i64 = 200_000;
/// An item of which nothing is left: its orders can't be confirmed.
pub(crate) const SOLD_OUT: &str = "sold-out";

/// What a customer wants; the saga's data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Purchase {
    pub(crate) customer: String,
    pub(crate) item: String,
    pub(crate) points: i64,
    pub(crate) cents: i64,
}

/// Order, points, payment, confirmation. Each command is the whole purchase: every service knows
/// what to take from it.
pub(crate) fn saga() -> Result<Saga<Purchase>, SagaError> {
    let call = |service: &str| {
        Call::to(service, Purchase::clone)
            .timeout(Duration::from_secs(2))
            .attempts(2)
            .back_off(Duration::from_millis(200), Duration::from_secs(1))
    };
    let undo = || {
        Undo::with(Purchase::clone)
            .timeout(Duration::from_secs(2))
            .back_off(Duration::from_millis(200), Duration::from_secs(1))
            .forever()
    };
    Saga::define("purchase")
        .step("open-order", call("orders"))
        .compensate(undo())
        .step("reserve-points", call("points"))
        .compensate(undo())
        .step("charge", call("payments"))
        .compensate(undo())
        .pivot("confirm", call("orders").forever())
        .build()
}

pub(crate) fn topics() -> SagaTopics {
    SagaTopics::new(REQUESTS, REPLIES).outcomes(OUTCOMES).transitions(TRANSITIONS)
}

/// `PENDING` is the semantic lock: an order that is neither there nor not.
const ORDERS: &str = "CREATE TABLE purchase (
    id text PRIMARY KEY, customer text NOT NULL, item text NOT NULL,
    status text NOT NULL CHECK (status IN ('PENDING', 'CONFIRMED', 'REJECTED')))";
/// What a saga has taken from an account is apart from what is there.
const ACCOUNTS: &str = "
    CREATE TABLE account (customer text PRIMARY KEY, free bigint NOT NULL CHECK (free >= 0));
    CREATE TABLE taken (
        id text PRIMARY KEY, customer text NOT NULL REFERENCES account, amount bigint NOT NULL);";

/// Makes the tables of the three services, and gives four customers what they have.
pub(crate) fn open_accounts(setting: &Setting) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        connect(&setting.option("orders")?.parse()?).await?.batch_execute(ORDERS).await?;
        for (service, amount) in [("points", POINTS), ("payments", MONEY)] {
            let client = connect(&setting.option(service)?.parse()?).await?;
            client.batch_execute(ACCOUNTS).await?;
            for customer in ["ada", "ben", "cyd", "dan"] {
                client
                    .execute("INSERT INTO account VALUES ($1, $2)", &[&customer, &amount])
                    .await?;
            }
        }
        Ok(())
    })
}
