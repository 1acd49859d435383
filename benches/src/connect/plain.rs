//! The plain loop that most services have: claim rows that nobody else has, produce them, wait
//! until the broker has them, delete them, commit.
//!
//! At least once: a crash between flush and commit sends the batch again. Two of them at once break
//! the order of an aggregate. One alone, as here, keeps it. It is written for speed: prepared
//! statements, one round trip to delete a batch, an idempotent producer that fills its requests.

use std::time::Duration;

use tidemill::BoxError;
use tidemill::client::{ClientConfig, Outgoing, Producer, SendError};
use tidemill::record::{Headers, Timestamp};
use tidemill_connect::postgres::{Connection, connect};
use tokio_postgres::Statement;

use crate::options::WorkerOptions;

/// Between two looks at an empty table.
const IDLE: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Runs until the process is killed.
pub(crate) fn work(options: &WorkerOptions) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(options))
}

async fn run(options: &WorkerOptions) -> Result<(), BoxError> {
    let mut client = connect(&options.database.parse()?).await?;
    let select = client
        .prepare(
            "SELECT id, event_id::text, aggregateid, payload,
                    (extract(epoch FROM created_at) * 1000)::bigint
               FROM outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .await?;
    let delete = client.prepare("DELETE FROM outbox WHERE id = ANY($1)").await?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &*options.bootstrap_servers);
    config.set("enable.idempotence", "true");
    config.set("partitioner", "murmur2_random");
    // a batch is flushed as soon as it is complete
    config.set("linger.ms", "5");
    config.set("batch.size", "262144");
    let mut producer = Producer::new(&config)?;
    loop {
        let limit = i64::from(options.batch);
        let sent = move_batch(&mut client, (&select, &delete), limit, &mut producer, options);
        if sent.await? == 0 {
            std::thread::sleep(IDLE);
        }
    }
}

async fn move_batch(
    client: &mut Connection,
    (select, delete): (&Statement, &Statement),
    limit: i64,
    producer: &mut Producer,
    options: &WorkerOptions,
) -> Result<usize, BoxError> {
    let topic = producer.topic(&options.topic)?;
    let transaction = client.transaction().await?;
    let rows = transaction.query(select, &[&limit]).await?;
    let mut ids: Vec<i64> = Vec::with_capacity(rows.len());
    for row in &rows {
        ids.push(row.get(0));
        let mut headers = Headers::new();
        headers.add("id", Some(row.get::<_, &str>(1).as_bytes().to_vec()));
        let record = Outgoing {
            topic,
            partition: None,
            key: Some(row.get::<_, &str>(2).as_bytes()),
            value: row.get(3),
            timestamp: Timestamp(row.get(4)),
            headers: &headers,
            position: None,
        };
        loop {
            match producer.send(&record) {
                Ok(()) => break,
                Err(SendError::QueueFull) => producer.poll(IDLE),
                Err(error) => return Err(error.into()),
            }
        }
    }
    if !ids.is_empty() {
        producer.flush(TIMEOUT)?;
        if let Some(error) = producer.delivery_error() {
            return Err(error.into());
        }
        transaction.execute(delete, &[&ids]).await?;
    }
    transaction.commit().await?;
    Ok(ids.len())
}
