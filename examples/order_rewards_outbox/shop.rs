//! The order service: each order and the event that tells of it, in one transaction.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::BoxError;
use tidemill_connect::cdc::PublicationSetup;
use tidemill_connect::outbox::{Outbox, OutboxEvent};
use tidemill_examples::service::Database;
use tidemill_examples::stage::Setting;

use crate::Mode;

/// Order services that run side by side, each with numbers of its own.
pub(crate) const SHOPS: i64 = 2;

/// Has the outbox's new rows, where the relay reads the log.
pub(crate) const PUBLICATION: &str = "orders_outbox";

/// What the world is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderPlaced {
    pub(crate) order: i64,
    pub(crate) customer: String,
    pub(crate) cents: i64,
}

/// The outbox: events of aggregate type `order` go to `shop.order`.
pub(crate) fn outbox() -> Result<Outbox, BoxError> {
    Ok(Outbox::new("outbox")?.topic_by_aggregate_type("shop.{aggregatetype}")?)
}

/// Makes the table of orders, and what the relay needs.
pub(crate) fn prepare(database: &mut Database, mode: Mode) -> Result<(), BoxError> {
    database.batch(
        "CREATE TABLE orders (
             id bigint PRIMARY KEY, customer text NOT NULL, cents bigint NOT NULL)",
    )?;
    let outbox = outbox()?;
    database.run(async |client| Ok(outbox.ensure_schema(client).await?))?;
    if mode == Mode::Polling {
        return Ok(());
    }
    let publication = PublicationSetup::new(PUBLICATION, &["outbox"])?.inserts_only();
    database.run(async |client| Ok(publication.create(&**client).await?))
}

/// Whether the credit of the customer does not suffice, which is found out last.
pub(crate) fn is_refused(order: i64) -> bool {
    order % 10 == 7
}

/// The service: places order after order, from where it was when it was killed.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    let number = |name| -> Result<i64, BoxError> { Ok(setting.option(name)?.parse()?) };
    let (shop, orders, customers) = (number("shop")?, number("orders")?, number("customers")?);
    let mut database = Database::open(&setting.database)?;
    let outbox = outbox()?;
    let last = format!("SELECT coalesce(max(id), 0) FROM orders WHERE id % {SHOPS} = {shop}");
    let first = match database.number(&last)? {
        0 if shop == 0 => SHOPS,
        0 => shop,
        last => last + SHOPS,
    };
    let mut order = first;
    while order <= orders {
        let placed = OrderPlaced {
            order,
            customer: format!("customer-{}", order % customers),
            cents: 500 + order * 7919 % 20_000,
        };
        place(&mut database, &outbox, &placed)?;
        order += SHOPS;
    }
    loop {
        // all is sold; a service does not end by itself
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn place(database: &mut Database, outbox: &Outbox, placed: &OrderPlaced) -> Result<(), BoxError> {
    database.run(async |client| {
        let OrderPlaced { order, customer, cents } = placed;
        let mut transaction = outbox.begin(client).await?;
        transaction
            .execute(
                "INSERT INTO orders (id, customer, cents) VALUES ($1, $2, $3)",
                &[order, customer, cents],
            )
            .await?;
        transaction.stage(OutboxEvent::json("order", order, "OrderPlaced", placed)?)?;
        if is_refused(*order) {
            return Ok(transaction.rollback().await?);
        }
        Ok(transaction.commit().await?)
    })
}
