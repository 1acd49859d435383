//! Records that can't be read, processed or sent: *fail*, *continue*, *dead letter queue*.

use tidemill::record::Headers;

use super::support::kafka::{Rec, at};
use super::support::ledger::{Balance, Bank, FAILING, OVERSIZED, expected};
use super::support::running::Running;

const UNREADABLE: &str = "deserialization.exception.handler";
const UNPROCESSABLE: &str = "processing.exception.handler";
const UNSENDABLE: &str = "production.exception.handler";

/// A key or value, null or not.
type Bytes<'a> = Option<&'a [u8]>;

/// A bank with a dead letter queue for one kind of failure; returns the queue's topic too.
fn bank_with_dead_letters(name: &str, handler: &str) -> (Bank, String) {
    let mut bank = Bank::new(name, 1);
    let queue = bank.kafka.topic(&format!("{name}-dlq"), 1);
    bank.spec.set(handler, "dead-letter-queue");
    bank.spec.set("errors.dead.letter.queue.topic.name", &queue);
    (bank, queue)
}

/// The outputs without those of one amount, which still counts in the balance.
fn without(bank: &Bank, amount: i64) -> std::collections::BTreeMap<String, Vec<Balance>> {
    let mut all = bank.expected();
    for balances in all.values_mut() {
        let mut before = 0;
        balances.retain(|balance| {
            let kept = balance.sum - before != amount;
            before = balance.sum;
            kept
        });
    }
    all
}

/// A dead letter without what the handler added to its headers.
fn original(letter: &Rec) -> (Option<Vec<u8>>, Option<Vec<u8>>, Headers) {
    let ours = |name: &str| name.starts_with("__streams.errors.");
    let headers = letter.headers.iter().filter(|header| !ours(&header.key)).cloned().collect();
    (letter.key.clone(), letter.value.clone(), headers)
}

fn check_letter(letter: &Rec, source: &Rec, topic: &str, exception: &str) {
    let as_sent = (source.key.clone(), source.value.clone(), source.headers.clone());
    assert_eq!(original(letter), as_sent);
    assert_eq!(letter.timestamp, source.timestamp);
    let header = |name: &str| letter.header(&format!("__streams.errors.{name}")).unwrap();
    assert_eq!(header("topic"), topic);
    assert_eq!(header("partition"), source.partition.to_string());
    assert_eq!(header("offset"), source.offset.to_string());
    assert_eq!(header("exception"), exception);
    assert!(!header("message").is_empty());
    assert!(!header("stacktrace").is_empty());
}

#[test]
fn unreadable_records_become_dead_letters_as_they_were_even_at_the_end_of_a_partition() {
    let (mut bank, queue) = bank_with_dead_letters("unreadable", UNREADABLE);
    bank.feed(100);
    let mut headers = Headers::new();
    headers.add("null", None);
    headers.add("empty", Some(Vec::new()));
    headers.add("twice", Some(b"1".to_vec()));
    headers.add("twice", Some(b"2".to_vec()));
    let mut sender = bank.kafka.producer();
    let input = bank.spec.input.clone();
    let good = 7_i64.to_be_bytes();
    let poison: [(Bytes<'_>, Bytes<'_>); 5] = [
        (Some(b"account-1"), Some(b"bad")),
        (None, Some(&good)),
        (Some(b"account-1"), None),
        (Some(b""), Some(b"")),
        (Some(b"\xff\xfe"), Some(&good)),
    ];
    for (key, value) in poison {
        sender.send_to(&input, Some(0), key, value, &headers);
    }
    sender.flush();
    let app = Running::start(&bank.spec);
    // committed == end, though the last records of the partition are poison
    bank.until_consumed();
    assert_eq!(app.close().dropped, 5);
    let sources = bank.kafka.read(&input);
    let letters = bank.kafka.read(&queue);
    assert_eq!(letters.len(), 5);
    for (letter, source) in letters.iter().zip(&sources[100..]) {
        check_letter(letter, source, &input, "tidemill.DeserializationError");
    }
    // not once more after a restart
    bank.feed(10);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    app.close();
    assert_eq!(bank.kafka.read(&queue), letters);
    let readable = |record: &Rec| !(100..105).contains(&record.offset);
    bank.verify_outputs(&expected(&bank.kafka.read(&input), readable));
    bank.verify_transactions();
    bank.audit_current();
}

#[test]
fn unreadable_records_are_left_out_by_continue() {
    let mut bank = Bank::new("continue", 1);
    bank.spec.set(UNREADABLE, "continue");
    let mut sender = bank.kafka.producer();
    for _ in 0..3 {
        bank.feed(50);
        sender.send(&bank.spec.input, Some(b"account-1"), Some(b"bad"));
        sender.flush();
    }
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    assert_eq!(app.close().dropped, 3);
    bank.verify();
    bank.audit_current();
}

