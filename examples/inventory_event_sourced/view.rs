//! The table of stock levels: the events of the topic added up, each once.

use std::collections::BTreeMap;

use tidemill::BoxError;
use tidemill_connect::event_sourcing::{EventEnvelope, Stream, Upcasters};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::sink::{PostgresSink, SinkRecord};
use tidemill_examples::stage::Setting;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::Transaction;

use crate::stock::{EVENTS, Stock, StockEvent};

/// Additions: an event that is applied twice, or not at all, shows.
const ADD: &str = "
    INSERT INTO stock_level AS old (item, version, free, reserved, shipped)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (item) DO UPDATE SET version = excluded.version, free = old.free + excluded.free,
        reserved = old.reserved + excluded.reserved, shipped = old.shipped + excluded.shipped
    WHERE old.version = excluded.version - 1";

/// One row: version, free, reserved, shipped.
pub(crate) type Level = (i64, i64, i64, i64);

/// What the table should say of a stream.
pub(crate) fn level(stream: &Stream<Stock>) -> Level {
    let Stock { free, reserved, shipped } = &stream.state;
    (stream.version.0, *free, reserved.values().sum(), *shipped)
}

/// A runtime for one connection.
pub(crate) fn runtime() -> Result<Runtime, BoxError> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// Makes the table.
pub(crate) async fn prepare(client: &Connection) -> Result<(), BoxError> {
    let sql = "CREATE TABLE stock_level (item text PRIMARY KEY, version bigint NOT NULL,
                   free bigint NOT NULL, reserved bigint NOT NULL, shipped bigint NOT NULL)";
    Ok(client.batch_execute(sql).await?)
}

/// Reads the table.
pub(crate) async fn levels(client: &Connection) -> Result<BTreeMap<String, Level>, BoxError> {
    let sql = "SELECT item, version, free, reserved, shipped FROM stock_level";
    let rows = client.query(sql, &[]).await?;
    let level = |row: &tokio_postgres::Row| (row.get(1), row.get(2), row.get(3), row.get(4));
    Ok(rows.iter().map(|row| (row.get(0), level(row))).collect())
}

/// The service, until it is killed.
pub(crate) fn service(setting: &Setting) -> Result<(), BoxError> {
    let database = setting.database.parse()?;
    runtime()?.block_on(async {
        // the table is there before the service is started
        drop(connect(&database).await?);
        // it is killed: nobody shall wait long for the one that is gone
        let mut clients = setting.clients();
        clients.set("session.timeout.ms", "6000");
        let sink = PostgresSink::new(&clients, &database, "stock-view");
        let sink = sink.topics([EVENTS]).with(|tx, records| Box::pin(apply(tx, records)));
        Ok(sink.run().await?)
    })
}

async fn apply(tx: &Transaction<'_>, records: &[&SinkRecord]) -> Result<(), BoxError> {
    let upcasters = Upcasters::new();
    for record in records {
        let recorded = upcasters.read::<StockEvent>(record.json::<EventEnvelope>()?)?;
        let (free, reserved, shipped) = match recorded.event {
            StockEvent::Received { pieces } => (pieces, 0, 0),
            StockEvent::Reserved { pieces, .. } => (-pieces, pieces, 0),
            StockEvent::Shipped { pieces, .. } => (0, -pieces, pieces),
        };
        let item = record.key_text()?;
        let version = recorded.version.0;
        if tx.execute(ADD, &[&item, &version, &free, &reserved, &shipped]).await? == 0 {
            return Err(format!("version {version} of {item} is out of order").into());
        }
    }
    Ok(())
}
