//! The bank: accounts, bills, and the service that pays one after the other through the outbox.

use serde::{Deserialize, Serialize};
use tidemill::BoxError;
use tidemill_connect::outbox::{Outbox, OutboxEvent};
use tidemill_examples::service::Database;
use tidemill_examples::stage::Setting;

/// What an account has in the beginning.
const OPENING_CENTS: i64 = 100_000_000;

/// What the payment service is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PaymentRequested {
    pub(crate) bill: i64,
    pub(crate) account: i64,
    pub(crate) cents: i64,
}

/// The outbox, and how its topics are named: events of aggregate type `bill` go to `bank.bill`.
pub(crate) fn outbox() -> Result<Outbox, BoxError> {
    Ok(Outbox::new("outbox")?.topic_by_aggregate_type("bank.{aggregatetype}")?)
}

/// Makes accounts with money, and bills to pay.
pub(crate) fn open_for_business(
    database: &mut Database,
    bills: u32,
    accounts: u32,
) -> Result<(), BoxError> {
    database.batch(&format!(
        "CREATE TABLE account (id bigint PRIMARY KEY, cents bigint NOT NULL);
         INSERT INTO account SELECT i, {OPENING_CENTS} FROM generate_series(0, {accounts} - 1) AS i;
         CREATE TABLE bill (
             id bigint PRIMARY KEY, account bigint NOT NULL REFERENCES account,
             cents bigint NOT NULL, withdrawn boolean NOT NULL DEFAULT false);
         INSERT INTO bill SELECT i, i % {accounts}, 100 + (i * 7919) % 10000
           FROM generate_series(1, {bills}) AS i;
         CREATE INDEX ON bill (id) WHERE NOT withdrawn"
    ))
}

/// Returns the next bill to pay, if there is one.
pub(crate) fn next_bill(database: &mut Database) -> Result<Option<PaymentRequested>, BoxError> {
    let next = "SELECT id, account, cents FROM bill WHERE NOT withdrawn ORDER BY id LIMIT 1";
    let rows = database.rows(next, &[])?;
    Ok(rows.first().map(|row| PaymentRequested {
        bill: row.get(0),
        account: row.get(1),
        cents: row.get(2),
    }))
}

/// Takes the money for a bill, in the caller's transaction.
pub(crate) async fn withdraw(
    transaction: &tokio_postgres::Transaction<'_>,
    payment: &PaymentRequested,
) -> Result<(), BoxError> {
    let PaymentRequested { bill, account, cents } = payment;
    transaction
        .execute("UPDATE account SET cents = cents - $2 WHERE id = $1", &[account, cents])
        .await?;
    transaction.execute("UPDATE bill SET withdrawn = true WHERE id = $1", &[bill]).await?;
    Ok(())
}

/// The service: withdraws and stages the event in one transaction, bill by bill.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    let mut database = Database::open(&setting.database)?;
    let outbox = outbox()?;
    loop {
        let Some(payment) = next_bill(&mut database)? else {
            std::thread::sleep(std::time::Duration::from_millis(20));
            continue;
        };
        database.run(async |client| {
            let mut transaction = outbox.begin(client).await?;
            withdraw(&transaction, &payment).await?;
            let event = OutboxEvent::json("bill", payment.bill, "PaymentRequested", &payment)?;
            transaction.stage(event)?;
            Ok(transaction.commit().await?)
        })?;
    }
}
