//! What must have come out, computed anew from the input topic, and the comparison with what did.
//!
//! Nothing of the topology is used here: records are read as generic JSON, amounts are parsed and
//! balances are printed by other code, sums are kept in 128 bits.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tidemill::BoxError;
use tidemill::client::{Isolation, Message};
use tidemill::record::{Headers, RawRecord};

use crate::cluster::Cluster;
use crate::job::Job;

/// What the input says of one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    cents: i128,
    transactions: u64,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Original {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

/// What must have come out.
#[derive(Debug, Default)]
pub struct Expected {
    /// Records of the input topic.
    pub records: u64,
    accounts: HashMap<String, Account>,
    /// The invalid records, by partition and offset.
    invalid: BTreeMap<(String, String), Original>,
}

impl Expected {
    /// Reads the whole input topic.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn of_input(cluster: &Cluster, job: &Job) -> Result<Self, BoxError> {
        let mut expected = Self::default();
        cluster.read_all(&job.input, Isolation::ReadCommitted, |partition, record| {
            expected.records += 1;
            match record.value().and_then(transaction) {
                Some((account, cents)) => {
                    let account = expected.accounts.entry(account).or_default();
                    account.cents += cents;
                    account.transactions += 1;
                }
                None => {
                    let place = (partition.to_string(), record.offset().to_string());
                    expected.invalid.insert(place, original(record));
                }
            }
            Ok(())
        })?;
        Ok(expected)
    }

    /// Returns how many accounts there are.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Returns how many records are invalid.
    #[must_use]
    pub fn invalid(&self) -> usize {
        self.invalid.len()
    }
}

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Records read.
    pub records: u64,
    /// What is not as it must be; empty if all is well.
    pub problems: Vec<String>,
}

/// Reads a transaction: account and signed minor units; `None` if it is invalid.
fn transaction(bytes: &[u8]) -> Option<(String, i128)> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let fields = value.as_object()?;
    fields.get("id")?.as_str()?;
    let account = fields.get("account_id")?.as_str()?.to_owned();
    let cents = cents(fields.get("amount")?.as_str()?)?;
    match fields.get("type")?.as_str()? {
        "deposit" => Some((account, cents)),
        "withdrawal" => Some((account, -cents)),
        _ => None,
    }
}

fn cents(text: &str) -> Option<i128> {
    let shifted = match text.len() - text.find('.').unwrap_or(text.len()) {
        0 => format!("{text}00"),
        2 => format!("{}0", text.replacen('.', "", 1)),
        3 => text.replacen('.', "", 1),
        _ => return None,
    };
    let plain = !text.starts_with('.') && shifted.bytes().all(|byte| byte.is_ascii_digit());
    let cents: i128 = shifted.parse().ok().filter(|_| plain)?;
    (cents <= i128::from(i64::MAX)).then_some(cents)
}

fn original(record: &Message) -> Original {
    Original {
        key: record.key().map(<[u8]>::to_vec),
        value: record.value().map(<[u8]>::to_vec),
        headers: record.headers(),
    }
}

/// Compares every account with the last record that the output has for it. On the way there the
/// number of transactions of an account must only rise, else something was published twice.
///
/// # Errors
/// If the output can't be read.
pub fn balances(cluster: &Cluster, job: &Job, expected: &Expected) -> Result<Findings, BoxError> {
    let mut findings = Findings::default();
    let mut last: HashMap<String, Account> = HashMap::new();
    cluster.read_all(&job.output, Isolation::ReadCommitted, |partition, record| {
        findings.records += 1;
        let place = format!("{}-{partition}@{}", job.output, record.offset());
        match published(record) {
            Err(problem) => findings.problems.push(format!("{place}: {problem}")),
            Ok((name, account)) => {
                let before = last.insert(name.clone(), account).unwrap_or_default();
                if account.transactions <= before.transactions {
                    findings.problems.push(format!(
                        "{place}: {name} went from {} to {} transactions",
                        before.transactions, account.transactions
                    ));
                }
            }
        }
        Ok(())
    })?;
    for (name, account) in &expected.accounts {
        let found = last.remove(name);
        if found != Some(*account) {
            findings.problems.push(format!("{name} must be {account:?}, published is {found:?}"));
        }
    }
    let unknown = last.keys().map(|name| format!("{name} is published but not in the input"));
    findings.problems.extend(unknown);
    Ok(findings)
}

