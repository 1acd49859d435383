//! The topology on the test driver: what comes out, what is kept, what is refused.

use std::sync::Arc;

use tidemill::driver::{DriverConfig, TestInputTopic, TestOutputTopic, TopologyTestDriver};
use tidemill::errors::{DeadLetterQueue, Handlers};
use tidemill::record::{Headers, Record, Timestamp};
use tidemill::serdes::{Serde, bytes, json, optional, string};

use super::{AccountBalance, Amount, AmountError, Balance, STORE, TransactionJson, topology};

type Bytes = Option<Vec<u8>>;

struct Balances {
    driver: TopologyTestDriver,
    input: TestInputTopic<Bytes, Bytes>,
    output: TestOutputTopic<String, AccountBalance>,
    dead: TestOutputTopic<Bytes, Bytes>,
}

fn balances(keyed: bool) -> Balances {
    let dead = DeadLetterQueue("dead".to_owned());
    let handlers = Handlers {
        deserialization: Arc::new(dead.clone()),
        processing: Arc::new(dead.clone()),
        production: Arc::new(dead),
    };
    let config = DriverConfig::new("app").with_handlers(handlers);
    let driver = TopologyTestDriver::new(topology("in", "out", keyed).unwrap(), config).unwrap();
    let raw = || optional(bytes());
    Balances {
        input: driver.create_input_topic("in", raw(), raw()).unwrap(),
        output: driver.create_output_topic("out", string(), json()).unwrap(),
        dead: driver.create_output_topic("dead", raw(), raw()).unwrap(),
        driver,
    }
}

impl Balances {
    fn pipe(&mut self, key: Option<&str>, value: &str) {
        let bytes = |text: &str| text.as_bytes().to_vec();
        self.input.pipe_input(key.map(bytes), Some(bytes(value))).unwrap();
    }

    fn transact(&mut self, account: &str, kind: &str, amount: &str) {
        self.pipe(Some("ignored"), &transaction(account, kind, amount));
    }
}

