//! The sender of mails: takes each alert from its topic, sends it once more if it does not know
//! whether it was sent, and remembers what it sent in a table.
//!
//! A mail server takes part in no transaction. Between its "250 OK" and the row that says "sent" is
//! a window: killed there, the mail is sent again. Its Message-ID is made of the alert's
//! idempotency key, so whoever looks at that has one mail. (The row first and the mail after it
//! would be the other choice: a window in which a mail is lost.)

use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tidemill::BoxError;
use tidemill::client::{Admin, Consumer, Fetched, GroupEvent, PartitionReader, Severity, Waker};
use tidemill::record::{Offset, Partition, RawRecord, TopicPartition};
use tidemill_connect::postgres::{Connection, connect};
use tidemill_examples::stage::Setting;
use tokio_postgres::Config;

use crate::model::{ALERTS, Alert};

pub(crate) const SCHEMA: &str = "
    CREATE TABLE mail_sent (
        idempotency_key text PRIMARY KEY, sent_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE mail_position (kafka_partition int PRIMARY KEY, next_offset bigint NOT NULL)";
/// What this part calls itself in PostgreSQL.
pub(crate) const APPLICATION_NAME: &str = "mailer";

const BATCH: usize = 50;
const WAIT: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(10);
/// A mail server that does not take a mail for so often is given up.
const TRIES: u32 = 100;

struct Mailer {
    client: Connection,
    smtp: AsyncSmtpTransport<Tokio1Executor>,
}

/// The part: sends mails until it is ended.
pub(crate) fn run(setting: &Setting) -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(setting))
}

async fn serve(setting: &Setting) -> Result<(), BoxError> {
    let mut database: Config = setting.database.parse()?;
    database.application_name(APPLICATION_NAME);
    let smtp = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(setting.option("smtp-port")?.parse()?)
        .timeout(Some(TIMEOUT))
        .build();
    let mailer = Mailer { client: connect(&database).await?, smtp };
    let mut kafka = setting.clients();
    kafka.set("isolation.level", "read_committed").set("auto.offset.reset", "error");
    let waker = Arc::new(Waker::new());
    let mut consumer = Consumer::new(&kafka, Arc::<Waker>::clone(&waker))?;
    let starts = mailer.positions(setting).await?;
    let mut readers = consumer.assign(&starts)?;
    loop {
        if let Some(GroupEvent::Failed(error)) = consumer.poll_event(Duration::ZERO) {
            return Err(error.into());
        }
        let mut taken = 0;
        for reader in &mut readers {
            for (partition, offset, alert) in take(reader)? {
                taken += 1;
                mailer.handle(partition, offset, &alert).await?;
            }
        }
        if taken == 0 {
            waker.wait(WAIT);
        }
    }
}

/// Takes what a partition has, with its partition and offset.
fn take(reader: &mut PartitionReader) -> Result<Vec<(Partition, Offset, Alert)>, BoxError> {
    let partition = reader.topic_partition().partition;
    let (mut taken, mut failed) = (Vec::new(), None);
    reader.read(BATCH, &mut |fetched| match fetched {
        Fetched::Record(record) => {
            match serde_json::from_slice(record.value().unwrap_or_default()) {
                Ok(alert) => taken.push((partition, record.offset(), alert)),
                Err(error) => failed = Some(BoxError::from(error)),
            }
        }
        Fetched::EndOfPartition(_) => {}
        // a broker is away: the client goes on where it was
        Fetched::Failed(error) if error.severity == Severity::Retry => {}
        Fetched::Failed(error) => failed = Some(error.into()),
    });
    failed.map_or(Ok(taken), Err)
}

impl Mailer {
    /// Returns where each partition goes on.
    async fn positions(
        &self,
        setting: &Setting,
    ) -> Result<Vec<(TopicPartition, Offset)>, BoxError> {
        let found = Admin::new(&setting.clients())?.topics(&[ALERTS], TIMEOUT)?;
        let count = found.first().and_then(|topic| topic.partitions).ok_or("no topic of alerts")?;
        let mut starts = Vec::new();
        for number in 0..i32::try_from(count)? {
            let sql = "SELECT next_offset FROM mail_position WHERE kafka_partition = $1";
            let row = self.client.query_opt(sql, &[&number]).await?;
            let next = Offset(row.map_or(0, |row| row.get(0)));
            starts.push((TopicPartition::new(ALERTS, Partition(number)), next));
        }
        Ok(starts)
    }

    async fn handle(
        &self,
        Partition(partition): Partition,
        offset: Offset,
        alert: &Alert,
    ) -> Result<(), BoxError> {
        let key = alert.idempotency_key();
        let sql = "SELECT 1 FROM mail_sent WHERE idempotency_key = $1";
        if self.client.query_opt(sql, &[&key]).await?.is_none() {
            self.send(alert).await?;
        }
        // -- the window: sent, and not yet remembered --
        let sql = "
            WITH sent AS (INSERT INTO mail_sent VALUES ($1) ON CONFLICT DO NOTHING)
            INSERT INTO mail_position VALUES ($2, $3)
            ON CONFLICT (kafka_partition) DO UPDATE SET next_offset = excluded.next_offset";
        self.client.execute(sql, &[&key, &partition, &offset.next().0]).await?;
        Ok(())
    }

    /// Sends a mail, again and again until the server takes it.
    async fn send(&self, alert: &Alert) -> Result<(), BoxError> {
        let Alert { thing, cents, .. } = alert;
        let mail = Message::builder()
            .from("Price alerts <alerts@shop.example>".parse::<Mailbox>()?)
            .to(alert.address().parse::<Mailbox>()?)
            .message_id(Some(alert.message_id()))
            .subject(format!("{thing} costs {cents} cents"))
            .body(format!("You asked for it: {thing} costs {cents} cents now.\r\n"))?;
        let mut tries = 0;
        loop {
            let Err(error) = self.smtp.send(mail.clone()).await else { return Ok(()) };
            tries += 1;
            if tries == TRIES || error.is_permanent() {
                return Err(error.into());
            }
            tracing::info!(%error, "sending a mail again");
            tokio::time::sleep(WAIT).await;
        }
    }
}
