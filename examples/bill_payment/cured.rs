//! The cure: bank, relay and payment service, each killed again and again, and the books after.

use std::collections::BTreeMap;

use tidemill::BoxError;
use tidemill::client::Isolation;
use tidemill::record::RawRecord;
use tidemill_connect::outbox::{MessageRelay, PollingOutbox};
use tidemill_connect::source::Stop;
use tidemill_examples::report::{self, grouped};
use tidemill_examples::service::{Database, Kills, wait_until};
use tidemill_examples::stage::{Setting, Stage};

use crate::Arguments;
use crate::bank::{self, PaymentRequested};
use crate::payments;

const PARTITIONS: u32 = 4;

/// The relay, until it is killed.
pub(crate) fn relay(setting: &Setting) -> Result<(), BoxError> {
    let source = PollingOutbox::new(setting.database.parse()?, bank::outbox()?);
    let relay = MessageRelay::builder("bank")
        .source(source)
        .kafka(setting.clients())
        .positions_topic("bank-relay-positions")
        .build()?;
    Ok(relay.run_until(&Stop::new())?)
}

/// Runs it, and returns whether every bill was paid once.
pub(crate) fn show(stage: &mut Stage, arguments: &Arguments) -> Result<bool, BoxError> {
    let (bills, accounts) = (arguments.bills, arguments.accounts);
    let payments_url = stage.postgres().new_database("payments")?;
    let mut paid = Database::open(&payments_url)?;
    payments::prepare(&mut paid)?;
    let setting = stage.setting().clone().with("payments", &payments_url);
    let mut database = Database::open(&setting.database)?;
    bank::open_for_business(&mut database, bills, accounts)?;
    let outbox = bank::outbox()?;
    database.run(async |client| Ok(outbox.ensure_schema(client).await?))?;
    let money = "SELECT sum(cents)::bigint FROM account";
    let before = database.number(money)?;
    stage.cluster()?.create_topics(&["bank.bill"], PARTITIONS)?;

    let part = |name| stage.part(name, name, &setting);
    let mut parts = [part("bank")?, part("relay")?, part("payments")?];
    let mut kills = Kills::plan(arguments.kills, arguments.seed);
    kills.until_done(&mut parts, u64::from(bills), || {
        Ok(u64::try_from(database.number("SELECT count(*) FROM bill WHERE withdrawn")?)?)
    })?;
    wait_until("the payments", &mut parts, || {
        Ok(paid.number("SELECT count(*) FROM payment")? >= i64::from(bills))
    })?;
    wait_until("an empty outbox", &mut parts, || {
        Ok(database.number("SELECT count(*) FROM outbox")? == 0)
    })?;
    drop(parts);

    let log = count_log(stage)?;
    let of_log = Counted::of(&log, bills);
    let mut rows: BTreeMap<i64, u64> = BTreeMap::new();
    for row in paid.rows("SELECT bill FROM payment", &[])? {
        *rows.entry(row.get(0)).or_default() += 1;
    }
    let of_payments = Counted::of(&rows, bills);
    let after = database.number(money)? + paid.number("SELECT sum(cents)::bigint FROM payment")?;
    let left = database.number("SELECT count(*) FROM outbox")?;
    report::table(
        &format!("{} bills, {} services killed", grouped(bills.into()), kills.done()),
        &[
            ("events of the topic", of_log.to_string()),
            ("payments", of_payments.to_string()),
            ("money before, cents", grouped(before.unsigned_abs())),
            ("money after, cents", grouped(after.unsigned_abs())),
            ("rows left in the outbox", left.to_string()),
        ],
    );
    let right = [&of_log, &of_payments].iter().all(|counted| counted.is_right())
        && before == after
        && left == 0;
    report::line(format_args!(
        "\nVERDICT: {}: {of_payments} money_missing={}",
        if right { "every bill is paid once" } else { "WRONG" },
        before - after
    ));
    Ok(right)
}

/// How often each bill is in the topic.
fn count_log(stage: &Stage) -> Result<BTreeMap<i64, u64>, BoxError> {
    let mut log = BTreeMap::new();
    stage.cluster()?.read_all("bank.bill", Isolation::ReadCommitted, |_, record| {
        let payment: PaymentRequested = serde_json::from_slice(record.value().unwrap_or_default())?;
        *log.entry(payment.bill).or_default() += 1;
        Ok(())
    })?;
    Ok(log)
}

/// Bills that are missing, and those that are there too often or should not be.
#[derive(Debug, Clone, Copy)]
struct Counted {
    lost: u64,
    duplicated: u64,
}

impl Counted {
    fn of(found: &BTreeMap<i64, u64>, bills: u32) -> Self {
        let known = (1..=i64::from(bills)).filter(|bill| found.contains_key(bill)).count() as u64;
        Self { lost: u64::from(bills) - known, duplicated: found.values().sum::<u64>() - known }
    }

    fn is_right(&self) -> bool {
        self.lost == 0 && self.duplicated == 0
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "lost={} duplicated={}", self.lost, self.duplicated)
    }
}
