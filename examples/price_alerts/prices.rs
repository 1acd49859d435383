//! The price service: changes prices in its database, with a revision drawn under the row's lock,
//! and tells the world at least once. It sends on purpose what it has sent already.

use std::time::Duration;

use tidemill::BoxError;
use tidemill::client::{Outgoing, Producer, SendError};
use tidemill::record::{Headers, Timestamp};
use tidemill::revision::RevisionGenerator;
use tidemill_connect::postgres::{Connection, connect};
use tidemill_connect::revision::RevisionedTable;
use tidemill_examples::stage::Setting;

use crate::model::{PRICES, PriceUpdated, mixed, price, thing};

pub(crate) const SCHEMA: &str = "
    CREATE TABLE price (thing text PRIMARY KEY, cents bigint, revision bigint);
    CREATE TABLE price_event (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        thing text NOT NULL, cents bigint NOT NULL, revision bigint NOT NULL,
        clock bigint NOT NULL, sent boolean NOT NULL DEFAULT false)";

/// Changes between two looks at what is to be sent.
const TOGETHER: u64 = 5;
const PAUSE: Duration = Duration::from_millis(20);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

struct Prices {
    seed: u64,
    things: u64,
    clock_back_ms: i64,
    table: RevisionedTable,
    revisions: RevisionGenerator,
    producer: Producer,
}

/// The part: makes all changes that are not made yet, and sends all that is not sent yet.
pub(crate) fn run(setting: &Setting) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(setting))
}

async fn serve(setting: &Setting) -> Result<(), BoxError> {
    let changes: u64 = setting.option("changes")?.parse()?;
    let clock_back_ms = setting.option("clock-back-ms")?.parse()?;
    let mut kafka = setting.clients();
    kafka.set("enable.idempotence", "true");
    let mut prices = Prices {
        seed: setting.option("seed")?.parse()?,
        things: setting.option("things")?.parse()?,
        clock_back_ms,
        table: RevisionedTable::new("price", "thing", "revision")?,
        // the mark on disk is what a clock that is set back can't undo
        revisions: RevisionGenerator::new()
            .with_clock(move || clock(clock_back_ms))
            .persisted_in(setting.folder.join("revisions"))?,
        producer: Producer::new(&kafka)?,
    };
    let mut client = connect(&setting.database.parse()?).await?;
    loop {
        let made: i64 = client.query_one("SELECT count(*) FROM price_event", &[]).await?.get(0);
        let made = u64::try_from(made)?;
        for change in made..(made + TOGETHER).min(changes) {
            prices.change(&mut client, change).await?;
        }
        let sent = prices.send(&client).await?;
        if made >= changes && sent == 0 {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The time that this machine believes it is.
fn clock(back_ms: i64) -> Timestamp {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    Timestamp(i64::try_from(now).unwrap_or(i64::MAX) - back_ms)
}

impl Prices {
    async fn change(&self, client: &mut Connection, change: u64) -> Result<(), BoxError> {
        let (thing, cents) =
            (thing(mixed(self.seed, !change) % self.things), price(self.seed, change));
        let transaction = client.transaction().await?;
        let revision = self.table.draw(&transaction, &thing, &self.revisions).await?;
        let revision = revision.ok_or("there is no such thing")?;
        let sql = "UPDATE price SET cents = $2, revision = $3 WHERE thing = $1";
        transaction.execute(sql, &[&thing, &cents, &revision]).await?;
        // what a generator that trusts the clock alone would have said
        let clock = clock(self.clock_back_ms).0 * 1_000_000;
        let sql = "INSERT INTO price_event (thing, cents, revision, clock) VALUES ($1, $2, $3, $4)";
        transaction.execute(sql, &[&thing, &cents, &revision, &clock]).await?;
        Ok(transaction.commit().await?)
    }

    /// Sends what was not sent yet, in the order of the changes, the last of it twice, and after it
    /// something old. Only then is it marked as sent: killed before, it is all sent again.
    async fn send(&mut self, client: &Connection) -> Result<usize, BoxError> {
        let sql = "SELECT id, thing, cents, revision FROM price_event WHERE NOT sent ORDER BY id";
        let new = client.query(sql, &[]).await?;
        let Some(last) = new.last() else { return Ok(0) };
        let last_id: i64 = last.get(0);
        let old_id =
            i64::try_from(mixed(self.seed, last_id.unsigned_abs()) % last_id.unsigned_abs())?;
        let sql = "SELECT id, thing, cents, revision FROM price_event WHERE id = $1";
        let old = client.query(sql, &[&old_id]).await?;
        for row in new.iter().chain([last]).chain(&old) {
            let event = PriceUpdated { cents: row.get(2), revision: row.get(3) };
            self.produce(row.get(1), &serde_json::to_vec(&event)?)?;
        }
        self.producer.flush(FLUSH_TIMEOUT)?;
        if let Some(error) = self.producer.delivery_error() {
            return Err(format!("a price was not sent: {error:?}").into());
        }
        client.execute("UPDATE price_event SET sent = true WHERE id <= $1", &[&last_id]).await?;
        Ok(new.len())
    }

    fn produce(&mut self, thing: &str, value: &[u8]) -> Result<(), BoxError> {
        let topic = self.producer.topic(PRICES)?;
        let record = Outgoing {
            topic,
            partition: None,
            key: Some(thing.as_bytes()),
            value: Some(value),
            timestamp: clock(0),
            headers: &Headers::new(),
            position: None,
        };
        loop {
            match self.producer.send(&record) {
                Err(SendError::QueueFull) => self.producer.poll(PAUSE),
                outcome => return Ok(outcome?),
            }
        }
    }
}