fn transaction(account: &str, kind: &str, amount: &str) -> String {
    format!(r#"{{"id":"t","account_id":"{account}","type":"{kind}","amount":"{amount}"}}"#)
}

fn published(account: &str, balance: &str, transactions: u64) -> (String, AccountBalance) {
    let value =
        AccountBalance { account_id: account.into(), balance: balance.into(), transactions };
    (account.into(), value)
}

#[test]
fn deposits_and_withdrawals_of_an_account_become_its_balance() {
    let mut job = balances(false);
    job.transact("a", "deposit", "12.34");
    job.transact("b", "withdrawal", "3.2");
    job.transact("a", "withdrawal", "2");
    let expected =
        [published("a", "12.34", 1), published("b", "-3.20", 1), published("a", "10.34", 2)];
    assert_eq!(job.output.read_key_values_to_list().unwrap(), expected);
    assert!(job.dead.is_empty());
}

#[test]
fn the_stream_is_keyed_anew_through_a_repartition_topic() {
    let mut job = balances(false);
    job.transact("a", "deposit", "1");
    let mut topics = job.driver.produced_topic_names().unwrap();
    topics.retain(|topic| topic.contains("repartition"));
    assert_eq!(topics, ["app-balances-store-repartition"]);
}

#[test]
fn a_keyed_input_needs_no_repartition_topic() {
    let mut job = balances(true);
    job.pipe(Some("a"), &transaction("a", "deposit", "1"));
    assert_eq!(job.output.read_key_value().unwrap(), published("a", "1.00", 1));
    let topics = job.driver.produced_topic_names().unwrap();
    assert!(topics.iter().all(|topic| !topic.contains("repartition")), "{topics:?}");
}

#[test]
fn the_changelog_holds_minor_units_as_the_java_program_writes_them() {
    let mut job = balances(false);
    job.transact("a", "withdrawal", "3.20");
    let changelog = job.driver.changelog(STORE).unwrap();
    assert_eq!(changelog[0].key.as_deref(), Some(&b"a"[..]));
    assert_eq!(changelog[0].value.as_deref(), Some(&br#"{"balance":-320,"transactions":1}"#[..]));
}

#[test]
fn records_that_are_no_transactions_become_dead_letters_as_they_came() {
    let mut job = balances(false);
    let bad = [
        "",
        "{",
        "null",
        "7",
        r#"["t","a","deposit","1"]"#,
        r#"{"account_id":"a","type":"deposit","amount":"1"}"#,
        r#"{"id":"t","account_id":"a","type":"refund","amount":"1"}"#,
        r#"{"id":"t","account_id":"a","type":{"deposit":null},"amount":"1"}"#,
        r#"{"id":"t","account_id":"a","type":"deposit","amount":1}"#,
        r#"{"id":"t","account_id":null,"type":"deposit","amount":"1"}"#,
        r#"{"id":"t","id":"t","account_id":"a","type":"deposit","amount":"1"}"#,
        r#"{"id":"t","account_id":"a","type":"deposit","amount":"1"}x"#,
    ];
    for value in bad {
        job.pipe(None, value);
    }
    for amount in ["1.234", "-1", "+1", "1.", ".5", "", " 1", "1e2", "92233720368547758.08"] {
        job.transact("a", "deposit", amount);
    }
    job.input.pipe_input(None, None).unwrap();
    let letters = job.dead.read_records_to_list().unwrap();
    assert_eq!(letters.len(), bad.len() + 10);
    for (letter, value) in letters.iter().zip(bad) {
        assert_eq!(letter.value.as_deref(), Some(value.as_bytes()));
    }
    assert_eq!(letters.last().unwrap().value, None);
    assert!(job.output.is_empty());
}

#[test]
fn a_dead_letter_keeps_its_headers_and_says_why_and_where_from() {
    let mut job = balances(false);
    let mut headers = Headers::new();
    headers.add("trace", Some(b"17".to_vec()));
    let record = Record::new(Some(b"k".to_vec()), Some(b"{".to_vec()), Timestamp(5));
    job.input.pipe_record(record.with_headers(headers)).unwrap();
    let letter = job.dead.read_record().unwrap();
    let header = |name: &str| {
        let header = letter.headers.last(name).unwrap_or_else(|| panic!("no header {name}"));
        String::from_utf8(header.value.clone().unwrap()).unwrap()
    };
    assert_eq!(letter.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(header("trace"), "17");
    assert_eq!(header("__streams.errors.topic"), "in");
    assert_eq!(header("__streams.errors.partition"), "0");
    assert_eq!(header("__streams.errors.offset"), "0");
    assert!(header("__streams.errors.message").contains("EOF"), "the parser's own words");
}

#[test]
fn a_balance_that_overflows_is_a_dead_letter_and_the_account_keeps_its_balance() {
    let mut job = balances(false);
    job.transact("a", "deposit", "92233720368547758.07");
    job.transact("a", "deposit", "0.01");
    job.transact("a", "withdrawal", "0.07");
    let expected =
        [published("a", "92233720368547758.07", 1), published("a", "92233720368547758.00", 2)];
    assert_eq!(job.output.read_key_values_to_list().unwrap(), expected);
    assert_eq!(job.dead.queue_size(), 1);
}

#[test]
fn the_largest_balances_have_a_text() {
    let text = |balance| super::money::format(balance);
    assert_eq!(text(i64::MIN), "-92233720368547758.08");
    assert_eq!(text(i64::MAX), "92233720368547758.07");
    assert_eq!([text(0), text(-5), text(-100)], ["0.00", "-0.05", "-1.00"]);
}

#[test]
fn amounts_have_at_most_two_fraction_digits_and_no_sign() {
    let parsed = |text| Amount::parse(text).map(Amount::minor_units);
    assert_eq!(parsed("12"), Ok(1200));
    assert_eq!(parsed("12.3"), Ok(1230));
    assert_eq!(parsed("0012.34"), Ok(1234));
    assert_eq!(parsed("92233720368547758.07"), Ok(i64::MAX));
    assert_eq!(parsed("92233720368547758.08"), Err(AmountError::TooLarge));
    for text in ["", ".", "1.", ".1", "1.2.3", "1.234", "-1", "1,2", "\u{661}"] {
        assert_eq!(parsed(text), Err(AmountError::Form), "{text:?}");
    }
}

#[test]
fn transactions_and_balances_read_what_they_write() {
    let text = transaction("a \"quoted\"".replace('"', "\\\"").as_str(), "withdrawal", "1.50");
    let read = TransactionJson.deserialize("", Some(text.as_bytes())).unwrap();
    assert_eq!((read.account_id.as_str(), read.change()), ("a \"quoted\"", -150));
    let mut written = Vec::new();
    TransactionJson.serialize("", &read, &mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), text);
    let balance = Balance { balance: i64::MAX, transactions: 3 };
    assert!(balance.apply(1).unwrap_err().to_string().contains("does not fit"));
}