#[test]
fn an_unreadable_record_stops_the_application_by_default_and_stays_where_it_is() {
    let mut bank = Bank::new("fail", 1);
    bank.feed(100);
    let mut sender = bank.kafka.producer();
    sender.send(&bank.spec.input, Some(b"account-1"), Some(b"bad"));
    sender.flush();
    bank.feed(100);
    for _ in 0..2 {
        let error = Running::start(&bank.spec).until_failed().to_string();
        assert!(error.contains(&format!("record 100 of {}-0", bank.spec.input)), "{error}");
        assert!(error.contains("task 0_0, node transactions: could not read"), "{error}");
        // nothing of it is half committed, and nobody went past it
        let committed = bank.kafka.committed(&bank.spec.application_id, &bank.spec.input);
        let offset = committed.get(&at(&bank.spec.input, 0)).map_or(0, |(offset, _)| offset.0);
        assert!(offset <= 100, "committed {offset}");
        let input = bank.kafka.read(&bank.spec.input);
        bank.verify_outputs(&expected(&input, |record| record.offset < offset));
        if offset > 0 {
            bank.verify_transactions();
        }
        bank.audit();
    }
    bank.spec.set(UNREADABLE, "continue");
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    assert_eq!(app.close().dropped, 1);
    bank.verify();
    bank.audit_current();
}

#[test]
fn a_record_that_a_processor_refuses_becomes_a_dead_letter() {
    let (mut bank, queue) = bank_with_dead_letters("unprocessable", UNPROCESSABLE);
    bank.spec.failures = u32::MAX;
    bank.feed(60);
    bank.feed_amount("account-1", FAILING);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    bank.feed(60);
    bank.feed_amount("account-2", FAILING);
    bank.until_consumed();
    assert_eq!(app.close().dropped, 2);
    let input = bank.kafka.read(&bank.spec.input);
    let refused = |record: &&Rec| record.value.as_deref() == Some(&FAILING.to_be_bytes());
    let letters = bank.kafka.read(&queue);
    assert_eq!(letters.len(), 2);
    for (letter, source) in letters.iter().zip(input.iter().filter(refused)) {
        check_letter(letter, source, &bank.spec.input, "tidemill.ProcessingError");
    }
    bank.verify_outputs(&expected(&input, |record| !refused(&record)));
    bank.verify_transactions();
    bank.audit_current();
}

#[test]
fn a_processor_error_stops_the_application_by_default() {
    let mut bank = Bank::new("refused", 1);
    bank.spec.failures = u32::MAX;
    bank.feed(60);
    bank.feed_amount("account-1", FAILING);
    let error = Running::start(&bank.spec).until_failed().to_string();
    let place = format!("record 60 of {}-0: this transaction was made to fail", bank.spec.input);
    assert!(error.contains(&place), "{error}");
    assert!(error.contains("task 0_0, node ledger: could not process"), "{error}");
    bank.spec.failures = 0;
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    app.close();
    bank.verify();
    bank.audit_current();
}

#[test]
fn an_output_that_is_too_large_stops_the_application_by_default() {
    let mut bank = Bank::new("oversized", 1);
    bank.feed(60);
    bank.feed_amount("account-1", OVERSIZED);
    let error = Running::start(&bank.spec).until_failed().to_string();
    assert!(error.contains(&format!("topic {}", bank.spec.output)), "{error}");
    assert!(error.contains("larger than max.message.bytes"), "{error}");
    assert!(error.contains(&format!("record 60 of {}-0", bank.spec.input)), "{error}");
    bank.spec.set(UNSENDABLE, "continue");
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    assert_eq!(app.close().dropped, 1);
    bank.verify_outputs(&without(&bank, OVERSIZED));
    bank.verify_transactions();
    bank.audit_current();
}

#[test]
fn the_source_of_an_output_that_is_too_large_becomes_a_dead_letter() {
    let (mut bank, queue) = bank_with_dead_letters("unsendable", UNSENDABLE);
    bank.feed(60);
    bank.feed_amount("account-1", OVERSIZED);
    let app = Running::start(&bank.spec);
    bank.until_consumed();
    assert_eq!(app.close().dropped, 1);
    let input = bank.kafka.read(&bank.spec.input);
    let letters = bank.kafka.read(&queue);
    assert_eq!(letters.len(), 1);
    check_letter(&letters[0], &input[60], &bank.spec.input, "tidemill.ProductionError");
    bank.verify_outputs(&without(&bank, OVERSIZED));
    bank.verify_transactions();
    bank.audit_current();
}

#[test]
fn an_output_that_the_broker_refuses_ends_in_an_error_that_names_its_topic() {
    let mut bank = Bank::new("refused-by-broker", 1);
    bank.spec.output = super::support::unique("small");
    bank.kafka.create(&bank.spec.output, 1, &[("max.message.bytes", "100")]);
    bank.feed(10);
    let error = Running::start(&bank.spec).until_failed().to_string();
    assert!(error.contains(&bank.spec.output), "{error}");
    assert_eq!(bank.kafka.committed(&bank.spec.application_id, &bank.spec.input).len(), 0);
    assert!(bank.kafka.read(&bank.spec.output).is_empty());
}