/// Reads a published balance.
fn published(record: &Message) -> Result<(String, Account), String> {
    let text = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
    let read = || {
        let value: Value = serde_json::from_str(&text).ok()?;
        let fields = value.as_object().filter(|fields| fields.len() == 3)?;
        let name = fields.get("account_id")?.as_str()?.to_owned();
        let balance = fields.get("balance")?.as_str()?;
        let cents = match balance.strip_prefix('-') {
            Some(absolute) => -cents(absolute)?,
            None => cents(balance)?,
        };
        let transactions = fields.get("transactions")?.as_u64()?;
        let two_digits = balance.len() > 3 && balance.as_bytes()[balance.len() - 3] == b'.';
        let keyed = record.key() == Some(name.as_bytes());
        (two_digits && keyed).then_some((name, Account { cents, transactions }))
    };
    read().ok_or_else(|| format!("not a balance under its account's key: {text}"))
}

/// Compares the dead letters with the invalid records: each once, with its bytes and headers, and
/// with headers that say why and where from.
///
/// # Errors
/// If the topic can't be read.
pub fn dead_letters(
    cluster: &Cluster,
    job: &Job,
    expected: &Expected,
) -> Result<Findings, BoxError> {
    let mut findings = Findings::default();
    let mut missing = expected.invalid.clone();
    cluster.read_all(&job.dead_letters, Isolation::ReadCommitted, |partition, record| {
        findings.records += 1;
        let place = format!("{}-{partition}@{}", job.dead_letters, record.offset());
        let headers = record.headers();
        let header = |name: &str| {
            let header = headers.last(&format!("__streams.errors.{name}"));
            let value = header.and_then(|header| header.value.clone()).unwrap_or_default();
            String::from_utf8_lossy(&value).into_owned()
        };
        let source = (header("partition"), header("offset"));
        let Some(original) = missing.remove(&source) else {
            findings.problems.push(format!("{place}: {source:?} is not invalid, or there twice"));
            return Ok(());
        };
        if record.key() != original.key.as_deref() || record.value() != original.value.as_deref() {
            findings.problems.push(format!("{place}: the bytes of {source:?} were changed"));
        }
        let kept: Vec<_> =
            headers.iter().filter(|header| !header.key.starts_with("__streams.")).collect();
        if !kept.iter().copied().eq(original.headers.iter()) {
            findings.problems.push(format!("{place}: the headers of {source:?} were changed"));
        }
        let says =
            ["exception", "message", "stacktrace"].iter().all(|name| !header(name).is_empty());
        if !says || header("topic") != job.input {
            findings.problems.push(format!("{place}: headers do not say why and where from"));
        }
        Ok(())
    })?;
    let absent = missing.keys().map(|source| format!("{source:?} has no dead letter"));
    findings.problems.extend(absent);
    Ok(findings)
}

/// Compares the output with the changelog: a commit writes each changed account to both, in one
/// transaction, so that an account's history must be the same in both. Returns how many steps the
/// histories have.
///
/// # Errors
/// If a topic can't be read.
pub fn same_history(cluster: &Cluster, job: &Job) -> Result<Findings, BoxError> {
    let mut findings = Findings::default();
    let mut histories: HashMap<Vec<u8>, Vec<Account>> = HashMap::new();
    cluster.read_all(&job.changelog(), Isolation::ReadCommitted, |_, record| {
        let fields: Value = serde_json::from_slice(record.value().unwrap_or_default())?;
        let cents = fields["balance"].as_i64().ok_or("a changelog record without a balance")?;
        let transactions = fields["transactions"].as_u64().ok_or("without transactions")?;
        let key = record.key().unwrap_or_default().to_vec();
        let account = Account { cents: i128::from(cents), transactions };
        histories.entry(key).or_default().push(account);
        Ok(())
    })?;
    let mut steps: HashMap<Vec<u8>, usize> = HashMap::new();
    cluster.read_all(&job.output, Isolation::ReadCommitted, |partition, record| {
        findings.records += 1;
        let (name, account) = published(record)?;
        let step = steps.entry(name.clone().into_bytes()).or_default();
        let logged = histories.get(name.as_bytes()).and_then(|history| history.get(*step));
        if logged != Some(&account) {
            findings.problems.push(format!(
                "INV-1: {}-{partition}@{} publishes {account:?} of {name}, its changelog has \
                 {logged:?}",
                job.output,
                record.offset()
            ));
        }
        *step += 1;
        Ok(())
    })?;
    for (key, history) in &histories {
        let published = steps.get(key).copied().unwrap_or_default();
        if published != history.len() {
            let name = String::from_utf8_lossy(key);
            findings.problems.push(format!(
                "INV-1: {name} has {} steps in the changelog and {published} in the output",
                history.len()
            ));
        }
    }
    Ok(findings)
}
