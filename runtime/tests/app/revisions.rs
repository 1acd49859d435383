//! Price alerts: an e-mail is commanded once per change of a price, whatever is sent twice or late
//! and whoever is killed on the way.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use tidemill::BoxError;
use tidemill::dsl::{Deduplicated, Materialized, StreamsBuilder};
use tidemill::record::Record;
use tidemill::serdes;
use tidemill::topology::{Consumed, Produced, Topology};

use super::support::kafka::{Rec, Sender};
use super::support::ledger::{Bank, Spec};
use super::support::process::{Process, run_worker};
use super::support::running::Running;
use super::support::until;

/// A price is text: revision and cents.
fn revision(record: &Record<String, String>) -> Result<Option<i64>, BoxError> {
    let number = record.value.split(' ').next().unwrap_or_default();
    Ok(Some(number.parse()?))
}

fn alerts(spec: &Spec) -> Topology {
    let text = || Consumed::with(serdes::string(), serdes::string());
    let options = Deduplicated::with(serdes::string(), serdes::string());
    let builder = StreamsBuilder::new();
    builder
        .stream(&spec.input, text())
        .try_deduplicate_by_revision(
            revision,
            options.forget_after(Duration::from_secs(3_600)),
            Materialized::as_("price-revisions"),
        )
        .map_values(|price| format!("mail {price}"))
        .to(&spec.output, Produced::with(serdes::string(), serdes::string()));
    builder.build().unwrap()
}

/// The body of a worker's process.
#[test]
#[ignore = "a worker that other tests run as a process of its own"]
fn worker() {
    run_worker(alerts);
}

fn start(bank: &Bank) -> Running {
    Running::run(alerts(&bank.spec), bank.spec.config(), |app| app).unwrap()
}

/// Sends price updates of 20 things. Each is sent again later, and some come late.
fn feed(sender: &mut Sender, bank: &Bank, numbers: std::ops::Range<i64>) {
    for number in numbers {
        let thing = format!("thing-{}", number % 20);
        let round = number / 20;
        // this round's revision, twice in a row, the one before, and now and then a very old one
        let late = if round % 5 == 0 { round / 2 } else { round - 1 };
        for revision in [round, round, late] {
            let price = format!("{revision} {}", revision * 7 % 100);
            sender.send(&bank.spec.input, Some(thing.as_bytes()), Some(price.as_bytes()));
        }
    }
    sender.flush();
}

fn by_key(records: Vec<Rec>) -> BTreeMap<String, Vec<String>> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records {
        let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
        by_key.entry(record.key_text()).or_default().push(value);
    }
    by_key
}

/// Compares what was commanded with what the input log asks for.
fn verify(bank: &Bank) {
    let mut expected = by_key(bank.kafka.read(&bank.spec.input));
    for prices in expected.values_mut() {
        let mut last = i64::MIN;
        prices.retain(|price| {
            let revision = price.split(' ').next().unwrap().parse().unwrap();
            let newer = revision > last;
            last = last.max(revision);
            newer
        });
        for price in prices {
            *price = format!("mail {price}");
        }
    }
    assert_eq!(expected.len(), 20);
    assert_eq!(by_key(bank.kafka.read(&bank.spec.output)), expected);
}

/// Kills a worker under load at a step of the commit, and lets another one go on.
fn killed_at(step: &str) {
    let bank = Bank::new(&format!("alerts-{}", step.to_lowercase()), 2);
    let mut sender = bank.kafka.producer();
    let mut next = 0;
    let mut more = |sender: &mut Sender, count: i64| {
        feed(sender, &bank, next..next + count);
        next += count;
    };
    more(&mut sender, 40);
    let failpoint = format!("{step}:5:kill");
    let mut process = Process::start_test("revisions::worker", &bank.spec, Some(&failpoint));
    process.until_logged("running");
    let status = until("the kill", || {
        more(&mut sender, 20);
        process.ended()
    });
    assert_eq!(status.signal(), Some(9), "{}", process.log());
    drop(process);
    let app = start(&bank);
    more(&mut sender, 40);
    bank.until_consumed();
    assert!(app.close().ignored > 0, "nothing was sent twice");
    verify(&bank);
}

#[test]
fn rv3_killed_with_records_in_an_open_transaction_each_change_is_mailed_once() {
    killed_at("S1");
}

#[test]
fn rv3_killed_after_the_flush_each_change_is_mailed_once() {
    killed_at("S2");
}

#[test]
fn rv3_killed_before_the_commit_request_each_change_is_mailed_once() {
    killed_at("S4");
}

#[test]
fn rv3_killed_after_the_commit_but_before_the_disk_each_change_is_mailed_once() {
    killed_at("S6");
}

#[test]
fn rv9_last_revisions_survive_the_loss_of_the_disk_and_a_rebalance() {
    let bank = Bank::new("alerts-moved", 4);
    let mut sender = bank.kafka.producer();
    feed(&mut sender, &bank, 0..200);
    let app = start(&bank);
    bank.until_consumed();
    app.close();
    std::fs::remove_dir_all(&bank.spec.state_dir).unwrap();
    // the same and older revisions again, for stores that come back from their changelogs
    feed(&mut sender, &bank, 100..220);
    let app = start(&bank);
    bank.until_consumed();
    assert!(app.metrics().restores >= 4, "{:?}", app.metrics());
    // a second member takes half of the tasks, and gives them back
    let elsewhere = tempfile::TempDir::new().unwrap();
    let mut other = bank.spec.clone();
    other.state_dir = elsewhere.path().join("state");
    let second = Running::run(alerts(&other), other.config(), |app| app).unwrap();
    until("the second member's tasks", || {
        feed(&mut sender, &bank, 100..240);
        (second.metrics().records > 0).then_some(())
    });
    bank.until_consumed();
    assert!(second.close().ignored > 0);
    feed(&mut sender, &bank, 0..260);
    bank.until_consumed();
    app.close();
    verify(&bank);
}
