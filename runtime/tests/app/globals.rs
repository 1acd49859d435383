//! Global tables: filled before anything is processed, followed afterwards, kept over restarts.
//!
//! Orders (a currency each) are joined with a global table of rates, whose topic has another number
//! of partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill::dsl::{Joined, Materialized, StreamsBuilder};
use tidemill::errors::LogAndContinue;
use tidemill::record::Offset;
use tidemill::serdes;
use tidemill::storage::audit;
use tidemill::topology::{Consumed, Produced, Topology};
use tidemill::{Error, State};

use super::support::kafka::{Sender, at, patiently};
use super::support::ledger::{Bank, Spec};
use super::support::process::{Process, run_worker};
use super::support::running::{Restored, Running};
use super::support::until;

/// Partitions of the rates' topic; the orders have two.
const PARTITIONS: i32 = 3;
const CURRENCIES: i64 = 40;

fn rates(spec: &Spec) -> String {
    format!("{}-rates", spec.input)
}

fn enriched(spec: &Spec) -> Topology {
    let text = || Consumed::with(serdes::string(), serdes::string());
    let builder = StreamsBuilder::new();
    let table = builder.global_table(&rates(spec), text(), Materialized::as_("rates"));
    builder
        .stream(&spec.input, text())
        .left_join_global_table(
            &table,
            |_, currency| currency.clone(),
            |currency, rate| format!("{currency}={}", rate.map_or("none", String::as_str)),
            Joined::default(),
        )
        .to(&spec.output, Produced::with(serdes::string(), serdes::string()));
    builder.build().unwrap()
}

/// The body of a worker's process.
#[test]
#[ignore = "a worker that other tests run as a process of its own"]
fn worker() {
    run_worker(enriched);
}

struct Shop {
    bank: Bank,
    sender: Sender,
    orders: i64,
}

impl Shop {
    fn new(name: &str) -> Self {
        let bank = Bank::new(name, 2);
        bank.kafka.create(&rates(&bank.spec), PARTITIONS, &[("cleanup.policy", "compact")]);
        let sender = bank.kafka.producer();
        Self { bank, sender, orders: 0 }
    }

    fn start(&self) -> Running {
        Running::run(enriched(&self.bank.spec), self.bank.spec.config(), |app| app).unwrap()
    }

    /// Sets a rate; `None` deletes it.
    fn rate(&mut self, currency: &str, rate: Option<&str>) {
        let topic = rates(&self.bank.spec);
        self.sender.send(&topic, Some(currency.as_bytes()), rate.map(str::as_bytes));
    }

    /// Sets the rates of all currencies.
    fn rate_all(&mut self, rate: &str) {
        for number in 0..CURRENCIES {
            self.rate(&format!("c{number}"), Some(rate));
        }
        self.sender.flush();
    }

    /// Sends an order in a currency and returns what became of it.
    fn order(&mut self, currency: &str) -> String {
        let key = format!("o{}", self.orders);
        self.orders += 1;
        self.sender.send(&self.bank.spec.input, Some(key.as_bytes()), Some(currency.as_bytes()));
        self.sender.flush();
        self.bank.until_consumed();
        self.results().remove(&key).unwrap_or_else(|| panic!("nothing became of {key}"))
    }

    /// Sends an order in each currency.
    fn order_all(&mut self) {
        for number in 0..CURRENCIES {
            let (key, value) = (format!("o{}", self.orders), format!("c{number}"));
            self.orders += 1;
            self.sender.send(&self.bank.spec.input, Some(key.as_bytes()), Some(value.as_bytes()));
        }
        self.sender.flush();
    }

    /// What became of each order. Each has one result (INV-1).
    fn results(&self) -> BTreeMap<String, String> {
        let mut results = BTreeMap::new();
        for record in self.bank.kafka.read(&self.bank.spec.output) {
            let value = String::from_utf8(record.value.clone().unwrap()).unwrap();
            let before = results.insert(record.key_text(), value);
            assert_eq!(before, None, "{} has two results", record.key_text());
        }
        results
    }

