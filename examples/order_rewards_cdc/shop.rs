//! The order service: it changes its table, and that is all it does.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::BoxError;
use tidemill_connect::cdc::PublicationSetup;
use tidemill_examples::service::Database;
use tidemill_examples::stage::Setting;

use crate::capture::PUBLICATION;

/// A row of the order table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) customer: String,
    pub(crate) cents: i64,
}

/// Makes the table with what was ordered already, and publishes it. `work` keeps how many changes
/// were made, so that a killed service goes on where it was; it is not published.
pub(crate) fn prepare(
    database: &mut Database,
    before: u32,
    customers: u32,
) -> Result<(), BoxError> {
    database.batch(&format!(
        "CREATE TABLE orders (
             id bigint PRIMARY KEY, customer text NOT NULL, cents bigint NOT NULL);
         ALTER TABLE orders REPLICA IDENTITY FULL;
         CREATE TABLE work (changes bigint NOT NULL);
         INSERT INTO work VALUES (0);
         INSERT INTO orders
         SELECT i, 'customer-' || i % {customers}, 500 + i * 7919 % 20000
           FROM generate_series(1, {before}) AS i"
    ))?;
    let publication = PublicationSetup::new(PUBLICATION, &["orders"])?;
    database.run(async |client| Ok(publication.create(&**client).await?))
}

/// The service: makes change after change, from where it was when it was killed.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    let number = |name| -> Result<i64, BoxError> { Ok(setting.option(name)?.parse()?) };
    let (before, changes, customers) =
        (number("before")?, number("changes")?, number("customers")?);
    let mut database = Database::open(&setting.database)?;
    let mut done = database.number("SELECT changes FROM work")?;
    while done < changes {
        done += 1;
        let (statement, order) = change(done, before);
        let customer = format!("customer-{}", (order + done) % customers);
        let cents = 500 + (order + done) * 7919 % 20_000;
        database.run(async |client| {
            let transaction = client.transaction().await?;
            let statement = transaction
                .prepare(&format!(
                    "WITH new AS (SELECT $1::bigint AS id,
                     $2::text AS customer, $3::bigint AS cents) {statement}"
                ))
                .await?;
            transaction.execute(&statement, &[&order, &customer, &cents]).await?;
            transaction.execute("UPDATE work SET changes = $1", &[&done]).await?;
            Ok(transaction.commit().await?)
        })?;
    }
    loop {
        // the day is over; a service does not end by itself
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The change of that number, and which order it is about: old ones too.
fn change(number: i64, before: i64) -> (&'static str, i64) {
    let some = 1 + number * 6_151 % (before + number);
    match number % 5 {
        0..=1 => ("INSERT INTO orders SELECT * FROM new", before + number),
        2 => ("UPDATE orders SET cents = new.cents FROM new WHERE orders.id = new.id", some),
        3 => ("UPDATE orders SET customer = new.customer FROM new WHERE orders.id = new.id", some),
        _ => ("DELETE FROM orders USING new WHERE orders.id = new.id", some),
    }
}
