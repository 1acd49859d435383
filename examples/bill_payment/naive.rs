//! Two writes in one method: the database and the topic, in either order. Each runs on a bank of
//! its own until it was killed often enough, and then the books are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::BoxError;
use tidemill::client::{Isolation, Outgoing, Producer};
use tidemill::record::{Headers, RawRecord, Timestamp};
use tidemill_examples::report;
use tidemill_examples::service::{Database, Kills};
use tidemill_examples::stage::{Setting, Stage};

use crate::Arguments;
use crate::bank::{self, PaymentRequested};

const TIMEOUT: Duration = Duration::from_secs(30);
/// A kill hits the gap between the two writes now and then. It is tried so many times as often as
/// was asked for before the program says that it could not be shown.
const TRIES: u32 = 20;
const BILLS_BETWEEN_KILLS: u32 = 5;

/// Which write comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    CommitFirst,
    SendFirst,
}

impl Order {
    pub(crate) const BOTH: [Self; 2] = [Self::CommitFirst, Self::SendFirst];

    fn name(self) -> &'static str {
        match self {
            Self::CommitFirst => "commit-first",
            Self::SendFirst => "send-first",
        }
    }
}

/// The service: takes the money and sends the event, until it is killed or all bills are paid.
pub(crate) fn bank(setting: &Setting) -> Result<(), BoxError> {
    let commit_first = setting.option("order")? == Order::CommitFirst.name();
    let mut database = Database::open(&setting.database)?;
    let mut config = setting.clients();
    config.set("enable.idempotence", "true").set("linger.ms", "0");
    let mut producer = Producer::new(&config)?;
    let topic = producer.topic(setting.option("topic")?)?;
    while let Some(payment) = bank::next_bill(&mut database)? {
        let mut send = || -> Result<(), BoxError> {
            let (key, value) = (payment.bill.to_string(), serde_json::to_vec(&payment)?);
            producer.send(&Outgoing {
                topic,
                partition: None,
                key: Some(key.as_bytes()),
                value: Some(&value),
                timestamp: Timestamp(payment.bill),
                headers: &Headers::new(),
                position: None,
            })?;
            producer.flush(TIMEOUT)?;
            producer.delivery_error().map_or(Ok(()), |error| Err(error.into()))
        };
        database.run(async |client| {
            let transaction = client.transaction().await?;
            bank::withdraw(&transaction, &payment).await?;
            if commit_first {
                transaction.commit().await?;
                send()
            } else {
                send()?;
                Ok(transaction.commit().await?)
            }
        })?;
    }
    Ok(())
}

/// What the books say.
#[derive(Debug, Default)]
struct Damage {
    /// Bills whose money was taken and that nobody will pay, and their cents.
    lost: (u64, i64),
    /// Payments for which no money was taken, or not again, and their cents.
    invented: (u64, i64),
}

/// Kills the service again and again, and returns whether what must go wrong did.
pub(crate) fn show(
    stage: &mut Stage,
    arguments: &Arguments,
    order: Order,
) -> Result<bool, BoxError> {
    let topic = format!("naive-{}", order.name());
    stage.cluster()?.create_topics(&[&topic], 1)?;
    let url = stage.postgres().new_database("naive_bank")?;
    let mut database = Database::open(&url)?;
    // bills until it is stopped, by which it can't have paid all
    let paid = (arguments.naive_kills + 1) * BILLS_BETWEEN_KILLS;
    bank::open_for_business(&mut database, 2 * TRIES * paid, arguments.accounts)?;
    let mut setting = stage.setting().clone().with("order", order.name()).with("topic", &topic);
    setting.database = url;
    let (mut killed, mut damage) = (0, Damage::default());
    let mut tries = 0..TRIES;
    while tries.next().is_some() && damage.lost.0 + damage.invented.0 == 0 {
        let mut parts = [stage.part("naive-bank", "naive-bank", &setting)?];
        let withdrawn = "SELECT count(*) FROM bill WHERE withdrawn";
        let begin = u64::try_from(database.number(withdrawn)?)?;
        let mut kills = Kills::plan(arguments.naive_kills, arguments.seed + u64::from(killed));
        kills.until_done(&mut parts, paid.into(), || {
            Ok(u64::try_from(database.number(withdrawn)?)? - begin)
        })?;
        parts[0].kill()?;
        killed += kills.done() + 1;
        damage = compare(stage, &mut database, &topic)?;
    }
    let money = |(bills, cents): (u64, i64)| {
        format!("{bills} bills, {}.{:02}", report::grouped(cents.unsigned_abs() / 100), cents % 100)
    };
    report::line(format_args!(
        "  {:12} killed {killed} times: withdrawn and never paid: {}; paid without money: {}",
        order.name(),
        money(damage.lost),
        money(damage.invented)
    ));
    Ok(damage.lost.0 + damage.invented.0 > 0)
}

/// Compares the bank's books with what the payment service was told.
fn compare(stage: &Stage, database: &mut Database, topic: &str) -> Result<Damage, BoxError> {
    let mut told: BTreeMap<i64, (u64, i64)> = BTreeMap::new();
    stage.cluster()?.read_all(topic, Isolation::ReadCommitted, |_, record| {
        let payment: PaymentRequested = serde_json::from_slice(record.value().unwrap_or_default())?;
        let entry = told.entry(payment.bill).or_default();
        *entry = (entry.0 + 1, payment.cents);
        Ok(())
    })?;
    let mut damage = Damage::default();
    for row in database.rows("SELECT id, cents FROM bill WHERE withdrawn", &[])? {
        let (bill, cents): (i64, i64) = (row.get(0), row.get(1));
        match told.remove(&bill) {
            None => damage.lost = (damage.lost.0 + 1, damage.lost.1 + cents),
            Some((1, _)) => {}
            Some((times, _)) => add(&mut damage.invented, times - 1, cents)?,
        }
    }
    // the last one may have been sent when its withdrawal was rolled back
    for (times, cents) in told.into_values() {
        add(&mut damage.invented, times, cents)?;
    }
    Ok(damage)
}

fn add(to: &mut (u64, i64), times: u64, cents: i64) -> Result<(), BoxError> {
    *to = (to.0 + times, to.1 + cents * i64::try_from(times)?);
    Ok(())
}
