//! The payment service: pays what it is told, into a database of its own, each bill once. It adds a
//! row and knows nothing of duplicates: that each record has its effect once is the sink's work.

use tidemill::BoxError;
use tidemill_connect::sink::PostgresSink;
use tidemill_examples::service::Database;
use tidemill_examples::stage::Setting;

use crate::bank::PaymentRequested;

/// Makes the table of payments. Nothing in it keeps a bill from being paid twice.
pub(crate) fn prepare(database: &mut Database) -> Result<(), BoxError> {
    database.batch(
        "CREATE TABLE payment (
             bill bigint NOT NULL, account bigint NOT NULL, cents bigint NOT NULL,
             paid_at timestamptz NOT NULL DEFAULT now())",
    )
}

/// The service, until it is killed.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    let mut clients = setting.clients();
    // a restarted service takes its partitions over at once
    clients.set("group.instance.id", "payments-1").set("session.timeout.ms", "10000");
    let sink = PostgresSink::new(&clients, &setting.option("payments")?.parse()?, "payments")
        .topics(["bank.bill"])
        .with(|transaction, records| {
            Box::pin(async move {
                for record in records {
                    let payment: PaymentRequested = record.json()?;
                    transaction
                        .execute(
                            "INSERT INTO payment (bill, account, cents) VALUES ($1, $2, $3)",
                            &[&payment.bill, &payment.account, &payment.cents],
                        )
                        .await?;
                }
                Ok(())
            })
        });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(sink.run())?)
}