    /// Waits until orders see a rate; the table follows its topic without regard to time.
    fn until_seen(&mut self, currency: &str, rate: &str) {
        let wanted = format!("{currency}={rate}");
        until(&wanted, || (self.order(currency) == wanted).then_some(()));
    }

    /// The latest rate of each currency, as the topic has it.
    fn latest(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut latest = BTreeMap::new();
        for record in self.bank.kafka.read(&rates(&self.bank.spec)) {
            let key = record.key.clone().unwrap();
            match record.value {
                Some(value) => drop(latest.insert(key, value)),
                None => drop(latest.remove(&key)),
            }
        }
        latest
    }

    /// Compares what is on the disk with the topic, and returns the positions in it.
    fn audit(&self) -> Vec<i64> {
        let dump = audit::dump(&self.bank.spec.task_path("global")).unwrap();
        let stored = dump.stores["rates"].iter();
        let stored: BTreeMap<_, _> = stored.map(|(k, v)| (k.clone(), v[8..].to_vec())).collect();
        assert_eq!(stored, self.latest(), "the table is not its topic");
        let ends = self.bank.kafka.settled(&rates(&self.bank.spec));
        let positions = (0..PARTITIONS).map(|number| {
            let partition = at(&rates(&self.bank.spec), number);
            let position = dump.checkpoint.inputs[&partition].offset;
            assert_eq!(position, ends[&partition], "{partition} was not read to its end");
            position.0
        });
        positions.collect()
    }
}

fn starts(app: &Running) -> Vec<Offset> {
    let start = |event| match event {
        Restored::Start(store, start, _) if store == "rates" => Some(start),
        _ => None,
    };
    app.restores().into_iter().filter_map(start).collect()
}

#[test]
fn inv_4_nothing_is_processed_before_the_table_holds_all_that_was_there() {
    let mut shop = Shop::new("global-first");
    shop.bank.spec.set("num.stream.threads", "2");
    shop.rate_all("old");
    shop.rate_all("new");
    // a transaction is open below the high watermark: nobody knows yet what the table holds
    let mut open = shop.bank.kafka.transactional(&format!("{}-rates", shop.bank.spec.input));
    open.producer.begin_transaction().unwrap();
    open.send(&rates(&shop.bank.spec), Some(b"late"), Some(b"committed in the end"));
    open.flush();
    shop.order_all();
    let app = shop.start();
    until("everything else", || {
        let taken = app.restores().iter().any(|event| matches!(event, Restored::Batch(..)));
        taken.then_some(())
    });
    assert_eq!(app.state(), State::Rebalancing);
    assert_eq!(app.metrics().records, 0, "an order was processed before the table was there");
    assert!(!app.restores().iter().any(|event| matches!(event, Restored::End(..))));
    patiently(|| open.producer.commit_transaction(Duration::from_secs(10)));
    app.until_running();
    shop.bank.until_consumed();
    let results = shop.results();
    assert_eq!(results.len(), CURRENCIES as usize);
    assert!(results.values().all(|result| result.ends_with("=new")), "{results:?}");
    assert_eq!(shop.order("late"), "late=committed in the end");
    assert_eq!(shop.order("unknown"), "unknown=none");
    app.close();
    shop.audit();
}

#[test]
fn what_is_written_after_the_start_is_seen_by_all_tasks() {
    let mut shop = Shop::new("global-follows");
    shop.rate_all("1");
    let app = shop.start();
    shop.until_seen("c7", "1");
    shop.rate("c7", Some("2"));
    shop.sender.flush();
    shop.until_seen("c7", "2");
    shop.rate("c7", None);
    shop.rate("c8", Some("3"));
    shop.sender.flush();
    shop.until_seen("c7", "none");
    shop.until_seen("c8", "3");
    app.close();
    shop.audit();
}

#[test]
fn inv_3_a_killed_process_goes_on_where_its_table_was() {
    let mut shop = Shop::new("global-killed");
    shop.rate_all("1");
    let mut process = Process::start_test("globals::worker", &shop.bank.spec, None);
    shop.until_seen("c0", "1");
    for round in 2..6 {
        // killed while the table is being written
        shop.rate_all(&round.to_string());
        process.kill();
        shop.rate(&format!("c{round}"), None);
        shop.rate_all(&format!("{round}!"));
        shop.order_all();
        process = Process::start_test("globals::worker", &shop.bank.spec, None);
        shop.bank.until_consumed();
        shop.until_seen("c1", &format!("{round}!"));
    }
    process.stop();
    let positions = shop.audit();
    // a clean start has nothing to read again
    let app = shop.start();
    app.until_running();
    assert_eq!(starts(&app).iter().map(|start| start.0).collect::<Vec<_>>(), positions);
    let read = |event: &Restored| matches!(event, Restored::End(_, 0));
    assert_eq!(app.restores().iter().filter(|event| read(event)).count(), PARTITIONS as usize);
    assert_eq!(shop.order("c1"), "c1=5!");
    app.close();
    // orders were neither lost nor doubled
    assert_eq!(shop.results().len(), shop.orders as usize);
}

#[test]
fn every_process_has_all_of_the_table() {
    let mut shop = Shop::new("global-two");
    shop.rate_all("1");
    let app = shop.start();
    app.until_running();
    let mut other = shop.bank.spec.clone();
    other.state_dir = other.state_dir.with_file_name("elsewhere");
    let second = Process::start_test("globals::worker", &other, None);
    let began = |second: &Process| second.log().contains(" running task=");
    until("tasks of the second", || {
        shop.order_all();
        began(&second).then_some(())
    });
    shop.order_all();
    shop.bank.until_consumed();
    let results = shop.results();
    assert_eq!(results.len(), shop.orders as usize);
    assert!(results.values().all(|result| result.ends_with("=1")), "{results:?}");
    drop(second);
    app.close();
    shop.audit();
}

#[test]
fn a_topic_that_was_made_anew_is_read_from_its_beginning() {
    let mut shop = Shop::new("global-anew");
    shop.rate_all("old");
    let app = shop.start();
    shop.until_seen("c0", "old");
    app.close();
    let (topic, admin) = (rates(&shop.bank.spec), shop.bank.kafka.admin());
    admin.delete_topics(&[&topic], Duration::from_secs(10)).unwrap();
    until("the deletion", || {
        let topics = admin.topics(&[&topic], Duration::from_secs(10)).unwrap();
        topics[0].partitions.is_none().then_some(())
    });
    let Err(error) = Running::run(enriched(&shop.bank.spec), shop.bank.spec.config(), |app| app)
    else {
        panic!("it started without the topic")
    };
    assert!(matches!(error, Error::Topics(_)));
    assert!(
        error.to_string().contains(&format!("topic {topic} does not exist: create it")),
        "{error}"
    );

    shop.bank.kafka.create(&topic, PARTITIONS, &[("cleanup.policy", "compact")]);
    shop.sender = shop.bank.kafka.producer();
    shop.rate("c1", Some("new"));
    shop.sender.flush();
    let app = shop.start();
    assert_eq!(shop.order("c1"), "c1=new");
    assert_eq!(shop.order("c0"), "c0=none");
    app.close();
    shop.audit();
}

#[test]
fn a_rate_that_can_not_be_read_goes_to_the_handler() {
    let mut shop = Shop::new("global-unreadable");
    shop.rate_all("1");
    shop.sender.send(&rates(&shop.bank.spec), Some(b"c1"), Some(&[0xff]));
    shop.sender.flush();
    let strict = shop.start().until_failed();
    let text = strict.to_string();
    assert!(
        text.contains("could not read record") && text.contains(&rates(&shop.bank.spec)),
        "{text}"
    );

    let app = Running::run(enriched(&shop.bank.spec), shop.bank.spec.config(), |app| {
        app.with_deserialization_exception_handler(LogAndContinue)
    });
    let app = app.unwrap();
    assert_eq!(shop.order("c1"), "c1=1");
    // and the same while it runs
    shop.sender.send(&rates(&shop.bank.spec), Some(b"c2"), Some(&[0xff]));
    shop.rate("c3", Some("2"));
    shop.sender.flush();
    shop.until_seen("c3", "2");
    assert_eq!(shop.order("c2"), "c2=1");
    app.close();
}
